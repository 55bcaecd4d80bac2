"""The same picture under two names, and in train and test.

Equal bytes are found among all photographs (only files of equal length are hashed). Pictures that
were encoded again, or scaled, are found by small copies of them: with ``--deep``, or in small sets.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vtonlab.datasets.readers.lists import read_exclusions
from vtonlab.doctor.findings import Report
from vtonlab.doctor.kinds import SPLITS
from vtonlab.doctor.survey import Part, relative
from vtonlab.ops.resize import resize_picture
from vtonlab.structures.pair_store import file_hash
from vtonlab.utils.images import read_image

SMALL = (48, 36)  # height, width of the copies that are compared
NEAR = 1.5  # grey levels: mean difference of the copies, below which pictures are the same
_LARGEST = 6.0  # grey levels: root mean square difference in the worst of the copies' blocks
_BLOCK = 2048


class Photograph(NamedTuple):
    """Where a photograph stands."""

    name: str  # person or garment
    split: str
    id: str


def photographs(parts: Sequence[Part]) -> dict[Path, Photograph]:
    """Every person's and garment's picture, once."""
    found: dict[Path, Photograph] = {}
    for part in parts:
        for member in part.members.values():
            for name in ("person", "garment"):
                path = member.files.get(name)
                if path is not None:
                    who = member.id if name == "person" else member.garment_id
                    found.setdefault(path, Photograph(name, member.split, who))
    return found


def equal_bytes(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Groups of files with the same content."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    for same in by_size.values():
        by_hash: dict[str, list[Path]] = defaultdict(list)
        for path in same if len(same) > 1 else ():
            by_hash[file_hash(path)].append(path)
        yield from (group for group in by_hash.values() if len(group) > 1)


def thumbnail(path: Path, max_pixels: int) -> np.ndarray | None:
    """(48, 36, 3) uint8, or None for a picture that cannot be read."""
    try:
        picture = read_image(path, "rgb", max_pixels)
    except (ValueError, OSError):
        return None
    return resize_picture(picture, SMALL, "bilinear")


def near_equal(small: Mapping[Path, np.ndarray]) -> Iterator[tuple[Path, Path]]:
    """Pairs of pictures that differ by no more than another encoding or size does."""
    paths = list(small)
    if not paths:
        return
    flat = np.stack([small[path].reshape(-1) for path in paths]).astype(np.float32)
    square = (flat**2).sum(1)
    limit = flat.shape[1] * _LARGEST**2
    for start in range(0, len(paths), _BLOCK):
        block = flat[start : start + _BLOCK]
        distance = square[start : start + _BLOCK, None] + square - 2 * block @ flat.T
        for i, j in zip(*np.nonzero(distance < limit), strict=True):
            one, two = start + int(i), int(j)
            if one < two and np.abs(flat[one] - flat[two]).mean() < NEAR:
                yield paths[one], paths[two]


def check_duplicates(
    root: Path,
    parts: Sequence[Part],
    report: Report,
    make_small: Callable[[Sequence[Path]], Mapping[Path, np.ndarray]] | None,
) -> None:
    """Findings about photographs that are there twice.

    Args:
        make_small: gives `thumbnail` of many files; None compares bytes only.
    """
    found = photographs(parts)
    pairs: dict[tuple[Path, Path], str] = {}
    for group in equal_bytes(list(found)):
        for other in group[1:]:
            pairs[(group[0], other)] = "the same bytes"
    if make_small is not None:
        for name in ("person", "garment"):
            mine = [path for path, photo in found.items() if photo.name == name]
            for one, two in near_equal(make_small(mine)):
                if (one, two) not in pairs and (two, one) not in pairs:
                    pairs[(one, two)] = "encoded or scaled again"
    for (one, two), how in pairs.items():
        _tell(root, found, one, two, how, report)


def _tell(
    root: Path, found: Mapping[Path, Photograph], one: Path, two: Path, how: str, report: Report
) -> None:
    a, b = found[one], found[two]
    text = f"{relative(one, root)} = {relative(two, root)}: {how}"
    if a.name != b.name:
        report.add("person-is-garment", relative(one.parent, root), [text])
    elif a.split != b.split:
        report.add("train-test-leak", relative(two.parent, root), [text])
    else:
        report.add("duplicate", relative(one.parent, root), [text])


def check_known(parts: Sequence[Part], file: Path, report: Report) -> None:
    """People of the set that a given list of duplicates and leaks names; see `read_exclusions`.

    Raises:
        FileNotFoundError, ValueError: the list cannot be read.
    """
    for split in SPLITS:
        names = read_exclusions(file, split)
        for part in parts:
            mine = [m for m in part.members.values() if m.split == split]
            listed = [m.id for m in mine if {m.id, m.garment_id} & names]
            if listed:
                report.add("known-list", part.name, listed, detail=f"{split}, {file.name}")
