"""From files to the maps of a sample: placement on the wanted size, masks, keypoints."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from vtonlab.ops.labels import DENSEPOSE_PARTS
from vtonlab.ops.resize import (
    Size,
    fit_inside,
    placement_affine,
    resize_mask,
    resize_picture,
)
from vtonlab.ops.skeleton import coco_to_body_25
from vtonlab.structures.correspondences import apply_affine
from vtonlab.structures.sample import MASKS
from vtonlab.utils.bounded import FileError, read_json, read_npz, reason_of
from vtonlab.utils.images import read_image

THRESHOLD = 127  # JPEG masks are not binary
DRESSCODE_KEYPOINTS = (512, 384)  # of the picture that Dress Code's keypoints count pixels in
_ASPECT_TOLERANCE = 0.01
_GREY_SHARE = 0.05  # of pixels between black and white, above which a picture is no mask
_COLOUR_SHARE = 0.01
_EDGE = 0.03  # of the shorter side: half the width of a mask's soft edge, at most


class Canvas:
    """Places the maps of one photograph on ``size``: resized with antialiasing, padded, not
    stretched.

    Args:
        source: ``(height, width)`` of the photograph.
        size: ``(height, width)`` of the result; None keeps ``source``.
    """

    def __init__(self, source: Size, size: Size | None) -> None:
        self.source, self.size = source, size or source
        self.placement = fit_inside(self.source, self.size)

    @property
    def affine(self) -> Tensor:
        """``(2, 3)``: points in [0, 1] of the photograph -> of the canvas."""
        return placement_affine(self.placement, self.size)

    def photo(self, picture: np.ndarray, path: Path | None = None) -> np.ndarray:
        return self._place(resize_picture, picture, path, 255)

    def picture(self, picture: np.ndarray, path: Path | None = None) -> np.ndarray:
        return self._place(resize_picture, picture, path, 0)

    def mask(self, mask: np.ndarray, path: Path | None = None) -> np.ndarray:
        return self._place(resize_mask, mask, path, 0)

    def labels(self, labels: np.ndarray, path: Path | None = None) -> np.ndarray:
        def nearest(picture: np.ndarray, size: Size) -> np.ndarray:
            return resize_picture(picture, size, "nearest")

        return self._place(nearest, labels, path, 0)

    def keypoints(self, keypoints: np.ndarray) -> np.ndarray:
        """``(K, 3)`` with x, y in [0, 1]; undetected ones (confidence 0) stay at 0."""
        moved = keypoints.copy()
        moved[:, :2] = apply_affine(torch.from_numpy(keypoints[:, :2]), self.affine).numpy()
        return np.where(keypoints[:, 2:] > 0, moved, 0).astype(np.float32)

    def undo(self, picture: np.ndarray) -> np.ndarray:
        """A picture on the canvas back at the photograph's place and size: padding cut off."""
        top, left, height, width = self.placement
        return resize_picture(picture[top : top + height, left : left + width], self.source)

    def _place(self, resize, picture: np.ndarray, path: Path | None, fill: int) -> np.ndarray:
        check_aspect(picture.shape[:2], self.source, path)
        top, left, height, width = self.placement
        placed = resize(picture, (height, width))
        if (height, width) == tuple(self.size):
            return placed
        canvas = np.full((*self.size, *picture.shape[2:]), fill, np.uint8)
        canvas[top : top + height, left : left + width] = placed
        return canvas


