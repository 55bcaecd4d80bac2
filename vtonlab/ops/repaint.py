"""Pasting the photograph back around a generated garment."""

import numpy as np
from PIL import Image, ImageFilter


def soft_mask(mask: np.ndarray) -> np.ndarray:
    """Blur ``mask`` (H, W) in {0, 1} by a Gaussian of radius ``H // 100``, made odd (METHODS.md
    1.5); float in [0, 1].
    """
    radius = mask.shape[0] // 100
    radius += 1 - radius % 2
    picture = Image.fromarray((mask * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255.0


def repaint(generated: np.ndarray, original: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``generated`` where the soft mask is 1, ``original`` where it is 0; uint8 (H, W, 3) pictures
    of one size.
    """
    weight = soft_mask(mask)[..., None]
    blend = weight * generated.astype(np.float32) + (1 - weight) * original.astype(np.float32)
    return np.clip(np.rint(blend), 0, 255).astype(np.uint8)
