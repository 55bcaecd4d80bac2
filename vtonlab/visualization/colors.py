"""Colours that stand for places, directions, labels and amounts."""

import cv2
import numpy as np

from vtonlab.ops.labels import LIP_PALETTE

# Corners of the garment picture: upper left, upper right, lower left, lower right.
_CORNERS = np.array([(235, 64, 72), (250, 204, 60), (62, 92, 222), (40, 196, 140)], np.float64)


def position_colors(points: np.ndarray) -> np.ndarray:
    """One colour for each place of a picture, the four corners red, yellow, blue and green.

    Args:
        points: (..., 2), (x, y) in [0, 1].

    Returns:
        uint8 RGB (..., 3). A ring in brightness marks tenths, so that small shifts are seen.
    """
    points = np.clip(np.asarray(points, np.float64), 0, 1)
    x, y = points[..., :1], points[..., 1:]
    upper = _CORNERS[0] * (1 - x) + _CORNERS[1] * x
    lower = _CORNERS[2] * (1 - x) + _CORNERS[3] * x
    colors = upper * (1 - y) + lower * y
    dark = ((np.floor(x * 10) + np.floor(y * 10)) % 2) * 0.18
    return np.rint(colors * (1 - dark)).astype(np.uint8)


def position_chart(height: int, width: int) -> np.ndarray:
    """The key to :func:`position_colors`: every pixel in the colour of its place, (H, W, 3)."""
    y, x = np.meshgrid(
        (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
    )
    return position_colors(np.stack([x, y], -1))


def flow_colors(offset: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Direction as hue and length as strength, the optical-flow colour wheel.

    Args:
        offset: (H, W, 2) displacement, any unit; NaN is painted grey.
        largest: Length of full strength; the longest one by default.

    Returns:
        uint8 RGB (H, W, 3); white where nothing moves.
    """
    offset = np.asarray(offset, np.float64)
    known = np.isfinite(offset).all(-1)
    moved = np.where(known[..., None], offset, 0.0)
    length = np.hypot(moved[..., 0], moved[..., 1])
    if largest is None:
        largest = float(length.max(initial=0.0))
    strength = np.clip(length / max(largest, 1e-12), 0, 1)
    hue = (np.arctan2(moved[..., 1], moved[..., 0]) / (2 * np.pi)) % 1.0
    hsv = np.stack([hue * 360, strength, np.ones_like(hue)], -1).astype(np.float32)
    colors = np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)
    colors[~known] = 128
    return colors


def flow_wheel(size: int = 128) -> np.ndarray:
    """The key to :func:`flow_colors`, a disk on white, (size, size, 3)."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    offset = np.stack(np.meshgrid(axis, axis), -1)
    outside = np.hypot(offset[..., 0], offset[..., 1]) > 1
    wheel = flow_colors(offset, 1.0)
    wheel[outside] = 255
    return wheel


def label_colors(labels: np.ndarray) -> np.ndarray:
    """A LIP label map (H, W) in the data sets' palette, (H, W, 3); labels above 19 are white."""
    palette = np.full((256, 3), 255, np.uint8)
    palette[: len(LIP_PALETTE)] = LIP_PALETTE
    return palette[np.asarray(labels, np.uint8)]


def heat_colors(heat: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Amounts (H, W) >= 0 from dark blue to red, uint8 RGB (H, W, 3).

    Args:
        largest: The amount shown as red; the largest one by default.
    """
    heat = np.nan_to_num(np.asarray(heat, np.float64))
    if largest is None:
        largest = float(heat.max(initial=0.0))
    level = np.rint(np.clip(heat / max(largest, 1e-12), 0, 1) * 255).astype(np.uint8)
    return cv2.applyColorMap(level, cv2.COLORMAP_TURBO)[..., ::-1].copy()


def distinct_colors(count: int) -> np.ndarray:
    """``count`` colours that neighbours in the list tell apart, uint8 (count, 3)."""
    hue = (np.arange(count) * 0.61803398875) % 1.0 * 360
    value = np.where(np.arange(count) % 2 == 0, 0.95, 0.75)
    hsv = np.stack([hue, np.full(count, 0.78), value], -1).astype(np.float32)
    return np.rint(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] * 255).astype(np.uint8)
