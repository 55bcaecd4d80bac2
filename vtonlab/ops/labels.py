"""Label maps of people: the LIP palette that VITON-HD files carry, and Dress Code's ATR labels."""

import numpy as np

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
