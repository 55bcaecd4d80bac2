"""Colours of cloth as shops sell it; the swatches of the splits are disjoint."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

JITTER = 3  # grey levels a swatch may move by; pools keep more than twice that apart

_SWATCHES = {
    "train": """
        f5f4f1 e4dccb babab6 83868a 3d3f44 1a1b1f
        1e2a4a 2c5a9e 7aa5d2 b9d2e4 47637c 2f7f8c 9cc9c9
        2b4a36 6d8254 aac09e 3f9270 c6d79c
        a8262f cb5a3a e5907a 6b1f32 eab8b4 d63f5c
        dca43c f2da86 ebc79a e9773b
        664431 a9794f 40302a
        57406f a88ec2 d8c8e4 8c3a6b
    """,
    "val": """
        fbf9fb d2cfc9 63656b 2a2b33
        31437a 5f8fbe d3e1ec 1f5d63
        47633f 8fae86 bccf6e
        8d1d3f d9765c f2cfc6
        c48f2a f7e6ae 8a5d3c 7a5a96 b86f97
    """,
    "test": """
        fdf8dc c9c2b4 9a9da3 0d0e11
        14204f 3f77c8 95bde8 5a7c95 176b7d
        1c3b2c 86995f 63b08d
        c23b3f f0a68d 571427 f3c9d6
        e8bb55 fbe9bf c2935f 4a2f22 6d56a0 c5aed6
    """,
    "base": """
        1f242b e6eae9 7a787e 9da399 575552 c0bbc5 1b140a
        2c3121 c3c9c5 928c97 666c61 7f867b 288835 7d08eb
        883420 b2eb30 c99c54 c27fb7 66a3d7 5d337c e3cb4c
        37e745 814a6a 84d8c6 d94ac4 99b579 ec6866 e55c2a
        ca7433 909b29 2ea185 7210b4 7bf1a2 854845 93d962
        42365c bc1644 c18ce5 d05c88 507550 c65ca5 8a76a6
        0f6253 1d2aae c5de75 5c989c 2dba39 7963bf 2d439a
        7c092e b27c6c c005dd a8a558 a962be
    """,
    "bench": """
        19200f e2dbd9 60595e aca7a1 8fdc1d a708f9 dc5c66
        653a8c 3c602a 83c0ec b4efba 9f5ae8 f4542b d7c14e
        9aa265 2fcbc6 ae77a5 de74cc
    """,
}
SPLITS = tuple(_SWATCHES)


@dataclass(frozen=True)
class Palette:
    """Colours of one design.

    Attributes:
        ground: (3,) float32 RGB of the cloth.
        accents: (5, 3) float32, all different, easy to tell from the ground, the strongest first.
        split: The pool the colours come from.
    """

    ground: np.ndarray
    accents: np.ndarray
    split: str


@lru_cache
def swatches(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The pool of a split.

    Returns:
        RGB (S, 3) in [0, 255]; distances in CIE Lab (S, S); differences in lightness
        (S, S); the chance of each colour as a ground (S,).

    Raises:
        ValueError: Unknown split.
    """
    if split not in _SWATCHES:
        raise ValueError(
            f"Unknown split '{split}' for cloth colours; use one of {', '.join(SPLITS)}."
        )
    codes = _SWATCHES[split].split()
    rgb = np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in codes], np.float64)
    lab = _lab(rgb)
    likely = np.where(np.hypot(lab[:, 1], lab[:, 2]) < 14, 2.0, 1.0)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    contrast = np.abs(lab[:, None, 0] - lab[None, :, 0])
    return rgb, apart, contrast, likely / likely.sum()


def draw_palette(rng: np.random.Generator, split: str) -> Palette:
    """Draw a ground, often a neutral one, and five accents that do not melt into it."""
    rgb, apart, contrast, likely = swatches(split)
    ground = int(rng.choice(len(rgb), p=likely))
    order = rng.permutation(len(rgb))
    chosen = [ground]
    for least in (38.0, 26.0, 16.0, 1.0):
        for i in order:
            if len(chosen) < 6 and apart[i, chosen].min() >= least:
                chosen.append(i)
    accents = sorted(chosen[1:4], key=lambda i: -contrast[ground, i]) + chosen[4:]
    chosen = [ground, *accents]
    colors = rgb[chosen] + rng.integers(-JITTER, JITTER + 1, (6, 3))
    colors = np.clip(colors, 0, 255).astype(np.float32)
    return Palette(ground=colors[0], accents=colors[1:], split=split)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab of sRGB colours in [0, 255], D65."""
    linear = np.where(rgb / 255 <= 0.04045, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(to_xyz).T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)
