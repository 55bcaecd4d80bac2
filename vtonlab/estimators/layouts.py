"""The layouts that photographs can be prepared in: where each map lies, in which form, and who is
listed where.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vtonlab.structures.pair_store import write_atomic
from vtonlab.structures.sample import CATEGORIES


class Listed(NamedTuple):
    """Somebody who was prepared."""

    name: str
    category: str
    split: str


@dataclass(frozen=True)
class WrittenLayout:
    """A data set that is written.

    Args:
        places: map (``person``, ``garment`` and ``worn_mask`` too) -> file below the root; may hold
            ``{split}``, ``{category}`` and ``{name}``.
        write_lists: called with the root and everybody of all splits.
        categories: that the layout knows.
        parse: numbering of its labels: ``lip`` or ``atr``.
        keypoints: form of its files: ``openpose`` or ``dresscode``.
    """

    places: Mapping[str, str]
    write_lists: Callable[[Path, Sequence[Listed]], None]
    categories: tuple[str, ...] = CATEGORIES
    parse: str = "lip"
    keypoints: str = "openpose"

    def files(self, root: Path, who: Listed) -> dict[str, Path]:
        """Map -> file of one person."""
        values = who._asdict()
        return {name: root / place.format(**values) for name, place in self.places.items()}


def _rotated(people: Sequence[Listed]) -> list[tuple[Listed, Listed]]:
    """Everybody with the garment of the next one."""
    return list(zip(people, [*people[1:], *people[:1]], strict=True))


def _own(people: Sequence[Listed]) -> list[tuple[Listed, Listed]]:
    return list(zip(people, people, strict=True))


def _write_vitonhd(root: Path, people: Sequence[Listed]) -> None:
    """Train: each with its own garment; test: each with the next one's."""
    for split, pairs in (("train", _own), ("test", _rotated)):
        if of_split := [who for who in people if who.split == split]:
            lines = [f"{a.name}.jpg {b.name}.jpg" for a, b in pairs(of_split)]
            _write_lines(root / f"{split}_pairs.txt", lines)


def _write_dresscode(root: Path, people: Sequence[Listed]) -> None:
    """Lists of each category and, with its number as a third column, of all."""
    for split, setting, pairs in (
        ("train", "", _own),
        ("test", "_paired", _own),
        ("test", "_unpaired", _rotated),
    ):
        everybody = []
        for number, category in enumerate(CATEGORIES):
            chosen = [who for who in people if (who.split, who.category) == (split, category)]
            lines = [f"{a.name}_0.jpg\t{b.name}_1.jpg" for a, b in pairs(chosen)]
            everybody += [f"{line}\t{number}" for line in lines]
            if lines:
                _write_lines(root / category / f"{split}_pairs{setting}.txt", lines)
        if everybody:
            _write_lines(root / f"{split}_pairs{setting}.txt", everybody)


def _write_table(root: Path, people: Sequence[Listed]) -> None:
    """``pairs.csv``: a row for each person in the own garment, a column for each map."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    places = LAYOUTS["pairs"].places
    table.writerow([*places, "category", "split"])
    for who in people:
        files = [place.format(**who._asdict()) for place in places.values()]
        table.writerow([*files, who.category, who.split])
    write_atomic(root / "pairs.csv", stream.getvalue().encode())


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_atomic(path, ("\n".join(lines) + "\n").encode())


LAYOUTS = {
    "vitonhd": WrittenLayout(
        {
            "person": "{split}/image/{name}.jpg",
            "garment": "{split}/cloth/{name}.jpg",
            "mask": "{split}/agnostic-mask/{name}_mask.png",
            "agnostic": "{split}/agnostic-v3.2/{name}.jpg",
            "pose": "{split}/image-densepose/{name}.jpg",
            "parse": "{split}/image-parse-v3/{name}.png",
            "keypoints": "{split}/openpose_json/{name}_keypoints.json",
            "garment_mask": "{split}/cloth-mask/{name}.jpg",
            "worn_mask": "{split}/gt_cloth_warped_mask/{name}.png",
        },
        _write_vitonhd,
        categories=("upper_body",),
    ),
    "dresscode": WrittenLayout(
        {
            "person": "{category}/images/{name}_0.jpg",
            "garment": "{category}/images/{name}_1.jpg",
            "mask": "{category}/agnostic_masks/{name}_0.png",
            "agnostic": "{category}/agnostic/{name}_0.jpg",
            "pose": "{category}/image-densepose/{name}_0.jpg",
            "parse": "{category}/label_maps/{name}_4.png",
            "keypoints": "{category}/keypoints/{name}_2.json",
            "garment_mask": "{category}/cloth-mask/{name}_1.png",
            "worn_mask": "{category}/gt_cloth_warped_mask/{name}_0.png",
        },
        _write_dresscode,
        parse="atr",
        keypoints="dresscode",
    ),
    "pairs": WrittenLayout(
        {
            "person": "person/{name}.jpg",
            "garment": "garment/{name}.jpg",
            "mask": "maps/mask/{name}.png",
            "agnostic": "maps/agnostic/{name}.jpg",
            "pose": "maps/pose/{name}.png",
            "parse": "maps/parse/{name}.png",
            "keypoints": "maps/keypoints/{name}.json",
            "garment_mask": "maps/garment_mask/{name}.png",
            "worn_mask": "maps/worn_mask/{name}.png",
        },
        _write_table,
    ),
}
