"""Dress Code: three categories of garments, full bodies (METHODS.md 6.2)."""

from pathlib import Path

from vtonlab.datasets.readers.files import FileTryOnDataset, own_garment
from vtonlab.datasets.readers.layout import Layout, Place
from vtonlab.datasets.readers.lists import Item, Pair, category_of, read_rows
from vtonlab.registry import DATASETS
from vtonlab.structures.sample import CATEGORIES

# Files are <number>_<kind>; lists name <number>_0.jpg and <number>_1.jpg.
DRESSCODE = Layout(
    title="Dress Code",
    parents=("{category}", "{split}/{category}"),
    places={
        "person": Place(("images", "image")),
        "garment": Place(("images", "image")),
        "garment_mask": Place(
            ("cloth-mask", "cloth_mask", "cloth_masks", "masks"),
            ("{id}", "{number}_1", "{number}_1_mask"),
        ),
        "agnostic": Place(("agnostic", "agnostic-v3.2"), ("{id}", "{number}_0")),
        "mask": Place(
            ("agnostic_masks", "agnostic-mask", "agnostic_mask"), ("{id}", "{id}_mask", "{number}")
        ),
        "pose": Place(("image-densepose",), ("{id}", "{number}_5")),
        "parse": Place(("label_maps", "label_map"), ("{number}_4.png",)),
        "worn_mask": Place(("gt_cloth_warped_mask", "gt_cloth_wraped_mask")),
        "keypoints": Place(("keypoints",), ("{number}_2.json",)),
        "iuv": Place(("dense",), ("{number}_5.png",)),
        "uv": Place(("dense",), ("{number}_5_uv.npz",)),
    },
    lists=(
        "{category}/{split}_pairs_{setting}.txt",
        "{category}/{split}_pairs.txt",
        "{split}/{category}/{split}_pairs_{setting}.txt",
        "{split}/{category}/{split}_pairs.txt",
    ),
    derived={
        "worn_mask": ("parse",),
        "mask": ("parse", "keypoints"),
        "agnostic": ("mask",),
        "garment_mask": ("garment",),
        "pose": ("iuv",),
    },
    companions={"iuv": ("uv",)},
)
_ROOT_LISTS = (
    "{split}_pairs_{setting}.txt",
    "{split}_pairs.txt",
    "{split}/{split}_pairs_{setting}.txt",
)


def own(person: str) -> str:
    """``048392_0`` -> ``048392_1``."""
    return person.rpartition("_")[0] + "_1"


@DATASETS.register_module()
class DressCodeDataset(FileTryOnDataset):
    """Pairs of Dress Code, of one category, several or all; see `FileTryOnDataset`.

    48 392 train and 5 400 test pairs. The data set ships no try-on masks and no garment masks:
    masks come from label map and keypoints, garment masks from the white background, unless folders
    with them lie there. Samples hold LIP labels, made from the files' ATR labels.

    Lists are read from each category's folder, or from one at the root whose third column is the
    category (0 upper, 1 lower, 2 dresses).
    """

    layout = DRESSCODE
    labels = "atr"
    convention = "dresscode"

    def read_items(self, pairs: str | None) -> list[Item]:
        items = []
        for path, category in self._lists(pairs):
            for row in read_rows(path):
                kind = category or self._category(path, row)
                items.append(Item(Pair(*row[:2]), kind))
            if self.setting == "unpaired":
                self.warn_if_paired(items, own, path)
        if self.setting == "paired":
            kinds = {item.pair.id: item.category for item in items}
            return [Item(p, kinds[p.id]) for p in own_garment([i.pair for i in items], own)]
        return items

    def _lists(self, pairs: str | None) -> list[tuple[Path, str | None]]:
        """List files, each with its category where all its pairs have the same."""
        if pairs is not None:
            return [(self.data_root / pairs, None)]
        paths = {category: self.list_path(None, category) for category in self.categories}
        if all(path.is_file() for path in paths.values()):
            return [(path, category) for category, path in paths.items()]
        values = dict(split=self.folder_split, setting=self.setting)
        for name in _ROOT_LISTS:
            if (self.data_root / name.format(**values)).is_file():
                return [(self.data_root / name.format(**values), None)]
        return [(path, category) for category, path in paths.items()]  # the first is missed by name

    def _category(self, path: Path, row: list[str]) -> str:
        if len(row) > 2 and row[2]:
            return category_of(row[2], path)
        if len(self.categories) == 1:
            return self.categories[0]
        if path.parent.name in CATEGORIES:
            return path.parent.name
        raise ValueError(
            f"pair list {path} names no category for {row[0]}: add a third column (0 upper, 1 "
            "lower, 2 dresses), or set categories to one"
        )
