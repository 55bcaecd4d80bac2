"""The true side of an evaluation: which pairs there are, and each pair's pictures and masks."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from vtonlab.datasets.readers.lists import PICTURE_SUFFIXES, Pair
from vtonlab.ops.resize import Size
from vtonlab.registry import DATASETS
from vtonlab.utils.images import check_image

MAPS = ("mask", "agnostic", "worn_mask", "garment_mask")
LOSSY = (".jpg", ".jpeg")
LAYOUTS = ("VITONHDDataset", "DressCodeDataset", "DeepFashionDataset", "MPVDataset")


class Truth:
    """A data set of the test list, read at the size of its files.

    Args:
        dataset: of try-on pairs.
        setting: ``"paired"`` or ``"unpaired"``.
        lacking: maps that it cannot give: name -> why.
        train: config of the training split, for protocols whose real set that is.
    """

    def __init__(
        self,
        dataset: Dataset,
        setting: str,
        *,
        lacking: Mapping[str, str] | None = None,
        train: Mapping | None = None,
    ) -> None:
        self.dataset, self.setting, self.train = dataset, setting, train
        self.lacking = dict(lacking or {})
        listed = getattr(dataset, "pairs", None)  # data sets without a list are asked one by one
        if listed is None:
            samples = (dataset[index] for index in range(len(dataset)))
            listed = [Pair(sample["id"], sample["garment_id"]) for sample in samples]
        self.pairs = [Pair(*pair) for pair in listed]

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, index: int) -> dict:
        """Pair ``index`` as the data set gives it."""
        return self.dataset[index]

    def files(self, index: int) -> dict[str, Path]:
        """The files of pair ``index``, by map; empty for data that is drawn."""
        files = getattr(self.dataset, "files", None)
        return {} if files is None else files(index)

    def size(self, index: int) -> Size:
        """(height, width) of the person's picture, from its file's header."""
        files = self.files(index)
        if "person" in files:
            return check_image(files["person"], deep=False)
        return self.sample(index)["person"].shape[:2]

    def is_lossy(self, index: int) -> bool:
        """Whether the person's picture is a JPEG."""
        return self.files(index).get("person", Path()).suffix.lower() in LOSSY

    @property
    def digest(self) -> str:
        """SHA-256 of the list: one ``person garment`` line per pair, in order."""
        lines = "".join(f"{pair.id} {pair.garment_id}\n" for pair in self.pairs)
        return hashlib.sha256(lines.encode()).hexdigest()

    def folder_people(self) -> list[Path] | None:
        """Every picture in the folders that hold the list's people; None where these folders hold
        garments too, or the data is drawn.
        """
        people, garments = set(), set()
        for index in range(len(self)):
            files = self.files(index)
            if "person" not in files:
                return None
            people.add(files["person"].parent)
            garments.add(files["garment"].parent)
        if people & garments:
            return None
        return sorted(
            p
            for folder in people
            for p in folder.iterdir()
            if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")
        )

    def describe_mask(self) -> str:
        """Where masks come from."""
        if "mask" in self.lacking:
            return "none"
        path = self.files(0).get("mask")
        return f"{path.parent.name}/" if path is not None else type(self.dataset).__name__


def open_truth(
    config: Mapping[str, Any],
    setting: str,
    needs: Sequence[str] = MAPS,
    exclude: str | None = None,
) -> Truth:
    """The truth that a data set's config describes, at the size of its files.

    Transforms, matches and size of the config are dropped: they belong to training. Maps that the
    data lacks are left out, with the reason.

    Raises:
        ValueError, FileNotFoundError: as the data set; it has no ``setting``.
    """
    from inspect import signature

    cls = DATASETS.get(config["type"])
    if cls is None:
        raise ValueError(f"{config['type']!r} is no data set of vtonlab")
    accepted = signature(cls.__init__).parameters
    if "setting" not in accepted:
        raise ValueError(f"{config['type']} has no setting: it cannot be tested as {setting}")
    base = {k: v for k, v in config.items() if k not in ("transforms", "matches")}
    base |= {"setting": setting}
    if exclude is not None:
        base["exclude"] = exclude
    if "missing" not in accepted:  # drawn, not read
        return Truth(DATASETS.build(base), setting)
    base |= {"size": None, "maps": []}
    DATASETS.build(base)  # what fails here is no question of maps
    found, lacking = [], {}
    for name in (name for name in MAPS if name in needs):
        try:
            DATASETS.build({**base, "maps": [name]})
            found.append(name)
        except (FileNotFoundError, ValueError) as error:
            lacking[name] = str(error)
    listed = ("pairs", "holdout", "holdout_seed", "exclude")  # of the test's people alone
    train = {key: value for key, value in base.items() if key not in listed}
    train |= {"split": "train", "setting": "paired"}
    return Truth(DATASETS.build({**base, "maps": found}), setting, lacking=lacking, train=train)


def recognise(root: str | Path) -> str:
    """Which data set lies at ``root``, by its folders.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: none, or several.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"--data {root} is no folder")
    classes = {name: DATASETS.get(name) for name in LAYOUTS}
    fitting = [name for name, cls in classes.items() if cls is not None and cls.layout.fits(root)]
    if len(fitting) != 1:
        found = f"looks like {' and '.join(fitting)}" if fitting else "has no known layout"
        raise ValueError(f"--data {root} {found}: say which with --dataset {'|'.join(LAYOUTS)}")
    return fitting[0]
