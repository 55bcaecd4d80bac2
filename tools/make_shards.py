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
there.

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

    recipe, files = dataset.recipe, sorted(dataset.files(0))
    made = [name for name in recipe.maps if name not in files]
    for name in dataset.layout.derived:  # sources stand before what is made from them
        if name not in files and set(dataset.sources(name) or ()) <= {*files, *made}:
            made.append(name)
    return plain_settings(
        dict(
            reader=type(dataset).__name__,
            metainfo={k: v for k, v in dataset.metainfo.items() if k != "size"},
            files=files,
            made=list(dict.fromkeys(made)),
            task=recipe.task,
            labels=recipe.labels,
            build_mask=dict(recipe.build_mask),
            mask_files=recipe.mask_files._asdict(),
            matches=matches and {k: v for k, v in matches.items() if k != "root"},
        )
    )


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
        The shard's entry of the index; ``next`` is the first sample of the next one, ``left_out``
        what was damaged.
    """
    import os

    from vtonlab.datasets.readers.shards import TAR_END

    places, left_out, index, offset = [], [], start, 0
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            while index < len(dataset) and (offset < limit or not places):
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
        next=index,
        left_out=left_out,
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
        entry = finished(path, note, identity)
        if entry is None:
            entry = write_shard(path, dataset, start, limit, matches is not None, damaged)
            write_atomic(note, json.dumps({"identity": identity, **entry}).encode())
        start = entry.pop("next")
        shards.append(entry)
        progress(start, 0, len(dataset))
    left_out = [text for entry in shards for text in entry.pop("left_out")]
    if not any(entry["samples"] for entry in shards):
        raise ValueError(f"nothing to write to {out}: every sample is damaged")
    shards = [entry for entry in shards if entry["samples"]]
    index = dict(format=FORMAT, identity=identity, facts=facts, left_out=left_out, shards=shards)
    write_atomic(out / INDEX, (json.dumps(index) + "\n").encode())
    return left_out


def finished(path: Path, note: Path, identity: str) -> dict | None:
    """The entry of a shard that an earlier run wrote whole, or None.

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
    return entry if path.stat().st_size == entry["bytes"] else None


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
