"""What is asked of every estimator: one contract a kind.

=====================  ==========================================================================
kind                   ``estimator(picture, ...)`` gives, for (H, W, 3) uint8 RGB
=====================  ==========================================================================
person keypoints       a list of `Person`, the main one first; empty where nobody is
human parsing          (H, W) uint8 LIP labels
person matte           (H, W) float32 in [0, 1], 1 = person
DensePose-like         (H, W) uint8 DensePose parts, 0 to 24
garment mask           (H, W) uint8 in {0, 1}, 1 = garment
=====================  ==========================================================================

Networks are loaded at the first call, so that a configuration can be made, printed and checked
where no weights are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HAND_POINTS = ("index", "pinky", "thumb")  # knuckles


class PreparationError(ValueError):
    """A photograph that cannot be prepared: nobody in it, nothing to draw, or no map of it."""


@dataclass(frozen=True)
class Person:
    """One person found in a picture.

    Args:
        keypoints: (25, 3) float32 BODY_25: x, y in [0, 1], confidence; 0 = not in the picture.
        score: in [0, 1], that this is a person.
        box: left, top, right, bottom in [0, 1], of the known keypoints.
        hands: (2, 3, 3) float32, left then right: `HAND_POINTS` as keypoints are; zeros if unknown.
        mouth: (2, 3) float32, its left and right corner, as keypoints are.
        matte: (H, W) float32 in [0, 1] of this person alone, if the estimator knows.
        beside: how much else of a person is seen in the picture, this one being 1.
    """

    keypoints: np.ndarray
    score: float
    box: tuple[float, float, float, float]
    hands: np.ndarray
    mouth: np.ndarray
    matte: np.ndarray | None = None
    beside: float = 0.0


class KeypointEstimator:
    """Finds people and their joints."""

    def __call__(self, picture: np.ndarray) -> list[Person]:
        """Everybody in ``picture`` (H, W, 3) uint8, the main person (large, central) first."""
        raise NotImplementedError


class ParseEstimator:
    """Labels every pixel of a person."""

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) uint8 LIP labels of ``picture`` (H, W, 3) uint8."""
        raise NotImplementedError


class MatteEstimator:
    """Tells people from their background."""

    def __call__(self, picture: np.ndarray, person: Person | None = None) -> np.ndarray:
        """(H, W) float32 in [0, 1] of ``picture`` (H, W, 3) uint8.

        Args:
            person: whom the matte is of, where several are in the picture.
        """
        raise NotImplementedError


class DensePoseEstimator:
    """Renders which part of the body lies where."""

    def __call__(self, picture: np.ndarray, person: Person) -> np.ndarray:
        """(H, W) uint8 DensePose parts of ``picture`` (H, W, 3) uint8."""
        raise NotImplementedError


class MapFiles:
    """Reads maps that another program has written, one file for each photograph.

    Args:
        folder: of the files.
        endings: what follows the photograph's name (without its own ending), tried in this order.
    """

    def __init__(self, folder: str, endings: Sequence[str]) -> None:
        self.folder, self.endings = str(folder), tuple(endings)

    def find(self, name: str | None) -> Path:
        """The file of the photograph ``name``.

        Raises:
            PreparationError: there is none, or the picture is no file and has no name.
        """
        if name is None:
            raise PreparationError(
                f"{type(self).__name__} finds its files by the photograph's name: give a file, or "
                "name=..., or the map itself"
            )
        for ending in self.endings:
            if (path := Path(self.folder) / f"{name}{ending}").is_file():
                return path
        wanted = ", ".join(f"{name}{ending}" for ending in self.endings[:3])
        raise PreparationError(f"{self.folder} has no map of {name} ({wanted}, ...)")

    def read(self, path: Path) -> np.ndarray:
        """Labels (H, W) uint8 of a file."""
        raise NotImplementedError


class GarmentMaskEstimator:
    """Tells a flat garment from its background."""

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) uint8 in {0, 1} of ``picture`` (H, W, 3) uint8."""
        raise NotImplementedError


CONTRACTS = (
    KeypointEstimator,
    ParseEstimator,
    MatteEstimator,
    DensePoseEstimator,
    MapFiles,
    GarmentMaskEstimator,
)


def box_of(keypoints: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the known keypoints (K, 3)."""
    known = keypoints[keypoints[:, 2] > 0, :2]
    if not len(known):
        return 0.0, 0.0, 0.0, 0.0
    return tuple(float(v) for v in (*known.min(0), *known.max(0)))


def main_first(people: list[Person]) -> list[Person]:
    """Sorted by size and nearness to the middle of the picture, the main person first."""

    def weight(person: Person) -> float:
        left, top, right, bottom = person.box
        aside = abs((left + right) / 2 - 0.5) * 2
        return (right - left) * (bottom - top) * person.score * (1 - 0.5 * min(aside, 1))

    return sorted(people, key=weight, reverse=True)
