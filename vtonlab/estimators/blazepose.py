"""BlazePose: a detector of people and 33 landmarks of each (Bazarevsky et al. 2020), on OpenCV.

Without the detector (ai-edge-litert, an extra) landmarks are found in the whole picture and refine
their own crop: right for one person who fills a good part of it.
"""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from vtonlab.estimators.base import KeypointEstimator, Person, box_of, main_first
from vtonlab.estimators.mattes import selfie_matte
from vtonlab.estimators.tflite import detector_network, landmark_network
from vtonlab.registry import ESTIMATORS

INPUT, DETECTOR_INPUT = 256, 224  # pixels
MARGIN = 1.25  # of the crop around the circle that the two alignment points give
# BODY_25 joint -> landmarks whose middle it is
BODY = {
    0: (0,), 1: (11, 12), 2: (12,), 3: (14,), 4: (16,), 5: (11,), 6: (13,), 7: (15,), 8: (23, 24),
    9: (24,), 10: (26,), 11: (28,), 12: (23,), 13: (25,), 14: (27,), 15: (5,), 16: (2,), 17: (8,),
    18: (7,), 19: (31,), 21: (29,), 22: (32,), 24: (30,),
}  # fmt: skip
HANDS = ((19, 17, 21), (20, 18, 22))  # index, pinky, thumb of left and right
MOUTH = (9, 10)
_STRIDES = (8, 16, 32, 32, 32)
_STARTS = ((0.5, 1.0), (0.5, 1.25), (0.6, 1.0), (0.35, 0.75))  # middle and side of first crops
_AGREED = 0.8  # share of a person's matte that the matte of everybody must hold


class Crop(NamedTuple):
    """A square of the picture, turned: what the landmark network sees. In pixels and radians."""

    x: float
    y: float
    side: float
    angle: float

    def matrix(self, size: int) -> np.ndarray:
        """(2, 3): pixels of the picture -> pixels of the crop at ``size``."""
        cos, sin, scale = np.cos(self.angle), np.sin(self.angle), size / self.side
        turn = np.array([[cos, sin], [-sin, cos]]) * scale
        return np.hstack([turn, (size / 2 - turn @ (self.x, self.y))[:, None]])


class Found(NamedTuple):
    """What the network says of one crop: landmarks (39, 5) in pixels of the picture (x, y, depth,
    visibility, presence; the last two in [0, 1]), score and matte logits (256, 256) of the crop.
    """

    landmarks: np.ndarray
    score: float
    logits: np.ndarray
    crop: Crop


