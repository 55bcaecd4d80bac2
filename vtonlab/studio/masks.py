"""The brush: a mask over the person for the page, and what was painted back as a mask."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

from vtonlab.ops.resize import resize_mask
from vtonlab.studio.views import uri
from vtonlab.utils.bounded import FileError, MemoryFile
from vtonlab.utils.images import read_mask

SIDE = 768  # of the canvas that is painted on, in pixels
_PNG = "data:image/png;base64,"


def canvas(photo: np.ndarray | None, mask: np.ndarray | None) -> Mapping | None:
    """What the brush (`parts.brush`) is shown: the person, and the mask in white on black."""
    if photo is None:
        return None
    mask = np.zeros(photo.shape[:2], np.uint8) if mask is None else mask
    white = np.repeat(mask[..., None] * np.uint8(255), 3, 2)
    return dict(photo=uri(photo, SIDE), mask=uri(white, SIDE))


def painted(value: Any, size: tuple[int, int], pixels: int) -> np.ndarray | None:
    """What was painted, (H, W) uint8 in {0, 1}; None where the mask was left as it was made.

    It comes as a picture whose opacity is the mask: where it is at least half as opaque as at its
    most opaque place.

    Raises:
        PictureError, FileError: it is no picture, or too large.
    """
    text = value.get("painted") if isinstance(value, dict) else None
    if text is None:
        return None
    if not isinstance(text, str) or not text.startswith(_PNG):
        raise FileError("the painted area is no picture: paint it again")
    try:
        data = base64.b64decode(text.removeprefix(_PNG), validate=True)
    except binascii.Error:
        raise FileError("the painted area is no picture: paint it again") from None
    plane = read_mask(MemoryFile("the painted area", data), pixels).plane
    if plane.ndim == 3:  # one opacity everywhere: all of it was painted
        return np.ones(size, np.uint8)
    return resize_mask((plane > 127).astype(np.uint8), size)
