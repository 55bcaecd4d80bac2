"""VITON-HD in its official layout (METHODS.md 6.1)."""

from vtonlab.datasets.readers.files import FileTryOnDataset, own_garment
from vtonlab.datasets.readers.layout import Layout, Place
from vtonlab.datasets.readers.lists import Item, read_pairs
from vtonlab.registry import DATASETS

# Aliases seen in the wild follow the official name.
VITONHD = Layout(
    title="VITON-HD",
    parents=("{split}",),
    places={
        "person": Place(("image",)),
        "garment": Place(("cloth",)),
        "garment_mask": Place(("cloth-mask", "cloth_mask")),
        "agnostic": Place(("agnostic-v3.2", "agnostic")),
        "mask": Place(("agnostic-mask", "agnostic_mask"), ("{id}_mask", "{id}")),
        "pose": Place(("image-densepose", "densepose")),
        "parse": Place(("image-parse-v3", "image-parse"), ("{id}.png",)),
        "worn_mask": Place(("gt_cloth_warped_mask", "gt_cloth_wraped_mask")),
        "keypoints": Place(
            ("openpose_json", "openpose-json"), ("{id}_keypoints.json", "{id}.json")
        ),
    },
    lists=("{split}_pairs.txt", "{split}_pairs_{setting}.txt"),
    derived={"worn_mask": ("parse",), "agnostic": ("mask",)},
    categories=("upper_body",),
)


@DATASETS.register_module()
class VITONHDDataset(FileTryOnDataset):
    """Pairs of VITON-HD: upper body, front view, 11 647 train and 2 032 test.

    ``train_pairs.txt`` and ``test_pairs.txt`` hold mismatched pairs; ``setting="paired"`` therefore
    gives everybody its own garment, which has the person's name. See `FileTryOnDataset`.
    """

    layout = VITONHD
    convention = "vitonhd"

    def read_items(self, pairs: str | None) -> list[Item]:
        path = self.list_path(pairs)
        listed = read_pairs(path)
        if self.setting == "paired":
            listed = own_garment(listed, str)
        items = [Item(pair, "upper_body") for pair in listed]
        if self.setting == "unpaired":
            self.warn_if_paired(items, str, path)
        return items
