"""A resolution-independent canvas for procedural cloth.

Points are ``(x, y)`` in units of the canvas width: x in [0, 1], y in [0, height / width], so that
round shapes stay round and a design drawn at any size of one aspect is the same design. Every edge
is box filtered over the pixel.
"""

import copy
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

_SHIFT = 6  # fixed-point bits of polygon corners
_FINE = 400  # supersampled raster lines aimed at for one polygon layer


class Canvas:
    """Float32 RGB picture in [0, 255] that polygons, profiles and fields are painted onto.

    Args:
        height, width: Size in pixels.
        ground: RGB colour the canvas starts with.
    """

    def __init__(self, height: int, width: int, ground: np.ndarray) -> None:
        self.height, self.width = height, width
        self.aspect = height / width
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]  # (1, W)
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / width)[:, None]  # (H, 1)
        self.image = np.empty((height, width, 3), np.float32)
        self.image[:] = np.asarray(ground, np.float32)
        self._window = (
            0,
            0,
            width,
            height,
        )  # left, top, right, bottom of the part that may be painted

    def clipped(self, left: float, top: float, right: float, bottom: float) -> "Canvas":
        """The same canvas, on which polygons paint inside a rectangle only."""
        inner = copy.copy(self)
        corners = np.rint(np.array([left, top, right, bottom]) * self.width).astype(int)
        inner._window = tuple(np.clip(corners, 0, (self.width, self.height) * 2).tolist())
        return inner

    def polygons(
        self,
        shapes: Sequence[np.ndarray],
        color: np.ndarray,
        *,
        union: bool = True,
        alpha: float = 1.0,
    ) -> None:
        """Paint closed polygons, each (K, 2); they unite, or with ``union=False`` cut holes."""
        corners = np.concatenate(shapes) * self.width
        low = np.maximum(np.floor(corners.min(0)).astype(int) - 1, self._window[:2])
        high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, self._window[2:])
        if (high <= low).any():
            return
        size = high - low
        fine = int(np.clip(_FINE // int(max(size)), 2, 8))
        scale = (1 << _SHIFT) * fine
        corners = np.rint((corners - low) * scale - (1 << _SHIFT) / 2).astype(np.int32)[:, None]
        ends = np.cumsum([len(shape) for shape in shapes])
        contours = [
            corners[end - len(shape) : end] for shape, end in zip(shapes, ends, strict=True)
        ]
        mask = np.zeros((size[1] * fine, size[0] * fine), np.uint8)
        for group in [[c] for c in contours] if union else [contours]:
            cv2.fillPoly(mask, group, 255, lineType=cv2.LINE_8, shift=_SHIFT)
        mask = cv2.resize(mask, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
        region = self.image[low[1] : high[1], low[0] : high[0]]
        mix(region, mask.astype(np.float32) * np.float32(alpha / 255), color)

    def profile(
        self, colors: np.ndarray, weight: np.ndarray, angle: float, origin: float = 0.0
    ) -> None:
        """Paint a 1-D colour profile along a direction.

        Args:
            colors: (K, 3) colours of the bands in order; the profile repeats.
            weight: (K,) widths of the bands in canvas units.
            angle: Direction in which the bands follow each other, radians from the x axis.
            origin: Shift of the profile in canvas units.
        """
        self.image[:] = self.profile_image(colors, weight, angle, origin)

    def profile_image(
        self, colors: np.ndarray, weight: np.ndarray, angle: float, origin: float = 0.0
    ) -> np.ndarray:
        """The picture :meth:`profile` paints, broadcastable to (H, W, 3)."""
        cos, sin = np.cos(angle), np.sin(angle)
        if abs(sin) < 1e-6:
            return self._integrated(colors, weight, self.x * np.sign(cos) + origin, 1.0)
        if abs(cos) < 1e-6:
            return self._integrated(colors, weight, self.y * np.sign(sin) + origin, 1.0)
        along = np.float32(cos) * self.x + np.float32(sin) * self.y + np.float32(origin)
        low, high = float(along.min()), float(along.max())
        steps = 4 * (self.width + self.height)
        line = np.linspace(low, high, steps, dtype=np.float32)[None]
        table = self._integrated(colors, weight, line, abs(cos) + abs(sin))[0]
        index = (along - np.float32(low)) * np.float32((steps - 1) / max(high - low, 1e-6))
        return np.take(table, np.rint(index).astype(np.int32), axis=0)

    def _integrated(
        self, colors: np.ndarray, weight: np.ndarray, along: np.ndarray, footprint: float
    ) -> np.ndarray:
        """Exact mean of the profile over the pixel around each place, from its integral."""
        edges = np.concatenate([[0.0], np.cumsum(weight)])
        total = np.concatenate(
            [np.zeros((1, 3)), np.cumsum(np.asarray(colors) * weight[:, None], 0)]
        )
        period, half = edges[-1], 0.5 * footprint / self.width
        ends = []
        for place in (along.astype(np.float64) + half, along.astype(np.float64) - half):
            turns = np.floor(place / period)
            rest = place - turns * period
            ends.append(
                [turns * total[-1, c] + np.interp(rest, edges, total[:, c]) for c in range(3)]
            )
        mean = [(a - b) / (2 * half) for a, b in zip(*ends, strict=True)]
        return np.stack(mean, -1).astype(np.float32)

    def waves(self, along_x: float, along_y: float, phase: float, amplitude: float) -> None:
        """Multiply by ``1 + amplitude sin(...)``; the wave fades out before it could alias."""
        self.shade(
            self.wave(along_x * self.x + phase, along_y * self.y, amplitude, along_x + along_y)
        )

    def wave(
        self, part_x: np.ndarray, part_y: np.ndarray, amplitude: float, cycles: float
    ) -> np.ndarray | None:
        """``amplitude * sin(2 pi (part_x + part_y))``; None where too fine to be seen."""
        fade = np.clip((self.width / max(abs(cycles), 1e-6) - 2.5) / 2.5, 0.0, 1.0)
        if fade == 0.0:
            return None
        tau = np.float32(2 * np.pi)
        sin_x, cos_x = np.sin(tau * part_x), np.cos(tau * part_x)
        sin_y, cos_y = np.sin(tau * part_y), np.cos(tau * part_y)
        return (sin_x * cos_y + cos_x * sin_y) * np.float32(amplitude * fade)

    def shade(self, amount: np.ndarray | None) -> None:
        """Multiply the picture by ``1 + amount`` (H, W); nothing where ``amount`` is None."""
        if amount is not None:
            self.image *= (1.0 + amount)[..., None]

    def noise(self, lattice: np.ndarray) -> np.ndarray:
        """A random lattice (h, w) stretched over the canvas, smooth between its nodes."""
        fits = lattice.shape[0] <= self.height and lattice.shape[1] <= self.width
        how = cv2.INTER_CUBIC if fits else cv2.INTER_AREA
        return cv2.resize(lattice.astype(np.float32), (self.width, self.height), interpolation=how)

    def finish(self) -> np.ndarray:
        """The picture as uint8 (H, W, 3)."""
        return np.clip(np.rint(self.image), 0, 255).astype(np.uint8)


def mix(region: np.ndarray, mask: np.ndarray, color: np.ndarray) -> None:
    """Blend ``color`` (3,) into ``region`` (h, w, 3) in place, by ``mask`` (h, w) in [0, 1]."""
    region += mask[..., None] * (np.asarray(color, np.float32) - region)


def disk(x: float, y: float, radius: float, corners: int = 48) -> np.ndarray:
    """A circle as polygon (corners, 2)."""
    return star(x, y, radius, radius, corners // 2)


def star(
    x: float, y: float, outer: float, inner: float, points: int, turn: float = 0.0
) -> np.ndarray:
    """A star (2 * points, 2) with alternating radii; ``inner == outer`` makes a circle."""
    angle = turn + np.arange(2 * points) * np.pi / points - np.pi / 2
    radius = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], -1)


def regular(x: float, y: float, radius: float, sides: int, turn: float = 0.0) -> np.ndarray:
    """A regular polygon (sides, 2), one corner up."""
    angle = turn + np.arange(sides) * 2 * np.pi / sides - np.pi / 2
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], -1)