def place_body(
    body: Mapping[str, np.ndarray], canvases: Mapping[str, Canvas]
) -> dict[str, np.ndarray]:
    """Both sides' ``vertices`` (V, 2 or 3), pixels with centres at + 0.5, and ``visibility``
    (h, w), -1 for none, on their canvases; other entries stay.
    """
    placed = dict(body)
    for prefix, canvas in (("", canvases["person"]), ("garment_", canvases["garment"])):
        top, left, height, width = canvas.placement
        if f"{prefix}vertices" in body:
            moved = body[f"{prefix}vertices"].copy()
            moved[:, 0] = moved[:, 0] * (width / canvas.source[1]) + left
            moved[:, 1] = moved[:, 1] * (height / canvas.source[0]) + top
            placed[f"{prefix}vertices"] = moved
        if f"{prefix}visibility" in body:
            found = body[f"{prefix}visibility"]
            seen = np.full(canvas.size, -1, found.dtype)
            seen[top : top + height, left : left + width] = resize_picture(
                found, (height, width), "nearest"
            )
            placed[f"{prefix}visibility"] = seen
    return placed


def check_aspect(size: Size, photo: Size, path: Path | None) -> None:
    """``ValueError`` if a map cannot belong to a photograph of that size."""
    if abs(size[1] / size[0] / (photo[1] / photo[0]) - 1) > _ASPECT_TOLERANCE:
        raise ValueError(
            f"{path} is {size[0]}x{size[1]} but its photograph {photo[0]}x{photo[1]} (height x "
            "width): a map has the aspect ratio of its photograph"
        )


class MaskFiles(NamedTuple):
    """How mask files are meant: grey values above ``threshold`` are 1 (of 255, the file's own
    white), but for the maps that are ``inverted``, whose files are black where others are white.
    Masks that are empty, full or look inverted are told by name; ``strict`` refuses them.
    """

    threshold: int = THRESHOLD
    inverted: tuple[str, ...] = ()
    strict: bool = False

    @classmethod
    def of(cls, settings: Mapping | None) -> "MaskFiles":
        """From a config's ``dict(threshold=..., inverted=[...], strict=...)``.

        Raises:
            ValueError: unknown keys, maps that are no masks, or a threshold that keeps nothing.
        """
        settings = dict(settings or {})
        threshold, inverted = settings.pop("threshold", THRESHOLD), settings.pop("inverted", ())
        strict = bool(settings.pop("strict", False))
        unknown = [*settings, *(name for name in inverted if name not in MASKS)]
        if unknown:
            raise ValueError(
                f"mask_files: {unknown[0]!r} is none of threshold, inverted, strict and there "
                f"{', '.join(MASKS)}"
            )
        if not 0 <= threshold < 255:
            raise ValueError(f"mask_files: threshold must be 0 to 254, not {threshold!r}")
        return cls(threshold, tuple(inverted), strict)

    @property
    def meaning(self) -> dict:
        """What decides the masks that are read."""
        return dict(threshold=self.threshold, inverted=self.inverted)

    def read(self, picture: np.ndarray, name: str, path: Path) -> np.ndarray:
        """The mask (H, W) in {0, 1} of the map ``name``; errors as `mask_of`.

        Raises:
            ValueError: ``strict``, and the mask is empty, full or looks inverted.
        """
        mask = mask_of(picture, path, self.threshold)
        mask = 1 - mask if name in self.inverted else mask
        if (fault := suspicion(mask, name)) and self.strict:
            raise ValueError(f"{path} {fault}")
        if fault and str(path) not in _TOLD:
            _TOLD.add(str(path))
            print_log(f"{path} {fault}", level=logging.WARNING)
        return mask


WHITE_IS_ONE = MaskFiles()
_TOLD: set[str] = set()  # files that were warned of in this process


def suspicion(mask: np.ndarray, name: str) -> str:
    """What is wrong with a mask (H, W) in {0, 1} of the map ``name``, as the rest of a sentence, or
    "".
    """
    what = "area to generate" if name == "mask" else "garment"
    if not mask.any():
        return f"is black all over: white must be the {what}"
    if mask.all():
        return f"is white all over: white must be the {what}, black the rest"
    if looks_inverted(mask):
        return (
            f"is white all around and black within: white must be the {what}; invert it, or set "
            f"mask_files=dict(inverted=[{name!r}])"
        )
    return ""


