"""Data sets in tar files ("shards"), for those that outgrow a file system (WebDataset's format).

A set of shards is one folder, local or at any URL that fsspec opens::

    OUT/train/index.json
    OUT/train/000000.tar     00000000.json 00000000.person.jpg 00000000.mask.png ... 00000001.json

The files of a sample are those of the data set, byte for byte, and lie one after the other, so a
sample is one read of one range. The index says where; with it every reader, rank and restart can
begin at any sample, and a data set of shards gives exactly the samples of the data set it was
written from. The tar format is read with Python's own library.
"""

import io
import os
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vtonlab.datasets.base import TryOnDataset, derangement
from vtonlab.datasets.readers.assembling import Recipe
from vtonlab.datasets.readers.lists import Item, Pair, named, some
from vtonlab.datasets.readers.pair_maps import MaskFiles
from vtonlab.datasets.samplers import ResumableSampler
from vtonlab.registry import DATA_SAMPLERS, DATASETS
from vtonlab.structures.correspondences import Correspondences
from vtonlab.structures.pair_store import describe_difference, plain_settings
from vtonlab.utils.bounded import (
    FileError,
    MemoryFile,
    check_form,
    naming,
    parse_json,
    read_npz,
    reason_of,
    tar_members,
)
from vtonlab.utils.images import MAX_PIXELS
from vtonlab.utils.paths import check_name

FORMAT = 1
INDEX = "index.json"
MATCHES = "matches"  # the member of a sample that holds its correspondences
ABOUT = "json"  # the one with its names
_FORM = {
    "facts!": {
        "metainfo!": dict,
        "files!": [str],
        "made!": [str],
        "task!": str,
        "labels!": str,
        "build_mask!": (None, dict),
        "mask_files!": (None, dict),
        "matches!": (None, dict),
    },
    "shards!": [{"name!": str, "bytes!": int, "samples!": int, "places!": [list]}],
}
_ARRAYS = ("person_points", "garment_points", "scores")
_MAX_SAMPLE_BYTES = 1 << 30


class Place(NamedTuple):
    """Where a sample lies: shard, first byte, bytes, checksum (CRC-32)."""

    shard: int
    offset: int
    length: int
    checksum: int


def folder_name(split: str, setting: str) -> str:
    """The folder of a set below its root: ``train``, ``test``, ``test_unpaired``."""
    return split if setting == "paired" else f"{split}_{setting}"


def join(root: str, *names: str) -> str:
    """A path below a folder or URL."""
    return "/".join([str(root).rstrip("/"), *names])


def is_url(path: str) -> bool:
    return "://" in path


