"""A figure before white, and estimators that know it."""

import numpy as np

from vtonlab.estimators.base import KeypointEstimator, MatteEstimator, Person

SIZE = (128, 96)
# a figure with its arms a little away from the trunk: x, y in [0, 1]
FIGURE = {
    0: (0.50, 0.12), 1: (0.50, 0.24), 2: (0.36, 0.25), 3: (0.28, 0.40), 4: (0.25, 0.54),
    5: (0.64, 0.25), 6: (0.72, 0.40), 7: (0.75, 0.54), 8: (0.50, 0.54), 9: (0.42, 0.54),
    10: (0.42, 0.74), 11: (0.42, 0.92), 12: (0.58, 0.54), 13: (0.58, 0.74), 14: (0.58, 0.92),
    15: (0.47, 0.10), 16: (0.53, 0.10), 17: (0.43, 0.11), 18: (0.57, 0.11),
}  # fmt: skip


def figure(missing=(), mirrored=False) -> Person:
    keypoints = np.zeros((25, 3), np.float32)
    for joint, (x, y) in FIGURE.items():
        if joint not in missing:
            keypoints[joint] = (1 - x if mirrored else x, y, 0.9)
    hands = np.zeros((2, 3, 3), np.float32)
    for side, x in ((0, 0.77), (1, 0.23)):
        hands[side] = [(x, 0.58, 0.9), (x + 0.02, 0.58, 0.9), (x - 0.02, 0.56, 0.9)]
    mouth = np.array([[0.52, 0.145, 0.9], [0.48, 0.145, 0.9]], np.float32)
    return Person(keypoints, 0.99, (0.2, 0.05, 0.8, 0.95), hands, mouth)


class Told(KeypointEstimator):
    """Finds whom it was told of."""

    def __init__(self, *people):
        self.people, self.calls = list(people), 0

    def __call__(self, picture):
        self.calls += 1
        return self.people


class Middle(MatteEstimator):
    """The person is the middle of the picture."""

    def __call__(self, picture, person=None):
        height, width = picture.shape[:2]
        matte = np.zeros((height, width), np.float32)
        matte[height // 25 :, width // 6 : -width // 6] = 1
        return matte


def photograph() -> np.ndarray:
    """A skin-coloured head and hands, a red shirt, blue trousers, before white."""
    height, width = SIZE
    picture = np.full((*SIZE, 3), 255, np.uint8)
    picture[:, width // 6 : -width // 6] = (170, 30, 40)
    picture[: int(0.22 * height), width // 6 : -width // 6] = (210, 160, 140)
    picture[int(0.56 * height) :, width // 6 : -width // 6] = (30, 40, 120)
    return picture
