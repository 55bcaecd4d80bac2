"""Drawings of correspondences."""

from __future__ import annotations

import cv2
import numpy as np

from vtonlab.structures import Correspondences


def draw_matches(
    person: np.ndarray,
    garment: np.ndarray,
    matches: Correspondences,
    removed: Correspondences | None = None,
    height: int = 768,
) -> np.ndarray:
    """Person left, garment right, a line per match.

    A line's colour is its place in the garment picture, so a wrong match stands out from its
    neighbours. Removed matches are thin, grey and below the others.

    Args:
        person, garment: ``(H, W, 3)`` uint8 RGB of any sizes.

    Returns:
        ``(height, W, 3)`` uint8 RGB.
    """
    left, right = (_at_height(x, height) for x in (person, garment))
    canvas = np.hstack([left, right])
    for kept, group in ((False, removed), (True, matches)):
        if group is None:
            continue
        starts, ends = group.to_pixels(left.shape[:2], right.shape[:2])
        for start, end, place in zip(
            starts.tolist(), ends.tolist(), group.garment_points.tolist(), strict=True
        ):
            colour = _place_colour(*place) if kept else (150, 150, 150)
            a = (round(start[0]), round(start[1]))
            b = (round(end[0]) + left.shape[1], round(end[1]))
            cv2.line(canvas, a, b, colour, 1, cv2.LINE_AA)
            if kept:
                cv2.circle(canvas, a, 3, colour, -1, cv2.LINE_AA)
                cv2.circle(canvas, b, 3, colour, -1, cv2.LINE_AA)
    return canvas


def _at_height(image: np.ndarray, height: int) -> np.ndarray:
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    how = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=how)


def _place_colour(x: float, y: float) -> tuple[int, int, int]:
    """Hue around the picture's centre, so that neighbours share a colour."""
    angle = np.arctan2(y - 0.5, x - 0.5)
    hsv = np.uint8([[[int((angle + np.pi) / (2 * np.pi) * 179), 230, 255]]])
    return tuple(int(v) for v in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])
