"""MPV: one garment, several photographs of the person who wears it (METHODS.md 6.4)."""

from vtonlab.datasets.readers.files import SPLITS, FileTryOnDataset
from vtonlab.datasets.readers.layout import Layout, Place
from vtonlab.datasets.readers.lists import Item, Pair, read_rows
from vtonlab.registry import DATASETS

# Names are <garment>/<garment>@<n>=person_half_front.jpg; maps lie flat or in the same folders.
_PARSING = Place(("all_parsing",), ("{id}.png", "{base}.png"), key="path")
_KEYPOINTS = Place(
    ("all_keypoints", "all_person_clothes_keypoints"),
    ("{id}_keypoints.json", "{base}_keypoints.json", "{id}.json", "{base}.json"),
    key="path",
)
_DENSEPOSE = Place(("all_densepose",), ("{id}_IUV.png", "{base}_IUV.png"), key="path")
_BODY = Place(("all_smpl",), ("{id}.npz", "{base}.npz"), key="path")
MPV = Layout(
    title="MPV",
    parents=("",),
    places={
        "person": Place(("all",), ("{id}", "{base}"), key="path"),
        "garment": Place(("all",), ("{id}", "{base}"), key="path"),
        "parse": _PARSING,
        "keypoints": _KEYPOINTS,
        "iuv": _DENSEPOSE,
        "body": _BODY,
        "garment_parse": _PARSING,
        "garment_keypoints": _KEYPOINTS,
        "garment_iuv": _DENSEPOSE,
        "garment_body": _BODY,
    },
    lists=("all_poseA_poseB_clothes_0607.txt", "all_poseA_poseB_clothes.txt"),
    derived={
        "mask": ("parse", "keypoints"),
        "agnostic": ("mask",),
        "garment_mask": ("garment",),
        "worn_mask": ("parse",),
        "pose": ("iuv",),
        "garment_pose": ("garment_iuv",),
    },
    companions={"body": ("garment_body",)},
    categories=("upper_body",),
)


@DATASETS.register_module()
class MPVDataset(FileTryOnDataset):
    """Pairs of MPV, upper body, 256x192; the list has person A, person B, garment and split.

    ``task="try_on"``: person A with the product picture. ``"person_to_person"`` and
    ``"pose_transfer"``: ``garment`` is person B, the same garment in another pose. ``paired`` takes
    the list's pairs; ``unpaired`` gives each person the garment of the next that is another. See
    `FileTryOnDataset` for the rest; 3D-GCL's HardPose list, or any other of this form, is given as
    ``pairs``.
    """

    layout = MPV
    tasks = ("try_on", "person_to_person", "pose_transfer")

    def sources(self, name: str) -> tuple[str, ...] | None:
        if self.task == "pose_transfer" and name == "mask":
            return ()
        if self.task != "try_on" and name == "garment_mask":
            return ("garment_parse",)
        return super().sources(name)

    def read_items(self, pairs: str | None) -> list[Item]:
        path = self.list_path(pairs)
        rows = read_rows(path, names=3)
        for row in rows:
            if len(row) < 4 or row[3] not in SPLITS:
                raise ValueError(
                    f"pair list {path}: {' '.join(row)!r} is not 'person A, person B, garment, "
                    "train or test'"
                )
        rows = [row for row in rows if row[3] == self.folder_split]
        if not rows:
            raise ValueError(f"pair list {path} holds no pair of {self.folder_split}")
        column = 2 if self.task == "try_on" else 1
        found = dict.fromkeys((row[0], row[column], row[2]) for row in rows)
        people = [(person, shown, worn) for person, shown, worn in found]
        if self.setting == "unpaired":
            people = [(p, _other(people, n), w) for n, (p, _, w) in enumerate(people)]
        return [Item(Pair(person, shown), "upper_body") for person, shown, _ in people]


def _other(people: list[tuple[str, str, str]], place: int) -> str:
    """What the next person shows who wears another garment."""
    for _, shown, worn in people[place + 1 :] + people[:place]:
        if worn != people[place][2]:
            return shown
    raise ValueError("setting='unpaired': the list has no two garments to exchange")
