"""The maps of one pair at its photographs' own sizes: read from files, or made from other maps."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vtonlab.datasets.readers.reading import (
    WHITE_IS_ONE,
    MaskFiles,
    garment_on_white,
    read_body,
    read_iuv,
    read_keypoints,
)
from vtonlab.ops.agnostic import agnostic_mask, split_neck, worn_garment
from vtonlab.ops.labels import atr_to_lip, densepose_labels, densepose_picture
from vtonlab.structures.sample import MASKS, MORE_GARMENTS
from vtonlab.structures.sample import owner as owner_of
from vtonlab.utils.images import read_image

HAIR_LABEL, HAIR_COLOUR = 2, (254, 0, 0)  # class 2 and its colour in the LIP palette
ATR_BAG = 16
SHOWN = (*MORE_GARMENTS, "worn", "before")  # further photographs that a network may be shown
PHOTOGRAPHS = ("person", "garment", "agnostic", "pose", "garment_pose", *SHOWN)
TASKS = ("try_on", "person_to_person", "pose_transfer")


class PairMaps:
    """``maps["parse"]`` and so on; each is read or made once, when it is first asked for.

    Args:
        files: map -> file, of the maps that are read.
        category: of the garment.
        task: ``try_on`` (the garment is a product picture), ``person_to_person`` (it is a dressed
            person, whose garment of ``category`` is carried over) or ``pose_transfer`` (the whole
            person is).
        labels: ``lip`` or ``atr``: what the files of ``parse`` hold; samples hold LIP.
        build_mask: further arguments of `agnostic_mask`; ``densepose=True`` reads it from the pair.
        paint_hair: paint the hair of ``parse`` over the pose picture, and the bags of ATR labels.
        mask_files: threshold and polarity of mask files.
        max_pixels: refuse larger pictures.
    """

    def __init__(
        self,
        *,
        files: Mapping[str, Path],
        category: str,
        task: str = "try_on",
        labels: str = "lip",
        build_mask: Mapping | None = None,
        paint_hair: bool = False,
        mask_files: MaskFiles = WHITE_IS_ONE,
        max_pixels: int,
    ) -> None:
        self.files, self.category, self.task, self.labels = files, category, task, labels
        self.build_mask, self.paint_hair = dict(build_mask or {}), paint_hair
        self.mask_files, self.max_pixels = mask_files, max_pixels
        self._found: dict = {}

    def __getitem__(self, name: str):
        if name not in self._found:
            self._found[name] = self._read(name) if name in self.files else self._derive(name)
        return self._found[name]

    def source(self, name: str) -> Path:
        """The file to name in messages about a map."""
        return self.files.get(name, self.files[self.owner(name)])

    @staticmethod
    def owner(name: str) -> str:
        """The photograph that a map belongs to."""
        found = owner_of(name)
        return "garment" if found == "person" and name.startswith("garment") else found

    def size(self, name: str) -> tuple[int, int]:
        """``(height, width)`` of the photograph that a map belongs to."""
        return self[self.owner(name)].shape[:2]

    def _read(self, name: str):
        path, kind = self.files[name], name.removeprefix("garment_")
        if name in MASKS:
            picture = read_image(path, "mask", self.max_pixels)
            return self.mask_files.read(picture, name, path)
        if name in PHOTOGRAPHS:
            picture = read_image(path, "rgb", self.max_pixels)
            return self._with_hair(picture, path) if name == "pose" else picture
        if kind == "parse":
            return self._labels(path)
        if kind == "iuv":
            return read_iuv(path, self.files.get(name.replace("iuv", "uv")), self.max_pixels)
        if kind == "keypoints":
            return read_keypoints(path, self.size(name))
        assert kind == "body", name
        return read_body(path)

    def _labels(self, path: Path) -> np.ndarray:
        labels = read_image(path, "labels", self.max_pixels)
        if self.labels == "lip":
            return labels
        try:
            return atr_to_lip(labels)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def _with_hair(self, pose: np.ndarray, path: Path) -> np.ndarray:
        if self.paint_hair:
            parse = self["parse"]
            if parse.shape != pose.shape[:2]:
                raise ValueError(
                    f"{self.source('parse')} is {parse.shape} but {path} {pose.shape[:2]}: "
                    "paint_hair needs one size"
                )
            pose[parse == HAIR_LABEL] = HAIR_COLOUR
            if self.labels == "atr":  # in the colour that the file's palette gives it
                file = self.files["parse"]
                bag = read_image(file, "labels", self.max_pixels) == ATR_BAG
                pose[bag] = read_image(file, "rgb", self.max_pixels)[bag]
        return pose

    def _derive(self, name: str) -> np.ndarray:
        if name == "worn_mask":
            return worn_garment(self["parse"], self.category)
        if name == "garment_mask":
            return self._garment_mask()
        if name.startswith("garment_mask_"):
            return garment_on_white(self[self.owner(name)])
        if name == "mask":
            if self.task == "pose_transfer":
                return np.ones(self.size(name), np.uint8)
            return self._mask()
        iuv = {"pose": "iuv", "garment_pose": "garment_iuv"}.get(name)
        if iuv is None:
            raise ValueError(
                f"{self.source(name)} has no file of {name!r} beside it, which its maps are made "
                "from: add it, or take what needs it out of the data set's maps"
            )
        picture = densepose_picture(self[iuv][..., 0])
        return self._with_hair(picture, self.source(iuv)) if name == "pose" else picture

    def _mask(self) -> np.ndarray:
        settings = dict(self.build_mask)
        if settings.pop("densepose", False):
            settings["densepose"] = self._parts()
        parse, keypoints = self["parse"], self["keypoints"]
        if self.labels == "atr":
            points = keypoints[:, :2] * parse.shape[::-1]
            parse = split_neck(parse, points, keypoints[:, 2] > 0)
        return agnostic_mask(parse, keypoints, self.category, **settings)

    def _parts(self) -> np.ndarray:
        if "iuv" in self.files:
            return self["iuv"][..., 0]
        return densepose_labels(read_image(self.files["pose"], "rgb", self.max_pixels))

    def _garment_mask(self) -> np.ndarray:
        if self.task == "try_on":
            return garment_on_white(self["garment"])
        if self.task == "person_to_person":
            return worn_garment(self["garment_parse"], self.category)
        return (self["garment_parse"] > 0).astype(np.uint8)
