"""What the doctor knows of each data set beyond its reader's layout table."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vtonlab.datasets.readers.deepfashion import DEEPFASHION
from vtonlab.datasets.readers.dresscode import DRESSCODE
from vtonlab.datasets.readers.dresscode import own as dresscode_own
from vtonlab.datasets.readers.layout import Layout
from vtonlab.datasets.readers.mpv import MPV
from vtonlab.datasets.readers.pair_list import PAIR_LIST
from vtonlab.datasets.readers.vitonhd import VITONHD

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Kind:
    """A data set the doctor recognises.

    Args:
        name: as ``--type`` takes it.
        reader: class that reads it.
        layout: its folders and lists.
        own: the garment that a person wears, by the person's name; None where only lists know.
        person: what the names of people end in, where garments lie in the same folder.
        columns: of its lists.
        labels: of its parse.
        not_shipped: maps that the official download does not have, by split; "" means any.
        root_lists: further lists, with the category in the third column.
        twins: the official download has some maps under two names.
        listed: maps come from the columns of a table, not from folders.
    """

    name: str
    reader: str
    layout: Layout
    own: Callable[[str], str] | None = None
    person: str = ""
    columns: tuple[str, ...] = ("person", "garment", "category")
    labels: str = "lip"
    not_shipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    root_lists: tuple[str, ...] = ()
    twins: bool = False
    listed: bool = False

    def is_person(self, name: str) -> bool:
        return re.search(self.person, name) is not None

    def shipped(self, name: str, split: str) -> bool:
        """Whether the official download has a map."""
        return name not in (*self.not_shipped.get("", ()), *self.not_shipped.get(split, ()))


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "vitonhd",
            "VITONHDDataset",
            VITONHD,
            own=str,
            not_shipped={"test": ("worn_mask",)},
        ),
        Kind(
            "dresscode",
            "DressCodeDataset",
            DRESSCODE,
            own=dresscode_own,
            person="_0$",
            labels="atr",
            not_shipped={"": ("garment_mask", "agnostic", "mask", "worn_mask", "pose")},
            root_lists=("{split}_pairs_{setting}.txt", "{split}_pairs.txt"),
        ),
        Kind(
            "deepfashion",
            "DeepFashionDataset",
            DEEPFASHION,
            columns=("garment", "person", "category"),
            not_shipped={"": ("iuv", "body", "garment_iuv", "garment_body")},
            twins=True,
        ),
        Kind(
            "mpv",
            "MPVDataset",
            MPV,
            person="person",
            columns=("person", "other", "garment", "split"),
            not_shipped={"": ("body", "garment_body")},
        ),
        Kind("pair_list", "PairListDataset", PAIR_LIST, listed=True),
    )
}
# Folders that data sets ship and no reader asks for.
UNREAD = frozenset(
    "openpose_img openpose-img image-parse-agnostic-v3.2 image-parse-agnostic cloth-warp "
    "cloth-warp-mask sift_matching skeletons dense train test vitonhd_train_tagged".split()
)
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
JUNK = re.compile(
    r"^(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|.*\.(crdownload|part|tmp|download)|"
    r".* \(\d+\)\.\w+|.*~|\.tmp-.*)$",
    re.IGNORECASE,
)


def hits(kind: Kind, root: Path) -> int:
    """How many of a kind's folders (or lists, where it has no folders) lie below ``root``."""
    layout = kind.layout
    if kind.listed:
        return sum((root / name).is_file() for name in layout.lists[:2])
    parents = {
        root / pattern.format(split=split, category=category)
        for pattern in layout.parents
        for split in SPLITS
        for category in layout.categories
    }
    folders = {name for place in layout.places.values() for name in place.folders}
    return sum((parent / name).is_dir() for parent in parents for name in folders)


def recognise(root: Path, name: str | None = None) -> tuple[Kind, int] | None:
    """The kind with most of its folders below ``root``, and how many; None without a trace of any.

    A table of pairs (``pairs.csv``) decides where no folders do.
    """
    candidates = [KINDS[name]] if name else list(KINDS.values())
    scores = {kind.name: hits(kind, root) for kind in candidates}
    best = max(candidates, key=lambda kind: scores[kind.name])
    return (best, scores[best.name]) if scores[best.name] else None
