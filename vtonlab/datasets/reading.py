"""From files to the maps of a sample: placement on the wanted size, masks, keypoints."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vtonlab.ops.resize import (
    Size,
    fit_inside,
    placement_affine,
    resize_mask,
    resize_picture,
)
from vtonlab.structures.correspondences import apply_affine

THRESHOLD = 127  # JPEG masks are not binary
_ASPECT_TOLERANCE = 0.01
_GREY_SHARE = 0.05  # of pixels between black and white, above which a picture is no mask
_COLOUR_SHARE = 0.01


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


def check_aspect(size: Size, photo: Size, path: Path | None) -> None:
    """``ValueError`` if a map cannot belong to a photograph of that size."""
    if abs(size[1] / size[0] / (photo[1] / photo[0]) - 1) > _ASPECT_TOLERANCE:
        raise ValueError(
            f"{path} is {size[0]}x{size[1]} but its photograph {photo[0]}x{photo[1]} (height x "
            "width): a map has the aspect ratio of its photograph"
        )


def mask_of(picture: np.ndarray, path: Path) -> np.ndarray:
    """Threshold an RGB reading of a mask file to {0, 1}, 1 = white.

    Raises:
        ValueError: the file is no mask but a photograph, such as the grey agnostic picture.
    """
    red, green, blue = np.moveaxis(picture[::4, ::4].astype(np.int16), -1, 0)
    coloured = (np.abs(red - green) + np.abs(green - blue) > 32).mean()
    middle = (np.abs(green - 128) < 64).mean()
    if coloured > _COLOUR_SHARE or middle > _GREY_SHARE:
        raise ValueError(
            f"{path} is no mask ({coloured:.0%} of it is coloured, {middle:.0%} grey): a mask is "
            "white where the picture is to be generated and black elsewhere; an agnostic picture "
            "is not one"
        )
    return (picture[..., 1] > THRESHOLD).astype(np.uint8)


def read_keypoints(path: Path, size: Size) -> np.ndarray:
    """OpenPose BODY_25 of the first person: ``(25, 3)`` float32, x, y in [0, 1], confidence.

    No person found gives zeros.

    Raises:
        ValueError: not OpenPose's JSON, or another number of points.
    """
    try:
        people = json.loads(path.read_text())["people"]
        values = people[0]["pose_keypoints_2d"] if people else [0.0] * 75
        keypoints = np.array(values, dtype=np.float32).reshape(-1, 3)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} holds no OpenPose keypoints ({error!r})") from None
    if keypoints.shape != (25, 3) or not np.isfinite(keypoints).all():
        raise ValueError(f"{path} holds {len(keypoints)} keypoints, BODY_25 has 25")
    keypoints[:, 0] = (keypoints[:, 0] + 0.5) / size[1]
    keypoints[:, 1] = (keypoints[:, 1] + 0.5) / size[0]
    return np.where(keypoints[:, 2:] > 0, keypoints, 0).astype(np.float32)