def looks_inverted(mask: np.ndarray) -> bool:
    """Whether a mask (H, W) in {0, 1} is white along its upper border and black within: what it
    should mark never fills that border.
    """
    upper = mask.shape[0] // 2
    border = np.concatenate([mask[0], mask[:upper, 0], mask[:upper, -1]])
    return border.mean() > 0.9 and mask.mean() < 0.98


def mask_of(picture: np.ndarray, path: Path, threshold: int = THRESHOLD) -> np.ndarray:
    """Threshold a mask file, read in mode ``"mask"`` or ``"rgb"``, to {0, 1}, 1 = white.

    Raises:
        ValueError: the file is no mask but a photograph, such as the grey agnostic picture.
    """
    plane, coloured = picture, 0.0
    if picture.ndim == 3:
        red, green, blue = np.moveaxis(picture[::4, ::4].astype(np.int16), -1, 0)
        coloured = (np.abs(red - green) + np.abs(green - blue) > 32).mean()
        plane = cv2.extractChannel(picture, 1)
    middle = (np.abs(plane[::4, ::4].astype(np.int16) - 128) < 64).mean()
    if coloured > _COLOUR_SHARE or (middle > _GREY_SHARE and not _soft_edged(plane)):
        raise ValueError(
            f"{path} is no mask ({coloured:.0%} of it is coloured, {middle:.0%} grey): a mask is "
            "white where the picture is to be generated and black elsewhere; an agnostic picture "
            "is not one"
        )
    return (plane > threshold).view(np.uint8)


def _soft_edged(plane: np.ndarray) -> bool:
    """Whether grey is only between black and white: a small or feathered mask, no picture."""
    grey = (np.abs(plane.astype(np.int16) - 128) < 64).astype(np.uint8)
    sure = (plane < 16) | (plane > 239)
    reach = max(1, round(_EDGE * min(plane.shape)))
    core = cv2.erode(grey, np.ones((2 * reach + 1,) * 2, np.uint8))
    return bool(sure.mean() > 0.5 and core.mean() < 0.002)


def read_keypoints(path: Path, size: Size) -> np.ndarray:
    """BODY_25 of the first person: ``(25, 3)`` float32, x, y in [0, 1], confidence.

    Reads OpenPose's JSON (25 points, or 18 of COCO) and Dress Code's (18 points counted in a
    picture of 512x384). No person found gives zeros.

    Args:
        size: ``(height, width)`` of the picture that OpenPose saw.

    Raises:
        ValueError: neither form, or another number of points.
    """
    try:
        content = read_json(path)
        if "keypoints" in content:
            values = np.array(content["keypoints"], dtype=np.float32)[:, :3]
            size = DRESSCODE_KEYPOINTS
        else:
            people = content["people"]
            values = people[0]["pose_keypoints_2d"] if people else [0.0] * 75
            values = np.array(values, dtype=np.float32).reshape(-1, 3)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise FileError(f"{path} holds no OpenPose keypoints ({reason_of(error)})") from None
    if values.shape not in ((25, 3), (18, 3)) or not np.isfinite(values).all():
        raise FileError(f"{path} holds {len(values)} keypoints, BODY_25 has 25 and COCO 18")
    keypoints = values.copy() if len(values) == 25 else coco_to_body_25(values)
    keypoints[:, 0] = (keypoints[:, 0] + 0.5) / size[1]
    keypoints[:, 1] = (keypoints[:, 1] + 0.5) / size[0]
    seen = (keypoints[:, 2:] > 0) & (keypoints[:, :2] >= 0).all(1, keepdims=True)
    return np.where(seen, keypoints, 0).astype(np.float32)