def box(left: float, top: float, right: float, bottom: float, slant: float = 0.0) -> np.ndarray:
    """A rectangle, or parallelogram leaning by ``slant``, as polygon (4, 2)."""
    corners = [(left + slant, top), (right + slant, top), (right, bottom), (left, bottom)]
    return np.array(corners, np.float64)


@lru_cache(maxsize=512)
def _glyph(letter: str, face: int) -> tuple[tuple[np.ndarray, ...], float]:
    """Contours of a letter at cap height 1 with the base line at y = 0, and its advance."""
    scale, weight = 8.0, 16
    (cap_width, cap), _ = cv2.getTextSize("H", face, scale, weight)
    (width, _), _ = cv2.getTextSize(f"H{letter}H", face, scale, weight)
    mask = np.zeros((2 * cap, 3 * cap), np.uint8)
    cv2.putText(mask, letter, (cap // 2, 3 * cap // 2), face, scale, 255, weight, cv2.LINE_AA)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)
    shift = np.array([cap // 2, 3 * cap // 2])
    outlines = tuple((c[:, 0] - shift) / cap for c in contours if len(c) > 2)
    return outlines, (width - 2 * cap_width) / cap


def lettering(
    text: str, face: int, x: float, y: float, width: float, tall: float
) -> list[np.ndarray]:
    """Outlines of one line of text in canvas units, centred at (x, y).

    At most ``width`` wide and ``tall`` high. Paint with ``union=False``: letters keep their holes.
    """
    outlines, pen = [], 0.0
    for letter in text:
        contours, advance = _glyph(letter, face)
        outlines += [c + np.array([pen, 0.5]) for c in contours]
        pen += advance
    size = min(tall, width / max(pen, 1e-6))
    return [c * size + (x - pen * size / 2, y) for c in outlines]
