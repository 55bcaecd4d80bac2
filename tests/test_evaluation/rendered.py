"""Small pictures with structure, and worse copies of them."""

import numpy as np
from PIL import Image


def smooth_picture(seed: int, size=(96, 72)) -> np.ndarray:
    """A uint8 RGB picture with structure at several scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((*size, 3))
    for cells in (3, 8, 24):
        noise = rng.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
        total += np.asarray(Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC))
    return (total / 3).astype(np.uint8)


def distorted(picture: np.ndarray, seed: int = 0, strength: float = 20) -> np.ndarray:
    noise = np.random.default_rng([seed, 7]).normal(0, strength, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)