class Storage:
    """Reads ranges of files below one folder or URL; safe to carry into worker processes."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._opened: tuple[int, object] | None = None

    def _filesystem(self):
        """fsspec's, made anew in every process: its connections do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            self._opened = (os.getpid(), fsspec.core.url_to_fs(self.root)[0])
        return self._opened[1]

    def _failure(self, path: str, error: Exception) -> Exception:
        if isinstance(error, FileNotFoundError):
            return FileNotFoundError(f"{path} does not exist")
        return ValueError(f"{path} cannot be read ({type(error).__name__}: {error})")

    def __getstate__(self) -> dict:
        return {"root": self.root, "_opened": None}

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file; fewer than asked for where the file is shorter.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the storage refuses.
        """
        path = join(self.root, name)
        try:
            if is_url(self.root):
                end = None if length is None else start + length
                return self._filesystem().cat_file(path, start=start, end=end)
            with open(path, "rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        except Exception as error:  # whatever a storage's client raises, a missing one too
            raise self._failure(path, error) from None

    def size(self, name: str) -> int:
        """Bytes of a file; errors as `read`."""
        path = join(self.root, name)
        try:
            if is_url(self.root):
                return int(self._filesystem().size(path))
            return Path(path).stat().st_size
        except Exception as error:
            raise self._failure(path, error) from None


@DATASETS.register_module()
class ShardDataset(TryOnDataset):
    """The samples of a data set that ``tools/make_shards.py`` has written.

    Args:
        data_root: folder or URL that was written to.
        split, setting: which set below it.
        size: ``(height, width)`` of every map, or None for the files' own.
        maps: beside person and garment; those that were written, and what can be made from them.
        paint_hair: paint the hair of ``parse`` over the pose picture, as CORAL does.
        matches: as it was when the shards were written; adds ``correspondences``.
        shuffle_correspondences: control: each pair gets the matches of another.
        transforms, seed, keep_in_memory, damaged: see `TryOnDataset`.
        max_pixels: refuse larger pictures.

    Raises:
        FileNotFoundError, ValueError: one sentence each for no shards, maps or matches that they do
            not hold. Truncated shards and damaged samples are found by `verify`, or when read.
    """

    def __init__(
        self,
        *,
        data_root: str | None = None,
        split: str = "train",
        setting: str = "paired",
        size: Sequence[int] | None = (1024, 768),
        maps: Sequence[str] = ("agnostic", "mask", "garment_mask", "pose"),
        paint_hair: bool = False,
        matches: Mapping | None = None,
        shuffle_correspondences: bool = False,
        transforms: Sequence | None = None,
        seed: int = 0,
        keep_in_memory: bool = False,
        damaged: str = "error",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(
            transforms=transforms, seed=seed, keep_in_memory=keep_in_memory, damaged=damaged
        )
        if data_root is None:
            raise FileNotFoundError(
                "ShardDataset needs data_root, the folder or URL that tools/make_shards.py wrote "
                "to; set --cfg-options data_root=..."
            )
        self.data_root, self.split, self.setting = str(data_root), split, setting
        self.storage = Storage(join(self.data_root, folder_name(split, setting)))
        index = _read_index(self.storage)
        self.facts: dict = index["facts"]
        self.shards: list[dict] = index["shards"]
        self.items, self.places = _places(index, self.storage.root)
        self.pairs = [item.pair for item in self.items]
        self._check_maps(maps, paint_hair)
        self._check_matches(matches)
        self.with_matches = matches is not None
        self.partner = derangement(len(self.items), seed) if shuffle_correspondences else None
        if shuffle_correspondences and matches is None:
            raise ValueError("shuffle_correspondences=True needs `matches`")
        self.recipe = Recipe(
            size=None if size is None else tuple(size),
            maps=tuple(maps),
            task=self.facts["task"],
            labels=self.facts["labels"],
            build_mask=self.facts["build_mask"],
            mask_files=self._mask_files(),
            paint_hair=paint_hair,
            max_pixels=max_pixels,
        )

    def __len__(self) -> int:
        return len(self.items)

    @property
    def metainfo(self) -> dict:
        info = {**self.facts["metainfo"], "size": self.recipe.size}
        return {k: tuple(v) if isinstance(v, list) else v for k, v in info.items()}

    def _mask_files(self) -> MaskFiles:
        with naming(join(self.storage.root, INDEX)):
            return MaskFiles.of(self.facts["mask_files"])

    def _check_maps(self, maps: Sequence[str], paint_hair: bool) -> None:
        wanted = [*maps, *(["parse"] if paint_hair else [])]
        there = {"person", "garment", *self.facts["files"], *self.facts["made"]}
        lacking = [name for name in wanted if name not in there]
        if lacking:
            raise ValueError(
                f"{self.storage.root} holds no {' and no '.join(lacking)}, only "
                f"{', '.join(sorted(there))}; write the shards from a config whose data set reads "
                "it, or take it out of the maps"
            )

    def _check_matches(self, matches: Mapping | None) -> None:
        if matches is None:
            return
        written = self.facts["matches"]
        if written is None:
            raise ValueError(
                f"{self.storage.root} holds no matches: extract them (tools/extract_matches.py), "
                "then write the shards again from a config with `matches`"
            )
        wanted = plain_settings({k: v for k, v in matches.items() if k != "root"})
        lines = describe_difference(written, wanted)
        if lines:
            raise ValueError(f"{self.storage.root} holds other matches: {'; '.join(lines)}")

    # reading ------------------------------------------------------------------------------------

    def _name(self, index: int) -> str:
        shard = self.shards[self.places[index].shard]["name"]
        return f"{join(self.storage.root, shard)} (sample {index}, {named(self.pairs[index])})"

    def members(self, index: int) -> dict[str, MemoryFile]:
        """The files of a sample, by map.

        Raises:
            FileNotFoundError, ValueError: the shard is missing, cut short or changed; names shard
                and sample.
        """
        place = self.places[index]
        shard = self.shards[place.shard]["name"]
        data = self.storage.read(shard, place.offset, place.length)
        if len(data) < place.length:
            raise ValueError(
                f"{self._name(index)} is truncated: {len(data)} of {place.length} bytes are there; "
                "copy the shard again, or set damaged='skip' to go on without"
            )
        if zlib.crc32(data) != place.checksum:
            raise ValueError(
                f"{self._name(index)} is damaged (its checksum differs); copy the shard again, or "
                "set damaged='skip' to go on without"
            )
        return untar(data, join(self.storage.root, shard))

    def load(self, index: int) -> dict:
        files = self.members(index)
        matches = None
        if self.with_matches:
            other = index if self.partner is None else int(self.partner[index])
            stored = (files if other == index else self.members(other))[MATCHES]
            matches = unpack_matches(stored)
        kept = {name: file for name, file in files.items() if name not in (ABOUT, MATCHES)}
        try:
            return self.recipe.assemble(self.items[index], kept, matches)
        except (ValueError, OSError) as error:
            raise ValueError(f"{error} ({self._name(index)})") from error

    def verify(self, decode_at_most: int = 2000) -> str:
        """Compare the size of every shard with the index and load some samples, all of small sets.

        Raises:
            ValueError: shards that are missing or cut short and samples that cannot be used, by
                name; with ``damaged="skip"`` the sentence tells them.
        """
        faults = [fault for fault in map(self._shard_fault, self.shards) if fault]
        looked = range(0, len(self), max(1, len(self) * 12 // decode_at_most))
        for index in looked if not faults else ():
            try:
                self.load(index)
            except (ValueError, OSError) as error:
                faults.append(str(error))
        title = f"{len(self.shards)} shards with {len(self)} samples at {self.storage.root}"
        if not faults:
            return f"{title}: complete, {len(looked)} samples decoded"
        told = f"{title}: {len(faults)} cannot be used as written: {some(faults, '; ')}"
        if self.damaged == "error":
            raise ValueError(told)
        return f"{told}; damaged='skip' passes over them"

    def _shard_fault(self, shard: Mapping) -> str:
        path = join(self.storage.root, shard["name"])
        try:
            size = self.storage.size(shard["name"])
        except (ValueError, OSError):
            return f"{path} cannot be read"
        if size >= shard["bytes"]:
            return ""
        number = self.shards.index(shard)
        lost = sum(p.shard == number and p.offset + p.length > size for p in self.places)
        return (
            f"{path} is truncated: {size} of {shard['bytes']} bytes, {lost} of "
            f"{shard['samples']} samples lost"
        )


def _read_index(storage: Storage) -> dict:
    path = join(storage.root, INDEX)
    try:
        index = parse_json(storage.read(INDEX), path)
        if index["format"] != FORMAT:
            raise ValueError(f"format {index['format']}, this vtonlab reads {FORMAT}")
        check_form(index, _FORM)
        return index
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} does not exist: write the shards with `python tools/make_shards.py CONFIG "
            "--out DIR`, and set data_root=DIR (a folder or a URL)"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path} cannot be read ({reason_of(error)}); write the shards again"
        ) from None


def _places(index: Mapping, root: str) -> tuple[list[Item], list[Place]]:
    with naming(join(root, INDEX)):
        items, places = _listed(index)
        if not items:
            raise ValueError("it lists no samples; write the shards again")
    return items, places


def _listed(index: Mapping) -> tuple[list[Item], list[Place]]:
    items, places = [], []
    for number, shard in enumerate(index["shards"]):
        check_name(shard["name"])
        for person, garment, category, offset, length, checksum in shard["places"]:
            if not 0 < length <= _MAX_SAMPLE_BYTES or offset < 0:
                raise ValueError(f"a sample of {length} bytes")
            items.append(Item(Pair(person, garment), category))
            places.append(Place(number, offset, length, checksum))
    return items, places


def untar(data: bytes, name: str) -> dict[str, MemoryFile]:
    """Members of a sample by map: ``00000012.mask.png`` is ``mask``. Nothing is written anywhere.

    Raises:
        FileError: not tar.
    """
    try:
        return {
            member.split(".")[1]: MemoryFile(f"{name}:{member}", content)
            for member, content in tar_members(MemoryFile(name, data), _MAX_SAMPLE_BYTES)
        }
    except (IndexError, ValueError) as error:
        raise FileError(
            f"{name} is no tar file where a sample should be ({reason_of(error)})"
        ) from None


def tarred(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Members of one sample as a piece of a tar file; the same files give the same bytes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
        length = archive.offset  # without the two blocks that end a tar file
    return stream.getvalue()[:length]


TAR_END = bytes(2 * tarfile.BLOCKSIZE)


def pack_matches(matches: Correspondences) -> bytes:
    """Correspondences as ``.npz``, without time stamps."""
    stream = io.BytesIO()
    arrays = matches.to_dict()
    np.savez(stream, **{name: np.asarray(arrays[name]) for name in _ARRAYS})
    return stream.getvalue()


def unpack_matches(file: MemoryFile) -> Correspondences:
    """Inverse of `pack_matches`."""
    arrays = read_npz(file)
    with naming(file):
        return Correspondences.from_dict({name: arrays[name] for name in _ARRAYS})


@DATA_SAMPLERS.register_module()
class ShardSampler(ResumableSampler):
    """`ResumableSampler` that draws from a few shards at a time: for disks and storage that read
    neighbours faster. Every epoch visits the shards in another order, in groups of ``mix`` whose
    samples are shuffled together.

    Args:
        dataset: a `ShardDataset`.
        mix: shards that are drawn from at a time.
        seed, shuffle: as there.
    """

    def __init__(
        self, dataset: ShardDataset, seed: int | None = 0, shuffle: bool = True, mix: int = 16
    ) -> None:
        if not isinstance(dataset, ShardDataset) or mix < 1:
            raise ValueError("ShardSampler needs a ShardDataset and mix >= 1")
        super().__init__(dataset, seed, shuffle)
        counts = [shard["samples"] for shard in dataset.shards]
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.mix = mix

    def _order(self, epoch: int) -> torch.Tensor:
        if not self.shuffle:
            return super()._order(epoch)
        generator = torch.Generator().manual_seed(self.seed + epoch)
        shards = torch.randperm(len(self.starts) - 1, generator=generator).tolist()
        order = []
        for first in range(0, len(shards), self.mix):
            ranges = [
                torch.arange(self.starts[n], self.starts[n + 1])
                for n in shards[first : first + self.mix]
            ]
            group = torch.cat(ranges)
            order.append(group[torch.randperm(len(group), generator=generator)])
        return torch.cat(order)
