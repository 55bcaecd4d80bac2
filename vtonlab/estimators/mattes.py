"""Who is person and who is background."""

from collections.abc import Sequence

import cv2
import numpy as np

from vtonlab.estimators.base import MatteEstimator, Person
from vtonlab.estimators.tflite import selfie_network
from vtonlab.ops.skeleton import BODY_25_BONES
from vtonlab.registry import ESTIMATORS

_SIDE = 256
_TALL = 1.33  # height over width, above which a picture is seen in two parts


@ESTIMATORS.register_module()
class SelfieMatte(MatteEstimator):
    """MediaPipe's selfie segmentation, averaged with the matte of the pose network, its edges
    drawn to those of the picture (guided filter, He et al. 2010).

    Args:
        radius: of the filter, in hundredths of the longer side; 0 is none.
        smoothness: variance (of greys in [0, 1]) below which the filter sees no edge.
    """

    def __init__(self, *, radius: float = 0.8, smoothness: float = 1e-3) -> None:
        self.radius, self.smoothness = radius, smoothness

    def __call__(self, picture: np.ndarray, person: Person | None = None) -> np.ndarray:
        matte = selfie_matte(picture)
        if person is not None and person.matte is not None:
            matte = (matte + person.matte) / 2
        if radius := round(self.radius / 100 * max(picture.shape[:2])):
            grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
            matte = guided_filter(grey, matte, radius, self.smoothness)
        return np.clip(matte, 0, 1)


def selfie_matte(picture: np.ndarray) -> np.ndarray:
    """(H, W) float32 in [0, 1] of everybody; tall pictures are seen in two overlapping parts."""
    height, width = picture.shape[:2]
    part = min(height, round(_TALL * width))
    if height < 1.1 * part:
        return _seen(picture)
    matte = np.zeros((height, width), np.float32)
    starts = np.linspace(0, height - part, max(2, round(height / part + 0.5))).round().astype(int)
    for top in starts:
        view = matte[top : top + part]
        np.maximum(view, _seen(picture[top : top + part]), out=view)
    return matte


def _seen(picture: np.ndarray) -> np.ndarray:
    small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    (found,) = selfie_network()(small.astype(np.float32) / 255)
    return cv2.resize(found[0, 0], picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def guided_filter(guide: np.ndarray, matte: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """``matte`` as the best local linear function of ``guide``; both (H, W) float32.

    He, Sun and Tang 2010, eq. 5 and 6, with means over squares of ``2 radius + 1`` pixels.
    """

    def mean(plane: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(plane, -1, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_matte = mean(guide), mean(matte)
    variance = mean(guide * guide) - mean_guide**2
    slope = (mean(guide * matte) - mean_guide * mean_matte) / (variance + eps)
    return mean(slope) * guide + mean(mean_matte - slope * mean_guide)


def alone(matte: np.ndarray, person: Person, others: Sequence[Person]) -> np.ndarray:
    """``matte`` (H, W) without what is nearer to the bones of others than to the person's."""
    if not others:
        return matte
    mine = _from_bones(person, matte.shape)
    theirs = np.min([_from_bones(other, matte.shape) for other in others], 0)
    return np.where(mine <= theirs, matte, np.float32(0))


def _from_bones(person: Person, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32: pixels from the nearest bone of a person."""
    line = np.ones(size, np.uint8)
    points = np.rint(person.keypoints[:, :2] * (size[1], size[0]) - 0.5).astype(int)
    for a, b in BODY_25_BONES:
        if (person.keypoints[[a, b], 2] > 0).all():
            cv2.line(line, points[a].tolist(), points[b].tolist(), 0)
    if line.all():
        return np.full(size, np.inf, np.float32)
    return cv2.distanceTransform(line, cv2.DIST_L2, 5)
