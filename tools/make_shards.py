"""Write a config's data sets as tar files (WebDataset's format), to train from them.

Example:
    python tools/make_shards.py configs/coral/dit_vitonhd.py --out shards \\
        --cfg-options data_root=data/vitonhd

and in the config that trains from them::

    train_dataloader.dataset = dict(
        type="ShardDataset", data_root="shards", size=size, maps=[...], matches=matches
    )

A sample's files are copied byte for byte, with its matches where the config asks for them, so that
training from shards is training from files. Only the maps that the config reads are written. The
folder may then be moved anywhere, also to a URL that fsspec opens: s3://, gs://, https://.

The run may be killed at any moment: the same command goes on with the first shard that is not
there. Run again later, it writes those shards anew whose samples have a file, or matches, of
another size or time than when they were written; samples that were left out as damaged count too,
so that what was repaired since comes in.

Exit codes: 0 written, 1 written without damaged samples (--damaged skip), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="whose data sets are written")
    parser.add_argument("--out", required=True, metavar="DIR", help="new, or to go on with")
    parser.add_argument(
        "--loaders",
        nargs="+",
        choices=LOADERS,
        default=["train_dataloader"],
        help="which data sets (default: train_dataloader)",
    )
    parser.add_argument(
        "--shard-size", type=float, default=256, metavar="MB", help="of a file (default 256)"
    )
    parser.add_argument(
        "--damaged",
        choices=("error", "skip"),
        default="error",
        help="a sample whose files cannot be used: stop (default), or leave it out and say so",
    )
    add_cfg_options(parser)
    return parse(parser, argv)


def load_datasets(config_path: str, options: dict, loaders: list[str]) -> list:
    """The config's data sets, at their photographs' own size and without transforms."""
    from vtonlab.datasets.readers.files import FileTryOnDataset
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.registry import DATASETS

    config = finalize(load_config(config_path, options))
    found = []
    for loader in loaders:
        if not config.get(loader):
            raise ValueError(f"{config_path} has no {loader}")
        request = config[loader].dataset.to_dict()
        kind = request["type"]
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        if kind is None or not issubclass(kind, FileTryOnDataset):
            raise ValueError(
                f"{loader}.dataset is {request['type']}, which is not read from files: shards are "
                "written from VITONHDDataset, DressCodeDataset and their like"
            )
        plain = dict(request, transforms=None, keep_in_memory=False, shuffle_correspondences=False)
        found.append((DATASETS.build(plain), request.get("matches")))
    return found


def facts_of(dataset, matches: dict | None) -> dict:
    """What a `ShardDataset` must know beside the files."""
    from vtonlab.structures.pair_store import plain_settings

    recipe = dataset.recipe
    kinds = dict.fromkeys(item.category for item in dataset.items)
    read = [set(dataset.trees[kind]) for kind in kinds]  # categories may have other folders
    there = [_maps_of(dataset, files) for files in read]
    files = sorted(set.intersection(*read))
    made = [name for name in there[0] if name not in files and all(name in t for t in there)]
    return plain_settings(
        dict(
            reader=type(dataset).__name__,
            metainfo={k: v for k, v in dataset.metainfo.items() if k != "size"},
            files=files,
            made=made,
            task=recipe.task,
            labels=recipe.labels,
            build_mask=dict(recipe.build_mask),
            mask_files=recipe.mask_files._asdict(),
            matches=matches and {k: v for k, v in matches.items() if k != "root"},
        )
    )


def _maps_of(dataset, files: set[str]) -> list[str]:
    """What the files of a sample give: maps that are made from them, then the files themselves."""
    made = [name for name in dataset.recipe.maps if name not in files]
    for name in dataset.layout.derived:  # sources stand before what is made from them
        if name not in files and set(dataset.sources(name) or ()) <= {*files, *made}:
            made.append(name)
    return list(dict.fromkeys([*made, *sorted(files)]))


def source_state(dataset, index: int, with_matches: bool) -> list:
    """Name, size and time of each file that a sample is written from; None where it is missing."""
    paths = dataset.files(index)
    if with_matches:
        paths = {**paths, "matches": dataset.store.path(*dataset.items[index].pair)}
    states = []
    for name, path in sorted(paths.items()):
        found = path.stat() if path is not None and path.is_file() else None
        states.append([name, found and [path.name, found.st_size, found.st_mtime_ns]])
    return states


def _digest(states: list) -> str:
    return hashlib.blake2b(json.dumps(states).encode(), digest_size=16).hexdigest()


def sample_bytes(dataset, index: int, with_matches: bool, check: bool) -> bytes:
    """One sample as a piece of a tar file.

    Raises:
        FileNotFoundError, ValueError: a file that is missing, or with ``check`` cannot be used.
    """
    from vtonlab.datasets.readers.shards import MATCHES, pack_matches, tarred

    if check:
        dataset.load(index)
    item, files = dataset.items[index], dataset.files(index)
    about = dict(
        id=item.pair.id,
        garment_id=item.pair.garment_id,
        category=item.category,
        files={name: path.name for name, path in files.items()},
    )
    members = [(f"{index:08d}.json", (json.dumps(about) + "\n").encode())]
    for name, path in sorted(files.items()):
        members.append((f"{index:08d}.{name}{path.suffix.lower()}", path.read_bytes()))
    if with_matches:
        found = dataset.store.read(*item.pair, files=dataset.match_files(index))
        members.append((f"{index:08d}.{MATCHES}.npz", pack_matches(found)))
    return tarred(members)


def write_shard(
    path: Path, dataset, start: int, limit: int, with_matches: bool, damaged: str
) -> dict:
    """Write samples from ``start`` on until ``limit`` bytes, under a temporary name, then rename.

    Returns:
        The shard's entry of the index; ``start`` is its first sample, ``next`` that of the next
        one, ``left_out`` what was damaged, ``sources`` the state of all files, also of those.
    """
    import os

    from vtonlab.datasets.readers.shards import TAR_END

    places, left_out, states, index, offset = [], [], [], start, 0
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            while index < len(dataset) and (offset < limit or not places):
                states.append(source_state(dataset, index, with_matches))  # before they are read
                try:
                    data = sample_bytes(dataset, index, with_matches, damaged == "skip")
                except (ValueError, FileNotFoundError) as error:
                    if damaged == "error":
                        raise
                    left_out.append(" ".join(str(error).split()))
                else:
                    item = dataset.items[index]
                    place = [offset, len(data), zlib.crc32(data)]
                    places.append([item.pair.id, item.pair.garment_id, item.category, *place])
                    file.write(data)
                    offset += len(data)
                index += 1
            file.write(TAR_END)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return dict(
        name=path.name,
        bytes=offset + len(TAR_END),
        samples=len(places),
        places=places,
        start=start,
        next=index,
        left_out=left_out,
        sources=_digest(states),
    )


def write_set(dataset, matches: dict | None, out: Path, limit: int, damaged: str) -> list[str]:
    """Write one data set, or the rest of one, and its index; returns what was left out."""
    from vtonlab.datasets.readers.shards import FORMAT, INDEX
    from vtonlab.structures.pair_store import sweep, write_atomic
    from vtonlab.utils.progress import Progress

    facts = facts_of(dataset, matches)
    key = json.dumps([facts, limit, damaged, [[*i.pair, i.category] for i in dataset.items]])
    identity = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    progress, shards, start = Progress("samples"), [], 0
    while start < len(dataset):
        path = out / f"{len(shards):06d}.tar"
        note = path.with_suffix(".json")
        entry = finished(path, note, identity, start)
        if entry is not None and stale(entry, dataset, matches is not None):
            print(f"{path} is written again: files of its samples have changed since")
            entry = None
        if entry is None:
            (out / INDEX).unlink(missing_ok=True)  # it says what is in the shards
            entry = write_shard(path, dataset, start, limit, matches is not None, damaged)
            write_atomic(note, json.dumps({"identity": identity, **entry}).encode())
        start = entry["next"]
        shards.append(entry)
        progress(start, 0, len(dataset))
    remove_rest(out, len(shards))
    left_out = [text for entry in shards for text in entry.pop("left_out")]
    if not any(entry["samples"] for entry in shards):
        raise ValueError(f"nothing to write to {out}: every sample is damaged")
    kept = ("name", "bytes", "samples", "places")
    shards = [{name: entry[name] for name in kept} for entry in shards if entry["samples"]]
    index = dict(format=FORMAT, identity=identity, facts=facts, left_out=left_out, shards=shards)
    write_atomic(out / INDEX, (json.dumps(index) + "\n").encode())
    return left_out


def finished(path: Path, note: Path, identity: str, start: int) -> dict | None:
    """The entry of a shard that an earlier run wrote whole, from sample ``start`` on, or None.

    Raises:
        ValueError: it belongs to another data set, or to other settings.
    """
    if not (path.is_file() and note.is_file()):
        return None
    from vtonlab.utils.bounded import read_json

    entry = read_json(note)
    if entry.pop("identity") != identity:
        raise ValueError(
            f"{path.parent} holds shards of another data set, list or setting: name another --out, "
            "or remove it"
        )
    whole = path.stat().st_size == entry["bytes"] and entry.get("start") == start
    return entry if whole else None


def stale(entry: dict, dataset, with_matches: bool) -> bool:
    """Whether a file of a shard's samples, left out or not, is another than when it was written."""
    places = range(entry["start"], entry["next"])
    return entry["sources"] != _digest([source_state(dataset, i, with_matches) for i in places])


def remove_rest(out: Path, number: int) -> None:
    """Shards of an earlier run beyond the last of this one."""
    while (path := out / f"{number:06d}.tar").is_file():
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink()
        number += 1


def total(folder: Path) -> Iterator[int]:
    """Bytes of the shards of a folder."""
    return (path.stat().st_size for path in folder.glob("*.tar"))


def main() -> int:
    args = parse_args()
    from vtonlab.datasets.readers.shards import folder_name

    if args.shard_size <= 0:
        raise ValueError(f"--shard-size must be above 0, not {args.shard_size}")
    left_out = []
    for dataset, matches in load_datasets(args.config, args.cfg_options, args.loaders):
        if args.damaged == "error":
            print(dataset.verify())
        out = Path(args.out) / folder_name(dataset.split, dataset.setting)
        gone = write_set(dataset, matches, out, int(args.shard_size * 1e6), args.damaged)
        left_out += gone
        megabytes = sum(total(out)) / 1e6
        count = len(list(out.glob("*.tar")))
        print(f"{out}: {len(dataset) - len(gone)} samples in {count} shards, {megabytes:.1f} MB")
    for text in left_out:
        print(f"left out: {text}")
    return 1 if left_out else 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
