"""Pasting the photograph back around a generated garment."""

import numpy as np
from PIL import Image, ImageFilter

ROUNDINGS = ("round", "truncate")
BLUR = 100  # the edge's Gaussian has a radius of height // BLUR (CORAL, Leffa)


def soft_mask(mask: np.ndarray, blur: int = BLUR) -> np.ndarray:
    """Blur ``mask`` (H, W) in {0, 1} by a Gaussian of radius ``H // blur``, made odd (METHODS.md
    1.5); 0 leaves it hard. Float in [0, 1].

    CORAL and Leffa blur by ``H // 100``, CatVTON by ``H // 50``, StableVITON and SIFT-VTON not.
    """
    if blur == 0:
        return mask.astype(np.float32)
    radius = mask.shape[0] // blur
    radius += 1 - radius % 2
    picture = Image.fromarray((mask * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255.0


def repaint(
    generated: np.ndarray,
    original: np.ndarray,
    mask: np.ndarray,
    *,
    blur: int = BLUR,
    rounding: str = "round",
) -> np.ndarray:
    """``generated`` where the soft mask is 1, ``original`` where it is 0; uint8 (H, W, 3) pictures
    of one size.

    Args:
        blur: see :func:`soft_mask`.
        rounding: of the blend: ``"round"``, or ``"truncate"`` as the published programs do.
    """
    weight = soft_mask(mask, blur)[..., None]
    blend = weight * generated.astype(np.float32) + (1 - weight) * original.astype(np.float32)
    if rounding == "round":
        blend = np.rint(blend)
    return np.clip(blend, 0, 255).astype(np.uint8)
