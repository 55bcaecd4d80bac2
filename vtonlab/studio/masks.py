"""The brush: a mask as a layer over the person, and back."""

from collections.abc import Mapping, Sequence

import numpy as np

from vtonlab.ops.resize import resize_mask
from vtonlab.studio.intake import PICTURE_BYTES, in_memory
from vtonlab.utils.images import read_mask

COLOUR, OPACITY = (228, 87, 46), 150  # of the layer
BRUSH = "#e4572e96"


def layer_of(mask: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8: coloured where the mask is 1, clear elsewhere."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[mask > 0] = (*COLOUR, OPACITY)
    return layer


def mask_of_layers(paths: Sequence[str], size: tuple[int, int], pixels: int) -> np.ndarray:
    """(H, W) uint8 in {0, 1}: where any of the painted layers is at least half as opaque as its
    most opaque place; colours say nothing.

    Raises:
        PictureError, FileError: a layer that is no picture, or too large.
    """
    found = np.zeros(size, np.uint8)
    for path in paths:
        plane = read_mask(in_memory(path, PICTURE_BYTES), pixels).plane
        if plane.ndim == 3:  # one opacity everywhere: all of it was painted
            return np.ones(size, np.uint8)
        found |= resize_mask((plane > 127).astype(np.uint8), size)
    return found


def editor_value(photo: np.ndarray | None, mask: np.ndarray | None) -> Mapping | None:
    """What the editor shows."""
    if photo is None:
        return None
    layers = [] if mask is None else [layer_of(mask)]
    return dict(background=photo, layers=layers, composite=None)
