"""Changes of light and colour, the same in all photographs of a sample.

`ColorJitter` is one change by one coin: contrast about mid-grey, hue as a turn in YIQ.
`BrightnessContrast` and `HSVShift` are the two that StableVITON's and SIFT-VTON's data sets make,
each by a coin of its own: contrast about black, hue, saturation and value shifted in OpenCV's HSV.
Within the released limits the two ways are up to 39 grey levels apart.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from vtonlab.datasets.transforms.joint import PHOTOS, probability
from vtonlab.registry import TRANSFORMS

_LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def brightness_contrast(picture: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """``x (1 + contrast) + 255 brightness`` of ``(H, W, 3)`` uint8, clipped and truncated."""
    levels = np.arange(256, dtype=np.float32) * np.float32(1 + contrast)
    levels = np.clip(levels + np.float32(255 * brightness), 0, 255).astype(np.uint8)
    return levels[picture]


def hsv_shift(picture: np.ndarray, hue: float, saturation: float, value: float) -> np.ndarray:
    """``(H, W, 3)`` uint8 with OpenCV's hue (0 to 179, wraps), saturation and value (0 to 255,
    clipped) shifted; truncated.
    """
    levels = np.arange(256, dtype=np.float64)
    tables = [
        np.mod(levels + hue, 180),
        np.clip(levels + saturation, 0, 255),
        np.clip(levels + value, 0, 255),
    ]
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    shifted = [table.astype(np.uint8)[hsv[..., n]] for n, table in enumerate(tables)]
    return cv2.cvtColor(np.stack(shifted, -1), cv2.COLOR_HSV2RGB)


def recolour_photos(sample: dict, change) -> dict:
    """``change`` on all photographs of a sample; the agnostic picture's hole keeps its grey."""
    moved = dict(sample)
    for key in PHOTOS:
        if key in sample:
            moved[key] = change(sample[key])
    if "agnostic" in sample and "mask" in sample:
        hole = sample["mask"][..., None] == 1
        moved["agnostic"] = np.where(hole, sample["agnostic"], moved["agnostic"])
    return moved


@TRANSFORMS.register_module()
class ColorJitter:
    """One change of light and colour for all photographs of a sample; masks and maps stay.

    The change maps a colour to a colour, the same in person and garment, so a garment still has the
    colours of its product picture. The grey hole of the agnostic picture stays grey.

    Args:
        brightness, contrast, saturation: relative change: ``0.3`` for a factor in [0.7, 1.3], or
            ``(-0.1, 0.02)`` for one in [0.9, 1.02].
        hue: turn of the hue, likewise, as a share of the full circle.
        prob: probability of any change.
    """

    def __init__(
        self,
        *,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
        hue: float | Sequence[float] = 0.0,
        prob: float = 1.0,
    ) -> None:
        self.ranges = [_change(v) for v in (brightness, contrast, saturation)]
        self.hue = _change(hue)
        self.prob = probability(prob)

    def __call__(self, sample: dict) -> dict:
        rng = sample["rng"]
        chance = rng.random()
        factors = [rng.uniform(1 + low, 1 + high) for low, high in self.ranges]
        matrix, offset = colour_map(*factors, rng.uniform(*self.hue))
        if chance >= self.prob:
            return sample
        return recolour_photos(sample, lambda picture: recolour(picture, matrix, offset))


def colour_map(
    brightness: float, contrast: float, saturation: float, hue: float
) -> tuple[np.ndarray, np.ndarray]:
    """The colour change as ``rgb @ matrix.T + offset``, on [0, 255].

    Brightness scales, contrast scales about mid-grey, saturation blends with the luminance and hue
    turns the chroma plane of YIQ.
    """
    angle = 2 * np.pi * hue
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix = np.linalg.inv(_YIQ) @ turn @ _YIQ
    matrix = (saturation * np.eye(3) + (1 - saturation) * _LUMA) @ matrix
    return contrast * brightness * matrix, np.full(3, (1 - contrast) * 127.5)


def recolour(picture: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Apply `colour_map`'s result to ``(H, W, 3)`` uint8."""
    changed = cv2.transform(
        picture.astype(np.float32), np.concatenate([matrix, offset[:, None]], 1).astype(np.float32)
    )
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class BrightnessContrast:
    """Brightness and contrast (about black) of all photographs of a sample alike.

    Args:
        brightness: ``(least, most)`` added, as a share of white; a number b is (-b, b).
        contrast: likewise, relative.
        prob: probability of the change.
    """

    def __init__(
        self,
        *,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        prob: float = 0.5,
    ) -> None:
        self.ranges, self.prob = [_range(brightness), _range(contrast)], probability(prob)

    def __call__(self, sample: dict) -> dict:
        chance, *drawn = _draw(sample["rng"], self.ranges)
        if chance >= self.prob:
            return sample
        return recolour_photos(sample, lambda picture: brightness_contrast(picture, *drawn))


@TRANSFORMS.register_module()
class HSVShift:
    """Hue, saturation and value of all photographs of a sample, shifted alike in OpenCV's units.

    Args:
        hue: ``(least, most)`` of 180; a number h is (-h, h).
        saturation, value: likewise, of 255.
        prob: probability of the change.
    """

    def __init__(
        self,
        *,
        hue: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
        value: float | Sequence[float] = 0.0,
        prob: float = 0.5,
    ) -> None:
        self.ranges = [_range(hue), _range(saturation), _range(value)]
        self.prob = probability(prob)

    def __call__(self, sample: dict) -> dict:
        chance, *drawn = _draw(sample["rng"], self.ranges)
        if chance >= self.prob:
            return sample
        return recolour_photos(sample, lambda picture: hsv_shift(picture, *drawn))


def _draw(rng: np.random.Generator, ranges: Sequence[tuple[float, float]]) -> list[float]:
    """A chance, then one value of each range: always as many numbers, whatever the chance is."""
    return [rng.random(), *(rng.uniform(*limits) for limits in ranges)]


def _range(value: float | Sequence[float]) -> tuple[float, float]:
    low, high = (-value, value) if isinstance(value, (int, float)) else value
    if low > high:
        raise ValueError(f"a change must be a number or (least, most), not {value!r}")
    return low, high


def _change(value: float | Sequence[float]) -> tuple[float, float]:
    low, high = (-value, value) if isinstance(value, (int, float)) else value
    if not -1 <= low <= high:
        raise ValueError(f"ColorJitter: a change must be a number or (least, most), not {value!r}")
    return low, high
