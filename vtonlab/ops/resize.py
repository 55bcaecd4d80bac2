"""One resize for data, metrics and pipelines: antialiased, equal to Pillow's (reliability.md R24).

Other resizers differ by up to 26 grey levels on fine patterns and silently change FID. Pictures use
`resize_picture` (uint8, Pillow itself) or `resize` (float tensors, differentiable; Pillow's float
result without the rounding). Label maps must not mix: they use the nearest pixel, chosen in whole
numbers so that ties (where Pillow's accumulated floats are arbitrary) fall alike for both.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Size = tuple[int, int]  # (height, width)

_PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
MODES = (*_PILLOW, "nearest")


def resize(image: Tensor, size: Size, mode: str = "bicubic") -> Tensor:
    """Resize ``(..., H, W)`` to ``(..., h, w)`` with Pillow's kernels and support.

    Args:
        image: floating tensor of any range; bicubic may overshoot the range, as the kernel does.
        mode: ``"bicubic"``, ``"bilinear"`` (both antialiased when shrinking) or ``"nearest"``.
    """
    _check(size, mode)
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    if mode == "nearest":
        rows, columns = _nearest(image.shape[-2:], size)
        return image[..., torch.from_numpy(rows)[:, None], torch.from_numpy(columns)]
    flat = image.reshape(1, -1, *image.shape[-2:])
    out = F.interpolate(flat, size=tuple(size), mode=mode, align_corners=False, antialias=True)
    return out.reshape(*image.shape[:-2], *size)


def resize_picture(picture: np.ndarray, size: Size, mode: str = "bicubic") -> np.ndarray:
    """Resize a uint8 ``(H, W)`` or ``(H, W, C)`` array to ``size`` with Pillow."""
    _check(size, mode)
    if picture.shape[:2] == tuple(size):
        return picture
    if mode == "nearest":
        rows, columns = _nearest(picture.shape[:2], size)
        return picture[rows[:, None], columns]
    return np.array(Image.fromarray(picture).resize((size[1], size[0]), _PILLOW[mode]))


def resize_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """Resize a uint8 mask ``(H, W)`` in {0, 1}: area-weighted, then more than half decides."""
    if mask.shape == tuple(size):
        return mask
    return (resize_picture(mask * np.uint8(255), size, "bilinear") > 127).astype(np.uint8)


class Placement(NamedTuple):
    """Where a picture lies on a padded canvas, in canvas pixels."""

    top: int
    left: int
    height: int
    width: int


def fit_inside(source: Size, canvas: Size) -> Placement:
    """Largest centred placement of ``source`` on ``canvas`` that keeps the aspect ratio.

    Sizes are rounded to whole pixels, so the ratio is kept to half a pixel.
    """
    scale = min(canvas[0] / source[0], canvas[1] / source[1])
    height = min(canvas[0], max(1, round(source[0] * scale)))
    width = min(canvas[1], max(1, round(source[1] * scale)))
    return Placement((canvas[0] - height) // 2, (canvas[1] - width) // 2, height, width)


def placement_affine(placement: Placement, canvas: Size) -> Tensor:
    """``(2, 3)`` float64 map on [0, 1]: points of the source picture -> points of the canvas."""
    (top, left, height, width), (rows, columns) = placement, canvas
    return torch.tensor(
        [[width / columns, 0, left / columns], [0, height / rows, top / rows]],
        dtype=torch.float64,
    )


def _nearest(source: Size, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the source pixels under the new pixel centres."""
    rows, columns = (
        (2 * np.arange(n) + 1) * m // (2 * n) for n, m in zip(size, source, strict=True)
    )
    return rows, columns


def _check(size: Size, mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"resize mode must be one of {', '.join(MODES)}, not {mode!r}")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (height, width) of at least one pixel, not {size!r}")
