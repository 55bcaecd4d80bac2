"""Keypoints from top-down networks that answer with one row and one column of places a joint.

RTMPose (Jiang et al. 2023) and DWPose (Yang et al. 2023) in ONNX, whose two outputs are SimCC's (Li
et al. 2022): for each joint how likely each x and each y is. The files are the user's own.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from vtonlab.estimators.base import KeypointEstimator, Person, box_of, main_first
from vtonlab.estimators.onnx_network import OnnxNetwork
from vtonlab.estimators.yolox import find_people
from vtonlab.registry import ESTIMATORS

MARGIN = 1.25  # of the crop around a person's box
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
# BODY_25 joint -> COCO joints whose middle it is; Halpe and COCO-WholeBody begin with COCO's
_COCO = {
    0: (0,), 1: (5, 6), 2: (6,), 3: (8,), 4: (10,), 5: (5,), 6: (7,), 7: (9,), 8: (11, 12),
    9: (12,), 10: (14,), 11: (16,), 12: (11,), 13: (13,), 14: (15,), 15: (2,), 16: (1,), 17: (4,),
    18: (3,),
}  # fmt: skip
# how many joints -> what they are: COCO's, Halpe's 26, COCO-WholeBody's
BODIES = {
    17: _COCO,
    26: _COCO | {19: (20,), 20: (22,), 21: (24,), 22: (21,), 23: (23,), 24: (25,)},
    133: _COCO | {19: (17,), 20: (18,), 21: (19,), 22: (20,), 23: (21,), 24: (22,)},
}
_WHOLE = 133
_HANDS = ((96, 108, 93), (117, 129, 114))  # index, pinky, thumb of left and right
_MOUTH = (77, 71)  # left and right corner
_SURE = list(range(13))  # COCO's joints down to the hips: who lacks legs is still a person
_LEAST = 0.1  # of the largest matte, below which a piece of a matte is nobody


@ESTIMATORS.register_module()
class SimCCPose(KeypointEstimator):
    """People and their keypoints by a network file such as DWPose's ``dw-ll_ucoco_384.onnx``.

    Args:
        model: ``.onnx`` with two outputs, (1, K, places in x) and (1, K, places in y); K is 17
            (COCO), 26 (Halpe) or 133 (COCO-WholeBody, which alone knows hands and mouth).
        size: (height, width) of its input.
        detector: YOLOX's ``.onnx``; None finds people as pieces of the matte.
        matte: config of a matte estimator, or one.
        detector_size: side of the detector's input.
        min_confidence: below which a joint counts as not seen.
        min_score: below which the mean confidence of head, arms and trunk is nobody's.
        max_people: that are looked at.

    Raises:
        FileNotFoundError, FileError: at the first call, files that are missing or no networks.
        ValueError: at the first call, outputs that do not go with ``size``.
    """

    def __init__(
        self,
        *,
        model: str,
        size: tuple[int, int] = (384, 288),
        detector: str | None = None,
        matte: Mapping | object | None = None,
        detector_size: int = 640,
        min_confidence: float = 0.3,
        min_score: float = 0.35,
        max_people: int = 4,
    ) -> None:
        self.model, self.size = str(model), tuple(size)
        self.detector, self.detector_size = detector and str(detector), detector_size
        self.min_confidence, self.min_score = min_confidence, min_score
        self.max_people = max_people
        matte = matte or dict(type="SelfieMatte")
        self.matte = ESTIMATORS.build(dict(matte)) if isinstance(matte, Mapping) else matte
        self._networks: dict[str, OnnxNetwork] = {}

    def __call__(self, picture: np.ndarray) -> list[Person]:
        pose = self._network(self.model, MEAN, STD)
        if self.detector:
            network = self._network(self.detector)
            boxes = find_people(picture, network, self.detector_size, self.min_score)
        else:
            boxes = pieces(self.matte(picture))
        people = [self._person(picture, pose, box) for box in boxes[: self.max_people]]
        return main_first([p for p in people if p.score >= self.min_score])

    def _network(self, file: str, *colours) -> OnnxNetwork:
        if file not in self._networks:
            self._networks[file] = OnnxNetwork(Path(file), *colours)
        return self._networks[file]

    def _person(self, picture: np.ndarray, pose: OnnxNetwork, box: np.ndarray) -> Person:
        height, width = self.size
        matrix = crop_matrix(box, self.size)
        seen = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR)
        rows = self._rows(pose(seen))
        places, sure = decode(*rows, self.size)
        back = cv2.invertAffineTransform(matrix)
        # pixel i is centred at i in the network's pixels, at i + 0.5 here
        points = (places @ back[:, :2].T + back[:, 2] + 0.5) / picture.shape[1::-1]
        inside = ((points >= 0) & (points <= 1)).all(1)
        known = inside & (sure >= self.min_confidence)
        joints = np.where(known[:, None], np.concatenate([points, sure[:, None]], 1), 0)
        joints = joints.astype(np.float32)
        keypoints = body_25(joints)
        score = float(np.clip(sure[_SURE], 0, 1).mean())
        hands, mouth = np.zeros((2, 3, 3), np.float32), guessed_mouth(keypoints)
        if len(joints) == _WHOLE:
            hands = np.stack([joints[list(side)] for side in _HANDS])
            found = joints[list(_MOUTH)]
            mouth = found if (found[:, 2] > 0).any() else mouth
        return Person(keypoints, score, box_of(keypoints), hands, mouth)

    def _rows(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The two outputs, places in x first: each as many for a pixel as the other."""
        height, width = self.size
        found = [array[0] for array in outputs.values() if array.ndim == 3]
        for x, y in (found, found[::-1]) if len(found) == 2 else ():
            fits = x.shape[1] * height == y.shape[1] * width and x.shape[1] % width == 0
            if fits and len(x) == len(y) and len(x) in BODIES:
                return x, y
        shapes = ", ".join(str(array.shape) for array in outputs.values())
        raise ValueError(
            f"{self.model} gives {shapes} for {height}x{width} pixels; needed are two outputs, "
            f"(1, K, places in x) and (1, K, places in y), with K one of "
            f"{', '.join(map(str, BODIES))}: set size to the network's (height, width)"
        )


