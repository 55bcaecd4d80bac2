"""Calm backgrounds, as in fashion photographs: studio paper, wall and floor, window light."""

import cv2
import numpy as np

_WALLS = np.array(
    [
        (238, 237, 235), (224, 226, 229), (243, 239, 232), (214, 211, 206), (231, 222, 212),
        (205, 213, 217), (221, 226, 217), (233, 219, 215), (184, 188, 193), (150, 152, 156),
    ],
    np.float32,
)  # fmt: skip


def draw_background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a backdrop.

    Args:
        rng: Source of the scene; one integer is drawn from it, whatever the size.
        height, width: Size in pixels; one generator state gives one scene at every size.

    Returns:
        uint8 RGB (height, width, 3).
    """
    own = np.random.default_rng(int(rng.integers(2**62)))
    wall = _WALLS[int(own.integers(len(_WALLS)))] + own.uniform(-6, 6, 3)
    light = _Light(height, width)
    scene = int(own.integers(4))
    light.falloff(own.uniform(0.3, 0.7), own.uniform(0.1, 0.45), own.uniform(0.06, 0.2))
    floor_at, floor_gain = own.uniform(0.82, 0.92), own.uniform(0.82, 1.06)
    image = np.empty((height, width, 3), np.float32)
    image[:] = wall.astype(np.float32)
    if scene in (1, 3):
        tint = 1 + own.uniform(-0.03, 0.03, 3)
        soft = 0.004 if scene == 3 else 0.05  # a floor line, or studio paper that curves
        part = np.clip((light.y - floor_at) / soft + 0.5, 0, 1)[..., None]
        image *= 1 + part * (floor_gain * tint - 1)
        light.band(floor_at, 0.025, -0.05)
    if scene == 2:
        light.window(own)
    image *= light.gain[..., None]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


class _Light:
    """Brightness of the scene, (height, width), in normalised coordinates."""

    def __init__(self, height: int, width: int) -> None:
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self.gain = np.ones((height, width), np.float32)

    def falloff(self, x: float, y: float, depth: float) -> None:
        """A soft lamp at (x, y): darker away from it."""
        away = (self.x - np.float32(x)) ** 2 + (self.y - np.float32(y)) ** 2
        self.gain *= 1 - np.float32(depth) * np.minimum(away, 1.0)

    def band(self, y: float, width: float, amount: float) -> None:
        """The soft dark line where wall and floor meet."""
        self.gain *= 1 + np.float32(amount) * np.exp(
            -(((self.y - np.float32(y)) / np.float32(width)) ** 2)
        )

    def window(self, rng: np.random.Generator) -> None:
        """The slanted light of a window with its bars on the wall."""
        left, top, wide, tall = rng.uniform((0.0, 0.05, 0.35, 0.35), (0.3, 0.25, 0.6, 0.6))
        lean, strength = rng.uniform(-0.35, 0.35), rng.uniform(0.04, 0.1)
        size = (256, 256)
        pane = np.zeros(size, np.uint8)
        for row in range(2):
            for column in range(2):
                x0, y0 = left + column * wide / 2, top + row * tall / 2
                corners = [
                    (x0, y0),
                    (x0 + wide / 2 - 0.02, y0),
                    (x0 + wide / 2 - 0.02, y0 + tall / 2 - 0.02),
                    (x0, y0 + tall / 2 - 0.02),
                ]
                points = np.array([(x, y + lean * x) for x, y in corners]) * 256
                cv2.fillPoly(pane, [np.rint(points).astype(np.int32)], 255)
        soft = cv2.GaussianBlur(pane, (0, 0), 6)
        height, width = self.gain.shape
        how = cv2.INTER_AREA if height < 256 else cv2.INTER_LINEAR
        soft = cv2.resize(soft, (width, height), interpolation=how).astype(np.float32) / 255
        self.gain *= 1 - np.float32(strength) + soft * np.float32(2 * strength)
