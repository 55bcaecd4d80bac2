"""What left and right mean in each map, for horizontal flips.

A mirrored picture shows a left arm where the right one was, so labels that tell sides apart must
swap with the pixels. All functions are their own inverse.
"""

from functools import cache

import numpy as np

from vtonlab.ops.labels import DENSEPOSE_PARTS, densepose_palette

LIP_SIDES = ((14, 15), (16, 17), (18, 19))  # arms, legs, shoes
BODY_25_SIDES = (
    *((2, 5), (3, 6), (4, 7), (9, 12), (10, 13), (11, 14)),  # shoulder to ankle
    *((15, 16), (17, 18), (19, 22), (20, 23), (21, 24)),  # eyes, ears, toes, heels
)
DENSEPOSE_SIDES = tuple((part, part + 1) for part in range(3, DENSEPOSE_PARTS, 2))

_BITS = 6  # of each colour channel in the lookup table
_NEAR = 40  # largest sum of channel differences at which a colour is a rendering of a part


def swapped(sides: tuple, count: int) -> np.ndarray:
    """Label -> mirrored label, ``(count,)``."""
    table = np.arange(count)
    for left, right in sides:
        table[left], table[right] = right, left
    return table


def mirror_labels(labels: np.ndarray, sides: tuple = LIP_SIDES) -> np.ndarray:
    """``(H, W)`` uint8 label map, mirrored."""
    return swapped(sides, 256).astype(np.uint8)[labels[:, ::-1]]


def mirror_iuv(iuv: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` DensePose part, U, V, mirrored; sides swap, U and V stay with their pixels.

    (DensePose's own U and V are not exact mirror images between sides.)
    """
    mirrored = iuv[:, ::-1].copy()
    mirrored[..., 0] = swapped(DENSEPOSE_SIDES, 256).astype(np.uint8)[mirrored[..., 0]]
    return mirrored


def mirror_keypoints(keypoints: np.ndarray) -> np.ndarray:
    """``(25, 3)`` BODY_25 with x in [0, 1], mirrored; undetected ones stay at 0."""
    mirrored = keypoints[swapped(BODY_25_SIDES, len(keypoints))]
    mirrored[:, 0] = np.where(mirrored[:, 2] > 0, 1 - mirrored[:, 0], mirrored[:, 0])
    return mirrored


@cache
def _side_shift() -> np.ndarray:
    """For each coarse colour, what to add to it to show the mirrored part: ``(64**3, 3)`` int16."""
    levels = (np.arange(1 << _BITS) * 2 + 1) << (7 - _BITS)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    colours = densepose_palette().astype(np.int16)
    best = np.full(len(grid), _NEAR + 1, np.int16)
    shift = np.zeros((len(grid), 3), np.int16)
    partner = swapped(DENSEPOSE_SIDES, DENSEPOSE_PARTS + 1)
    for part, colour in enumerate(colours):
        distance = np.abs(grid - colour).sum(1).astype(np.int16)
        closer = distance < best
        best[closer] = distance[closer]
        shift[closer] = colours[partner[part]] - colour
    return shift


def mirror_pose(pose: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` DensePose rendering, mirrored, the colours of left and right parts exchanged.

    Colours of no part (painted hair, other renderings) stay. Renderings are often JPEG, so a colour
    is moved by the difference of its part's two colours, which keeps its noise.
    """
    mirrored = np.ascontiguousarray(pose[:, ::-1])
    coarse = (mirrored >> (8 - _BITS)).astype(np.int32)
    index = (coarse[..., 0] << (2 * _BITS)) | (coarse[..., 1] << _BITS) | coarse[..., 2]
    return np.clip(mirrored + _side_shift()[index], 0, 255).astype(np.uint8)
