"""The mask of a flat garment."""

import cv2
import numpy as np

from vtonlab.estimators.base import GarmentMaskEstimator
from vtonlab.registry import ESTIMATORS

_EATEN = 0.85  # of what differs from the background by more than its noise


@ESTIMATORS.register_module()
class PlainBackground(GarmentMaskEstimator):
    """What stands before a plain background; where the border is no one colour, what GrabCut finds
    in the middle.

    Args:
        tolerance: grey levels by which a channel of the background may differ from the border's.
        plain: share of the border that must be near its own median for a plain background.
    """

    def __init__(self, *, tolerance: int = 12, plain: float = 0.6) -> None:
        self.tolerance, self.plain = tolerance, plain

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        ground = np.median(border, 0)
        near = np.abs(border.astype(np.int16) - ground).max(-1) <= self.tolerance
        if near.mean() >= self.plain:
            mask = standing_before(picture, ground, self.tolerance)
            least = int(np.quantile(np.abs(border - ground).max(-1), 0.99)) + 1
            closer = standing_before(picture, ground, min(least, self.tolerance))
            closer = cv2.morphologyEx(closer, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
            if mask.sum() < _EATEN * closer.sum():  # a garment nearly of the background's colour
                mask = closer
            if 0.02 < mask.mean() < 0.98:
                return mask
        return _from_the_middle(picture)


def standing_before(picture: np.ndarray, ground: np.ndarray, tolerance: int) -> np.ndarray:
    """Mask (H, W) uint8 of everything that cannot be reached from the border over pixels near
    ``ground``.
    """
    near = (np.abs(picture.astype(np.int16) - ground).max(-1) <= tolerance).astype(np.uint8)
    framed = np.pad(near, 1, constant_values=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    return (framed[1:-1, 1:-1] != 2).astype(np.uint8)


def _from_the_middle(picture: np.ndarray, side: int = 320) -> np.ndarray:
    """GrabCut from a frame: the middle is probably garment, the border is not."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    rows, columns = small.shape[:2]
    seeds = np.full((rows, columns), cv2.GC_BGD, np.uint8)
    edge = max(2, round(0.03 * min(rows, columns)))
    seeds[edge:-edge, edge:-edge] = cv2.GC_PR_BGD
    cv2.ellipse(
        seeds, (columns // 2, rows // 2), (columns * 2 // 5, rows * 2 // 5), 0, 0, 360,
        cv2.GC_PR_FGD, -1,
    )  # fmt: skip
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(
        np.ascontiguousarray(small[..., ::-1]), seeds, None, *models, 4, cv2.GC_INIT_WITH_MASK
    )
    found = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    return cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST)
