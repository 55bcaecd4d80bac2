"""An estimator of the garment's mask, without any network: whatever is colourful or dark."""

import cv2
import numpy as np

from vtonlab.estimators.base import GarmentMaskEstimator
from vtonlab.registry import ESTIMATORS


@ESTIMATORS.register_module()
class ColourfulGarment(GarmentMaskEstimator):
    """For product pictures on white.

    Args:
        least: saturation, or darkness, from which a pixel is garment, in [0, 1].
    """

    def __init__(self, *, least: float = 0.15) -> None:
        self.least = least

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) uint8 in {0, 1} of ``picture`` (H, W, 3) uint8."""
        _, saturation, value = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV))
        found = np.maximum(saturation, 255 - value) >= 255 * self.least
        return cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
