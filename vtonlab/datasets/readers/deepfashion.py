"""DeepFashion In-shop: two photographs of a person in the same clothes (METHODS.md 6.3)."""

import re
from pathlib import Path

from vtonlab.datasets.base import derangement
from vtonlab.datasets.readers.files import FileTryOnDataset
from vtonlab.datasets.readers.layout import Layout, Place, flat_name
from vtonlab.datasets.readers.lists import Item, Pair, category_of, read_rows, some
from vtonlab.registry import DATASETS

_FOLDER = "Deepfashion_512_320"  # 3D-GCL's, the name it ships under whatever the size
_IMAGES = Place(("img_highres", f"{_FOLDER}/image", "image", "img"), key="flat")
_PARSING = Place((f"{_FOLDER}/parsing", "parsing"), ("{id}_label.png",), key="flat")
_KEYPOINTS = Place(
    (f"{_FOLDER}/keypoints", "keypoints"), ("{id}_keypoints.json", "{id}.json"), key="flat"
)
_DENSEPOSE = Place(("densepose", f"{_FOLDER}/densepose"), ("{id}.npz", "{id}_IUV.png"), key="flat")
_BODY = Place(("smpl", f"{_FOLDER}/smpl"), ("{id}.npz",), key="flat")
DEEPFASHION = Layout(
    title="DeepFashion In-shop",
    parents=("",),
    places={
        "person": _IMAGES,
        "garment": _IMAGES,
        "parse": _PARSING,
        "keypoints": _KEYPOINTS,
        "iuv": _DENSEPOSE,
        "body": _BODY,
        "garment_parse": _PARSING,
        "garment_keypoints": _KEYPOINTS,
        "garment_iuv": _DENSEPOSE,
        "garment_body": _BODY,
    },
    lists=(
        "fashion-pairs-{split}.csv",
        "fasion-resize-pairs-{split}.csv",
        "{split}_psw512.csv",
        "{split}_512.csv",
        f"{_FOLDER}/{{split}}_psw512.csv",
    ),
    derived={
        "mask": ("parse", "keypoints"),
        "agnostic": ("mask",),
        "garment_mask": ("garment_parse",),
        "worn_mask": ("parse",),
        "pose": ("iuv",),
        "garment_pose": ("garment_iuv",),
    },
    companions={"body": ("garment_body",)},
)
# Folders of In-shop by what they hold; the rest is upper body.
LOWER = ("Pants", "Shorts", "Skirts", "Leggings", "Denim")
DRESSES = ("Dresses", "Rompers_Jumpsuits")
_WORN = re.compile(r"^(.*id\d{8}\d{2})")  # person, folder, item and colour of a flat name


def category_of_name(name: str) -> str:
    """From the folder in a name: ``fashionWOMENPantsid...`` -> ``lower_body``."""
    flat = flat_name(name)
    for category, folders in (("lower_body", LOWER), ("dresses", DRESSES)):
        if any(re.match(rf"(WO)?MEN{flat_name(folder)}id", flat) for folder in folders):
            return category
    return "upper_body"


def outfit(name: str) -> str:
    """The part of a name that photographs of one person in one outfit share."""
    found = _WORN.match(flat_name(name))
    return found.group(1) if found else flat_name(name)


@DATASETS.register_module()
class DeepFashionDataset(FileTryOnDataset):
    """Pairs of photographs of DeepFashion; ``garment`` is one of a dressed person.

    ``task="person_to_person"`` (3D-GCL): the garment of the second photograph is carried to the
    person of the first; ``garment_mask`` is its region there, ``mask`` hides it on the person.
    ``task="pose_transfer"`` (Leffa): the whole person is; ``mask`` is the whole picture.

    Lists have the columns ``from`` (the photograph that shows the garment) and ``to`` (the person),
    under the flat names that pose transfer uses or with folders; a further column, or the name,
    tells the category. ``setting="unpaired"`` exchanges the garments within each category, as
    3D-GCL's test does, where the list pairs each outfit with itself. Its HardPose list, or any
    other, is given as ``pairs``.

    Pickles are not opened: DensePose and bodies lie in ``.npz`` files with ``labels`` and ``uv``,
    ``pred_vertices_img`` and ``visibility``, which `tools/convert/gcl3d_data.py` makes of 3D-GCL's
    tree; all of that tree may lie inside one folder. See `FileTryOnDataset` for the rest.
    """

    layout = DEEPFASHION
    tasks = ("person_to_person", "pose_transfer")

    def sources(self, name: str) -> tuple[str, ...] | None:
        if name == "mask" and self.task == "pose_transfer":
            return ()
        return super().sources(name)

    def read_items(self, pairs: str | None) -> list[Item]:
        path = self.list_path(pairs)
        items = []
        for source, person, *rest in read_rows(path):
            items.append(Item(Pair(person, source), self._category(person, rest, path)))
        return exchange(items, self.setting, path)

    def _category(self, person: str, rest: list[str], path: Path) -> str:
        return category_of(rest[0], path) if rest and rest[0] else category_of_name(person)


def exchange(items: list[Item], setting: str, path: Path) -> list[Item]:
    """Pairs as the setting wants them.

    Raises:
        ValueError: ``paired``, and a pair shows two outfits; or ``unpaired`` with one pair alone.
    """
    mixed = [i.pair for i in items if outfit(i.pair.id) != outfit(i.pair.garment_id)]
    if setting == "paired":
        if mixed:
            names = some([f"{pair.garment_id} -> {pair.id}" for pair in mixed])
            raise ValueError(
                f"setting='paired', but {len(mixed)} of {len(items)} pairs of {path} show two "
                f"outfits: {names}; the true picture of such a pair does not exist, use "
                "setting='unpaired'"
            )
        return items
    if mixed:
        return items
    found = list(items)
    for category in dict.fromkeys(item.category for item in items):
        places = [n for n, item in enumerate(items) if item.category == category]
        partners = derangement(len(places), seed=0)
        for place, partner in zip(places, partners, strict=True):
            garment = items[places[partner]].pair.garment_id
            found[place] = Item(Pair(items[place].pair.id, garment), category)
    if all(outfit(i.pair.id) == outfit(i.pair.garment_id) for i in found):
        raise ValueError(f"setting='unpaired': {path} has no two outfits to exchange")
    return found
