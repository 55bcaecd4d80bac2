"""Label maps of people: LIP's, Dress Code's ATR and DensePose's parts, with their colours."""

from functools import cache

import numpy as np

DENSEPOSE_PARTS = 24

LIP_PALETTE = np.array(
    [
        (0, 0, 0), (128, 0, 0), (254, 0, 0), (0, 85, 0), (169, 0, 51), (254, 85, 0), (0, 0, 85),
        (0, 119, 220), (85, 85, 0), (0, 85, 85), (85, 51, 0), (52, 86, 128), (0, 128, 0),
        (0, 0, 254), (51, 169, 220), (0, 254, 254), (85, 254, 169), (169, 254, 85), (254, 254, 0),
        (254, 169, 0),
    ],
    np.uint8,
)  # fmt: skip

# LIP: 0 background, hat, hair, glove, sunglasses, upper, dress, coat, socks, trousers, 10 neck,
# scarf, skirt, face, left arm, right arm, left leg, right leg, left shoe, 19 right shoe.
# ATR: 0 background, hat, hair, sunglasses, upper, skirt, trousers, dress, belt, left shoe,
# 10 right shoe, face, left leg, right leg, left arm, right arm, bag, 17 scarf.
_LIP_TO_ATR = np.array(
    [0, 1, 2, 14, 3, 4, 7, 4, 12, 6, 11, 17, 5, 11, 14, 15, 12, 13, 9, 10], np.uint8
)


def lip_to_atr(labels: np.ndarray) -> np.ndarray:
    """ATR labels (0 to 17) of a map of LIP labels (0 to 19), uint8 (H, W).

    ATR has no neck, gloves or socks: they become face, left arm and left leg.
    """
    return _LIP_TO_ATR[labels]


# ATR's belt belongs to what is worn below, its bag to nobody.
_ATR_TO_LIP = np.array([0, 1, 2, 4, 5, 12, 9, 6, 9, 18, 19, 13, 16, 17, 14, 15, 0, 11], np.uint8)


def atr_to_lip(labels: np.ndarray) -> np.ndarray:
    """LIP labels of a map of ATR labels (0 to 17), uint8 (H, W).

    What ATR does not tell apart becomes one: the neck is face, a coat upper clothes.

    Raises:
        ValueError: labels above 17.
    """
    if labels.max(initial=0) >= len(_ATR_TO_LIP):
        raise ValueError(f"ATR labels go from 0 to 17, found {labels.max()}")
    return _ATR_TO_LIP[labels]


@cache
def densepose_palette() -> np.ndarray:
    """``(25, 3)`` uint8 RGB of the usual DensePose rendering: black, then 24 parts in Parula."""
    import cv2

    values = (np.arange(DENSEPOSE_PARTS + 1) * 255 // DENSEPOSE_PARTS).astype(np.uint8)
    palette = cv2.applyColorMap(values[:, None], cv2.COLORMAP_PARULA)[:, 0, ::-1].copy()
    palette[0] = 0
    palette.setflags(write=False)
    return palette


def densepose_labels(rendering: np.ndarray) -> np.ndarray:
    """Part numbers 0 to 24 of a DensePose rendering, by the nearest palette colour.

    Exact for a lossless rendering (the red values METHODS.md lists), robust for the JPEG that
    VITON-HD ships.

    Args:
        rendering: ``(H, W, 3)`` uint8 RGB.

    Returns:
        ``(H, W)`` uint8.
    """
    palette = densepose_palette().astype(np.int32)
    # few distinct colours: classify each once
    flat = rendering.reshape(-1, 3).astype(np.int32)
    code = (flat[:, 0] << 16) | (flat[:, 1] << 8) | flat[:, 2]
    colours, member = np.unique(code, return_inverse=True)
    rgb = np.stack([colours >> 16, (colours >> 8) & 255, colours & 255], 1)
    nearest = ((rgb[:, None] - palette[None]) ** 2).sum(-1).argmin(1)
    return nearest.astype(np.uint8)[member].reshape(rendering.shape[:2])


def densepose_picture(parts: np.ndarray) -> np.ndarray:
    """Rendering ``(H, W, 3)`` uint8 of DensePose parts ``(H, W)``, as VITON-HD ships it."""
    return densepose_palette()[parts]
