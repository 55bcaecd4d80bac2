"""Joint transforms: each moves pictures, masks, label maps, keypoints, matches and flow together.

A transform takes a sample and returns a new one. All random numbers come from ``sample["rng"]``,
which the data set seeds by the position of the sample in the run.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch

from vtonlab.datasets.readers.reading import Canvas, place_body
from vtonlab.datasets.transforms.mirroring import (
    mirror_iuv,
    mirror_keypoints,
    mirror_labels,
    mirror_pose,
)
from vtonlab.ops.agnostic import agnostic_picture, dilate
from vtonlab.registry import TRANSFORMS
from vtonlab.structures.correspondences import apply_affine, unit_affine
from vtonlab.structures.sample import (
    IUV_MAPS,
    KEYPOINTS,
    LABEL_MAPS,
    MASKS,
    PICTURES,
    REFERENCES,
    REQUIRED,
    owner,
    truths,
)

# Pictures with colours of the world.
PHOTOS = ("person", "agnostic", "target", "before", *REFERENCES)


@TRANSFORMS.register_module()
class Resize:
    """Every map to one size: antialiased, padded instead of stretched (see `Canvas`).

    Args:
        size: ``(height, width)``.
    """

    def __init__(self, *, size: Sequence[int]) -> None:
        self.size = tuple(size)

    def __call__(self, sample: dict) -> dict:
        pictures = [role for role in ("person", *REFERENCES) if role in sample]
        canvases = {role: Canvas(sample[role].shape[:2], self.size) for role in pictures}
        moved = dict(sample)
        for key in _maps(sample):
            canvas = canvases[owner(key)]
            kind = "photo" if key in PHOTOS else _kind(key)
            moved[key] = getattr(canvas, kind)(sample[key])
        for key in KEYPOINTS:
            if key in sample:
                moved[key] = canvases[owner(key)].keypoints(sample[key])
        if "body" in sample:
            moved["body"] = place_body(sample["body"], canvases)
        for key, role in truths(sample):
            size = dict(size=self.size) if key.startswith("flow") else {}
            affines = canvases["person"].affine, canvases[role].affine
            moved[key] = sample[key].affine(*affines, **size)
        return moved


@TRANSFORMS.register_module()
class RandomHFlip:
    """Mirror person and garment together, exchanging left and right in parse, pose and keypoints.

    Both, because a print mirrored in only one of the pictures could not be learnt.

    Args:
        prob: probability of mirroring.
        exchange_sides: exchange left and right in the colours of ``pose`` too. StableVITON and
            SIFT-VTON mirror its pixels alone, so that a left arm has the right one's colour.
    """

    def __init__(self, *, prob: float = 0.5, exchange_sides: bool = True) -> None:
        self.prob, self.exchange_sides = probability(prob), exchange_sides

    def __call__(self, sample: dict) -> dict:
        if sample["rng"].random() >= self.prob:
            return sample
        return hflip(sample, exchange_sides=self.exchange_sides)


def hflip(sample: dict, exchange_sides: bool = True) -> dict:
    """The mirrored sample; mirroring twice gives the sample back."""
    if "body" in sample:
        raise ValueError(
            "RandomHFlip cannot mirror the `body` map: its vertices have no mirrored order here; "
            "take the flip or the map out of the config"
        )
    special = dict(
        parse=mirror_labels, iuv=mirror_iuv, pose=mirror_pose, keypoints=mirror_keypoints
    )
    if not exchange_sides:
        del special["pose"]
    special |= {f"garment_{key}": mirror for key, mirror in special.items()}
    moved = dict(sample)
    for key in _maps(sample):
        moved[key] = np.ascontiguousarray(sample[key][:, ::-1])
    for key, mirror in special.items():
        if key in sample:
            moved[key] = mirror(sample[key])
    for key, _ in truths(sample):
        moved[key] = sample[key].hflip()
    return moved


@TRANSFORMS.register_module()
class RandomAffine:
    """Shift, scale and turn the person or the garment with everything that belongs to it.

    Args:
        target: ``"person"`` or ``"garment"``.
        prob: probability of moving at all.
        shift: largest shift in either direction, as a share of width and height.
        scale: ``(smallest, largest)`` factor.
        rotate: largest turn in either direction, degrees.
        fill: grey value of what photographs show beyond their border.
    """

    def __init__(
        self,
        *,
        target: str = "person",
        prob: float = 1.0,
        shift: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        rotate: float = 0.0,
        fill: int = 255,
    ) -> None:
        if target not in ("person", "garment"):
            raise ValueError(f"RandomAffine: target must be person or garment, not {target!r}")
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"RandomAffine: scale must be (smallest, largest), not {scale!r}")
        self.target, self.prob, self.fill = target, probability(prob), fill
        self.shift, self.scale, self.rotate = shift, tuple(scale), rotate

    def __call__(self, sample: dict) -> dict:
        rng = sample["rng"]
        chance = rng.random()
        turn, factor = rng.uniform(-self.rotate, self.rotate), rng.uniform(*self.scale)
        shift = rng.uniform(-self.shift, self.shift, 2)
        if chance >= self.prob:
            return sample
        height, width = sample[self.target].shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, factor)
        matrix[:, 2] += shift * (width, height)
        return move(sample, matrix, target=self.target, fill=self.fill)


def move(sample: dict, matrix: np.ndarray, *, target: str, fill: int = 255) -> dict:
    """Apply a pixel-index affine, ``(2, 3)`` old to new, to one side of a sample; sizes stay."""
    size = sample[target].shape[:2]
    moved = dict(sample)
    for key in _maps(sample):
        if owner(key) == target:
            border = fill if key in PHOTOS else 0
            smooth = _kind(key) == "picture"
            moved[key] = _warp(sample[key], matrix, smooth=smooth, border=border)
    unit = unit_affine(matrix, size, size)
    for key in KEYPOINTS:
        if key in sample and owner(key) == target:
            moved[key] = move_keypoints(sample[key], unit)
    if "body" in sample:
        moved["body"] = _move_body(sample["body"], matrix, "garment_" * (target == "garment"))
    for key, role in truths(sample):
        if target in ("person", role):
            side = "person" if target == "person" else "garment"
            moved[key] = sample[key].affine(**{side: unit})
    return moved


def move_keypoints(keypoints: np.ndarray, unit: torch.Tensor) -> np.ndarray:
    """``(K, 3)`` under a ``(2, 3)`` map on [0, 1]; those that leave the picture count as unseen."""
    points = apply_affine(torch.from_numpy(keypoints[:, :2]), unit).numpy()
    inside = ((points >= 0) & (points <= 1)).all(1) & (keypoints[:, 2] > 0)
    moved = np.concatenate([points, keypoints[:, 2:]], 1)
    return np.where(inside[:, None], moved, 0).astype(np.float32)


def _move_body(body: Mapping[str, np.ndarray], matrix: np.ndarray, prefix: str) -> dict:
    """One side's projected vertices and visible faces under a pixel-index affine."""
    vertices = body[f"{prefix}vertices"].copy()
    vertices[:, :2] = (vertices[:, :2] - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    moved = {**body, f"{prefix}vertices": vertices}
    if f"{prefix}visibility" in body:
        seen = body[f"{prefix}visibility"]
        faces = _warp(seen.astype(np.float32), matrix, smooth=False, border=-1)
        moved[f"{prefix}visibility"] = faces.astype(seen.dtype)
    return moved


def _warp(picture: np.ndarray, matrix: np.ndarray, *, smooth: bool, border: int) -> np.ndarray:
    height, width = picture.shape[:2]
    return cv2.warpAffine(
        picture,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(border, border, border),
    )


@TRANSFORMS.register_module()
class DilateMask:
    """Grow the area to generate; the agnostic picture's hole grows with it, in its own grey.

    Args:
        size: radius of the growth as a share of the picture's height; ``(least, most)`` draws one.
        fill: grey value of the hole.
    """

    def __init__(self, *, size: float | Sequence[float], fill: int = 128) -> None:
        self.size = (size, size) if isinstance(size, (int, float)) else tuple(size)
        if not 0 <= self.size[0] <= self.size[1] <= 1:
            raise ValueError(f"DilateMask: size must be a share of the height, not {size!r}")
        self.fill = fill

    def __call__(self, sample: dict) -> dict:
        if "mask" not in sample:
            raise ValueError("DilateMask needs the sample's `mask`: add it to the data set's maps")
        share = sample["rng"].uniform(*self.size)
        mask = dilate(sample["mask"], round(share * sample["mask"].shape[0]))
        moved = {**sample, "mask": mask}
        if "agnostic" in sample:
            grown = mask - sample["mask"]
            moved["agnostic"] = agnostic_picture(sample["agnostic"], grown, self.fill)
        return moved


@TRANSFORMS.register_module()
class Pack:
    """Keep the named keys, and those that every sample has: what is not used need not travel.

    Args:
        keys: of the sample, such as ``["agnostic", "mask", "pose"]``.
    """

    def __init__(self, *, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)

    def __call__(self, sample: dict) -> dict:
        missing = [key for key in self.keys if key not in sample]
        if missing:
            raise ValueError(
                f"Pack: the sample has no {missing[0]!r}, only {', '.join(sorted(sample))}; add it "
                "to the data set's maps or take it out of Pack's keys"
            )
        kept = {*REQUIRED, "source_size", "latents", "rng", *self.keys}
        return {key: value for key, value in sample.items() if key in kept}


def adds_words_alone(transform) -> bool:
    """Whether a transform, or its class, says that it leaves all pictures as they are and needs
    none: ``words_alone = True``.
    """
    return getattr(transform, "words_alone", False)


def _maps(sample: dict) -> list[str]:
    return [key for key in (*PICTURES, *MASKS, *LABEL_MAPS) if key in sample]


def _kind(key: str) -> str:
    """How a map is resampled: the name of `Canvas`'s method (photographs are pictures too)."""
    if key in MASKS:
        return "mask"
    return "labels" if key in (*LABEL_MAPS, *IUV_MAPS) else "picture"


def probability(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"prob must lie in [0, 1], not {value!r}")
    return value