@ESTIMATORS.register_module()
class BlazePose(KeypointEstimator):
    """People and their keypoints.

    Args:
        min_score: below which a crop shows nobody. Garment pictures score up to 0.7, people 0.95
            and more.
        min_visibility: below which a joint counts as outside the picture or hidden.
        max_people: that are looked at.
        detector: whether to use the detector where it is installed.
    """

    def __init__(
        self,
        *,
        min_score: float = 0.6,
        min_visibility: float = 0.5,
        max_people: int = 4,
        detector: bool = True,
    ) -> None:
        self.min_score, self.min_visibility = min_score, min_visibility
        self.max_people, self.detector = max_people, detector

    def __call__(self, picture: np.ndarray) -> list[Person]:
        whole = selfie_matte(picture)
        network = detector_network() if self.detector else None
        if network is None:
            people = [self._person(self._search(picture), whole)]
        else:
            crops = detect(picture, network)[: self.max_people]
            people = [self._person(self._refined(picture, crop), whole) for crop in crops]
        return _distinct(main_first([p for p in people if p.score >= self.min_score]))

    def _search(self, picture: np.ndarray) -> Found:
        """Without a detector: the best of the whole picture and of crops around its upper part."""
        height, width = picture.shape[:2]
        side = 1.0 * max(height, width)
        starts = [Crop(width / 2, height * y, side * scale, 0.0) for y, scale in _STARTS]
        best = None
        for start in starts:
            found = self._refined(picture, start)
            best = found if best is None or found.score > best.score else best
            if best.score > 0.95:
                break
        return best

    def _refined(self, picture: np.ndarray, crop: Crop, times: int = 2) -> Found:
        """Landmarks, in the crop that they ask for themselves; scored by the worst look, because
        garments without a person may pass one.
        """
        found = look(picture, crop)
        worst = found.score
        for _ in range(times):
            if worst < 0.3:
                break
            found = look(picture, crop_of(*found.landmarks[33:35, :2]))
            worst = min(worst, found.score)
        return found._replace(score=worst)

    def _person(self, found: Found, whole: np.ndarray) -> Person:
        """``whole``: the matte (H, W) of everybody; where it sees nobody, nobody is."""
        size = whole.shape
        points = self._known(found.landmarks, size)
        keypoints = np.zeros((25, 3), np.float32)
        for joint, parts in BODY.items():
            group = points[list(parts)]
            if (group[:, 2] > 0).all():
                keypoints[joint] = [*group[:, :2].mean(0), group[:, 2].min()]
        hands = np.stack([points[list(side)] for side in HANDS])
        matte = _matte(found, size)
        area = matte > 0.5
        agreed = float((area & (whole > 0.5)).sum() / max(int(area.sum()), 1))
        score = found.score * min(1.0, agreed / _AGREED)
        box = box_of(keypoints)
        reach = 2 * round(0.015 * max(size)) + 1
        mine = cv2.dilate(area.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
        beside = float(((whole > 0.5) & ~mine).sum() / max(int(mine.sum()), 1))
        return Person(keypoints, score, box, hands, points[list(MOUTH)], matte, beside)

    def _known(self, landmarks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(33, 3): x, y in [0, 1] and confidence, 0 for what is not seen in the picture."""
        points = landmarks[:33, :2] / (size[1], size[0])
        inside = ((points >= -0.02) & (points <= 1.02)).all(1)
        sure = np.minimum(landmarks[:33, 3], landmarks[:33, 4])
        # hidden joints (an arm behind the back) are still there: presence decides for the body
        seen = inside & (np.maximum(landmarks[:33, 3], 0.6 * landmarks[:33, 4]) > 0.5)
        seen &= landmarks[:33, 4] > self.min_visibility
        known = np.concatenate([np.clip(points, 0, 1), np.maximum(sure, 0.01)[:, None]], 1)
        return np.where(seen[:, None], known, 0).astype(np.float32)


def look(picture: np.ndarray, crop: Crop) -> Found:
    """Run the landmark network on one crop."""
    matrix = crop.matrix(INPUT)
    seen = cv2.warpAffine(picture, matrix, (INPUT, INPUT), flags=_shrinking(crop.side))
    landmarks, score, logits = landmark_network()(seen.astype(np.float32) / 255)
    points = landmarks.reshape(39, 5)
    back = cv2.invertAffineTransform(matrix)
    places = points[:, :2] @ back[:, :2].T + back[:, 2]
    sure = 1 / (1 + np.exp(-points[:, 3:5]))
    depth = points[:, 2:3] * (crop.side / INPUT)
    whole = np.concatenate([places, depth, sure], 1)
    return Found(whole, float(score.ravel()[0]), logits[0, 0], crop)


def crop_of(centre: np.ndarray, edge: np.ndarray) -> Crop:
    """The crop around a circle: ``centre`` is the middle of the hips, ``edge`` above the head."""
    dx, dy = np.asarray(edge, float) - centre
    angle = np.pi / 2 - np.arctan2(-dy, dx)
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    side = max(2 * MARGIN * float(np.hypot(dx, dy)), 8.0)
    return Crop(float(centre[0]), float(centre[1]), side, float(angle))


def detect(picture: np.ndarray, network, min_score: float = 0.5) -> list[Crop]:
    """Crops of the people that the detector finds, the most certain first."""
    height, width = picture.shape[:2]
    whole = Crop(width / 2, height / 2, max(height, width), 0.0)
    matrix = whole.matrix(DETECTOR_INPUT)
    seen = cv2.warpAffine(picture, matrix, (DETECTOR_INPUT,) * 2, flags=_shrinking(whole.side))
    raw, logits = network(seen.astype(np.float32) / 127.5 - 1)
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    likely = np.flatnonzero(scores > min_score)
    values = raw[likely].reshape(-1, 6, 2) / DETECTOR_INPUT
    values[:, [0, 2, 3, 4, 5]] += _anchors()[likely, None]  # the second pair is the box's size
    values *= whole.side
    values[:, [0, 2, 3, 4, 5]] += (whole.x - whole.side / 2, whole.y - whole.side / 2)
    boxes = np.concatenate([values[:, 0] - values[:, 1] / 2, values[:, 1]], 1)
    order = cv2.dnn.NMSBoxes(boxes.tolist(), scores[likely].tolist(), min_score, 0.3)
    return [crop_of(values[i, 2], values[i, 3]) for i in np.array(order, int).ravel()]


@cache
def _anchors() -> np.ndarray:
    """(2254, 2) centres in [0, 1]; layers of one stride share a grid, two anchors each."""
    grids = []
    for stride in sorted(set(_STRIDES)):
        side, each = DETECTOR_INPUT // stride, 2 * _STRIDES.count(stride)
        y, x = np.mgrid[:side, :side]
        grids.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), each, 0) / side + 0.5 / side)
    return np.concatenate(grids).astype(np.float32)


def _shrinking(side: float) -> int:
    return cv2.INTER_AREA if side > 2 * INPUT else cv2.INTER_LINEAR


def _matte(found: Found, size: tuple[int, int]) -> np.ndarray:
    """The crop's matte in the picture, (H, W) float32 in [0, 1]."""
    soft = 1 / (1 + np.exp(-np.clip(found.logits, -50, 50)))
    back = cv2.invertAffineTransform(found.crop.matrix(INPUT))
    return cv2.warpAffine(soft.astype(np.float32), back, size[::-1], flags=cv2.INTER_LINEAR)


def _distinct(people: list[Person]) -> list[Person]:
    """Without those that are a second finding of one before: shoulders and hips at one place."""
    kept: list[Person] = []
    for person in people:
        if not any(_same(person, other) for other in kept):
            kept.append(person)
    return kept


def _same(a: Person, b: Person) -> bool:
    joints = [2, 5, 9, 12]
    known = (a.keypoints[joints, 2] > 0) & (b.keypoints[joints, 2] > 0)
    if not known.any():
        return True
    apart = np.abs(a.keypoints[joints, :2] - b.keypoints[joints, :2])[known].max(-1).mean()
    return bool(apart < 0.25 * max(b.box[2] - b.box[0], 0.05))
