"""The colours of what somebody wears: of skin, hair and garments, and where a garment ends."""

from typing import NamedTuple

import cv2
import numpy as np

from vtonlab.estimators.scene import Face, Scene, arm_area, hand_area, upright

_SKIN_REACH = 3.0  # standard deviations of the face's colours
_WEIGHTS = np.float32([0.6, 1.4, 1.4])  # of Lab: folds and shade change the lightness alone
_FEW = 40  # pixels, below which colours are not learnt
_BIN = 0.03  # trunk lengths: of the rows in which a hem is looked for
_HIGHEST = -0.55  # level above which no hem is looked for


class Colours(NamedTuple):
    """A few colours, weighted Lab (K, 3), and how far from them their own pixels are."""

    centres: np.ndarray
    spread: float

    def distance(self, lab: np.ndarray) -> np.ndarray:
        """(...,) float32: of colours (..., 3) from the nearest of these."""
        values = lab * _WEIGHTS
        return np.min([np.linalg.norm(values - centre, axis=-1) for centre in self.centres], 0)

    def other(self, lab: np.ndarray) -> np.ndarray:
        """(...,) bool: what is surely none of these colours."""
        return self.distance(lab) > np.clip(1.5 * self.spread + 4, 8, 20)


def learn(scene: Scene, sample: np.ndarray, count: int = 4, least: float = 0.04) -> Colours | None:
    """The colours of the pixels of ``sample`` (H, W) bool, without those that few of them have;
    None where there are too few pixels.

    Args:
        count: of colours, at most.
        least: share of the sample that a colour must have.
    """
    values = scene.lab[sample]
    if len(values) < _FEW:
        return None
    values = values[:: max(1, len(values) // 4000)] * _WEIGHTS
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    _, member, centres = cv2.kmeans(values, count, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    shares = np.bincount(member.ravel(), minlength=count) / len(values)
    found = Colours(centres[shares >= least], 0.0)
    spread = np.quantile(found.distance(values / _WEIGHTS), 0.9)
    return found._replace(spread=float(spread))


def without(sample: np.ndarray, others: np.ndarray, least: float = 0.4) -> np.ndarray:
    """``sample`` (H, W) bool without ``others``, unless less than a share ``least`` would be left:
    then both have the same colours, and all of it stays.
    """
    left = sample & ~others
    return left if left.sum() >= least * sample.sum() else sample


def skin_distance(scene: Scene, face: Face | None) -> np.ndarray:
    """(H, W) float32: standard deviations from the colours of the face, or, where no face is seen,
    from any skin's.
    """
    lab = scene.lab
    if face is not None:
        across, above = upright(scene, face)
        inner = (across**2 + (above + 0.15) ** 2 < 0.45) & scene.body
        if inner.sum() > 20:
            centre = np.median(lab[inner], 0)
            spread = 1.48 * np.median(np.abs(lab[inner] - centre), 0)
            spread = np.clip(spread, (14, 3.5, 4.5), (30, 8, 9))
            return np.sqrt((((lab - centre) / spread) ** 2 * (0.5, 1, 1)).sum(-1)).astype("f4")
    any_skin = (lab[..., 1] > 134) & (lab[..., 2] > 132) & (lab[..., 0] > 40)
    return np.where(any_skin, np.float32(1), np.float32(2 * _SKIN_REACH))


def skin_likeness(scene: Scene, face: Face | None) -> np.ndarray:
    """(H, W) bool: the person's pixels of the colours of skin."""
    return (skin_distance(scene, face) < _SKIN_REACH) & scene.body


class Hem(NamedTuple):
    """Where what is worn above ends, in trunk lengths below the hips, and how clearly (0 to 1)."""

    level: float
    step: float


def find_hem(scene: Scene, skin: np.ndarray, lowest: float) -> Hem | None:
    """The level of the clearest change of colours along the trunk, from a little above the hips
    down to ``lowest``; None where there is none.

    Rows of the body's middle are compared with the trunk's colours from above, and with the lowest
    rows' colours from below: a hem is where either share makes its step.
    """
    strip = scene.body & (np.abs(scene.aside) < 0.3) & (scene.level > -0.75)
    strip &= (scene.level < lowest) & ~hand_area(scene).any(0) & ~arm_area(scene, 0.2).any(0)
    upper = learn(scene, strip & (scene.level < -0.3) & ~skin, 5)
    lower = learn(scene, strip & (scene.level > lowest - 0.25), 4)
    if upper is None or lower is None or lowest < -0.3:
        return None
    rows = np.floor((scene.level[strip] + 0.75) / _BIN).astype(int)
    count = np.bincount(rows)
    fits = []
    for colours, sign in ((upper, 1), (lower, -1)):
        other = colours.other(scene.lab[strip])
        share = np.bincount(rows, other, len(count)) / np.maximum(count, 1)
        fits.append(_step(sign * share + (sign < 0), count > 0))
    return max((f for f in fits if f is not None), key=lambda hem: hem.step, default=None)


def _step(share: np.ndarray, there: np.ndarray) -> Hem | None:
    """The best place of one step up in ``share``, a row of numbers in [0, 1]."""
    first = round((0.75 + _HIGHEST) / _BIN)
    best = None
    for k in range(first, len(share) - 3):
        above, below = share[:k][there[:k]], share[k:][there[k:]]
        if len(above) < 4 or len(below) < 3:
            continue
        error = np.abs(above - above.mean()).sum() + np.abs(below - below.mean()).sum()
        step = float(below.mean() - above.mean())
        if best is None or error < best[0]:
            best = error, Hem(k * _BIN - 0.75, step)
    return best[1] if best and best[1].step >= 0.45 else None