def crop_matrix(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(2, 3): pixels of the picture -> pixels of the crop, in which pixel i is centred at i.

    The crop is the box (x, y, x, y), `MARGIN` times as large, grown to the aspect of ``size``.
    """
    height, width = size
    middle, extent = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * MARGIN
    wide = max(float(extent[0]), float(extent[1]) * width / height, 1.0)
    scale = width / wide
    start = np.array([width / 2, height / 2]) - scale * middle
    return np.array([[scale, 0, start[0]], [0, scale, start[1]]])


def decode(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Places (K, 2) in pixels of the input and confidences (K,), the lesser of both axes.

    Args:
        x, y: (K, places), the same number of places for each pixel of the width and the height.
        size: (height, width) of the input.
    """
    places = np.stack([x.argmax(1) * (size[1] / x.shape[1]), y.argmax(1) * (size[0] / y.shape[1])])
    return places.T, np.clip(np.minimum(x.max(1), y.max(1)), 0, 1)


def body_25(joints: np.ndarray) -> np.ndarray:
    """BODY_25 (25, 3) of COCO's, Halpe's or COCO-WholeBody's joints (K, 3)."""
    keypoints = np.zeros((25, 3), np.float32)
    for joint, parts in BODIES[len(joints)].items():
        group = joints[list(parts)]
        if (group[:, 2] > 0).all():
            keypoints[joint] = [*group[:, :2].mean(0), group[:, 2].min()]
    return keypoints


def guessed_mouth(keypoints: np.ndarray) -> np.ndarray:
    """Both corners (2, 3) of the mouth, half as far below the nose as that is below the eyes."""
    nose, right, left = keypoints[[0, 15, 16]]
    mouth = np.zeros((2, 3), np.float32)
    if min(nose[2], right[2], left[2]) > 0:
        eyes = (right[:2] + left[:2]) / 2
        middle, half = nose[:2] + 0.5 * (nose[:2] - eyes), (left[:2] - right[:2]) / 3
        mouth[:, :2] = middle + half, middle - half
        mouth[:, 2] = nose[2]
    return mouth


def pieces(matte: np.ndarray) -> np.ndarray:
    """Boxes (N, 4), x, y, x, y in pixels, of the pieces of a matte (H, W), the largest first.

    Where nobody stands out it is the whole picture.
    """
    count, _, facts, _ = cv2.connectedComponentsWithStats((matte > 0.5).astype(np.uint8))
    order = sorted(range(1, count), key=lambda k: -facts[k, cv2.CC_STAT_AREA])
    largest = facts[order[0], cv2.CC_STAT_AREA] if order else 0
    if largest < 0.01 * matte.size:
        return np.array([[0, 0, matte.shape[1], matte.shape[0]]], np.float64)
    kept = [k for k in order if facts[k, cv2.CC_STAT_AREA] >= _LEAST * largest]
    found = facts[kept, :4].astype(np.float64)
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], 1)