def read_iuv(path: Path, uv_path: Path | None, max_pixels: int) -> np.ndarray:
    """DensePose part, U, V as ``(H, W, 3)`` uint8; U and V in 0 to 255.

    Reads ``_IUV.png`` (three channels; OpenCV stores the part last), a label picture with
    ``uv_path`` (``.npz`` with ``uv``, (2, H, W) in [0, 1]), or one ``.npz`` with ``labels`` and
    ``uv``.

    Raises:
        ValueError: none of these, or parts above 24.
    """
    if path.suffix == ".npz":
        arrays = read_arrays(path, ("labels", "uv"))
        labels, uv = arrays["labels"], arrays["uv"]
    elif uv_path is not None:
        labels, uv = read_image(path, "labels", max_pixels), read_arrays(uv_path, ("uv",))["uv"]
    else:
        picture = read_image(path, "rgb", max_pixels)
        iuv = picture if picture[..., 0].max() <= DENSEPOSE_PARTS else picture[..., ::-1]
        labels, uv = iuv[..., 0], np.moveaxis(iuv[..., 1:], -1, 0) / np.float32(255)
    if (
        labels.ndim != 2
        or labels.dtype.kind not in "iu"
        or not 0 <= labels.min(initial=0) <= labels.max(initial=0) <= DENSEPOSE_PARTS
        or uv.shape != (2, *labels.shape)
    ):
        raise FileError(
            f"{path} is no DensePose map: it needs parts 0 to 24 (H, W) and U, V (2, H, W), not "
            f"parts up to {labels.max(initial=0)} {labels.shape} and {uv.shape}"
        )
    uv = np.rint(np.clip(uv, 0, 1) * 255)
    return np.concatenate([labels[..., None], np.moveaxis(uv, 0, -1)], -1).astype(np.uint8)


def read_body(path: Path) -> dict[str, np.ndarray]:
    """3D-GCL's body of one photograph: ``vertices`` (V, 2) float32 in pixels, and ``visibility``
    (h, w) int64, the face seen at each pixel, -1 for none.

    In the file pixel i has the coordinate i, here its centre has i + 0.5. A third coordinate is
    left out: FrankMocap's is a depth along parallel rays, in which a place on a triangle is what
    its projection says, without a correction for distance.

    Raises:
        ValueError: not an ``.npz`` with ``pred_vertices_img`` and ``visibility``.
    """
    arrays = read_arrays(path, ("pred_vertices_img", "visibility"))
    shapes = [array.shape for array in arrays.values()]
    if len(shapes[0]) != 2 or shapes[0][1] < 2 or len(shapes[1]) != 2:
        raise FileError(
            f"{path} is no projected body: it needs pred_vertices_img (V, 2 or 3) and visibility "
            f"(h, w), not {shapes[0]} and {shapes[1]}"
        )
    seen = arrays["visibility"].astype(np.int64)
    seen[seen >= np.iinfo(np.uint16).max] = -1
    vertices = arrays["pred_vertices_img"][:, :2].astype(np.float32) + np.float32(0.5)
    return {"vertices": vertices, "visibility": seen}


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file; never a pickle, which runs code when it is opened.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such arrays.
    """
    try:
        arrays = read_npz(path)
        found = {name: arrays[name] for name in names}
        texts = [name for name, array in found.items() if array.dtype.kind not in "biuf"]
        if texts:
            raise ValueError(f"{texts[0]} holds no numbers")
        return found
    except (ValueError, KeyError) as error:
        raise FileError(
            f"{path} is no .npz file with {', '.join(names)} ({reason_of(error)}); pickles are not "
            "opened: save their arrays with numpy.savez"
        ) from None


def garment_on_white(picture: np.ndarray, tolerance: int = 12) -> np.ndarray:
    """Mask ``(H, W)`` of what stands before a plain light background, for sets that ship no garment
    masks: everything that cannot be reached from the border over pixels near the border's colour.
    """
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    ground = np.median(border, 0)
    near = (np.abs(picture.astype(np.int16) - ground).max(-1) <= tolerance).astype(np.uint8)
    framed = np.pad(near, 1, constant_values=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    return (framed[1:-1, 1:-1] != 2).astype(np.uint8)
