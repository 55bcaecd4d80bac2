"""Which person pixels may match which garment pixels: DensePose parts and garment parsing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# DensePose fine parts and GP-VTON garment labels of each region (METHODS.md 2.2).
PERSON_PARTS = {
    "torso": (2,),
    "right_sleeve": (16, 18, 20, 22),
    "left_sleeve": (15, 17, 19, 21),
}
GARMENT_PARTS = {"torso": (5, 6, 7), "right_sleeve": (22,), "left_sleeve": (21,)}

WHOLE = "whole"
_BACKGROUND = 0


def densepose_palette() -> np.ndarray:
    """``(25, 3)`` int32 RGB of the usual DensePose rendering: black, then 24 parts in Parula."""
    import cv2

    values = (np.arange(25) * 255 / 24).astype(np.uint8)[None]
    palette = cv2.applyColorMap(values, cv2.COLORMAP_PARULA)[0, :, ::-1].astype(np.int32)
    palette[_BACKGROUND] = 0
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
    palette = densepose_palette()
    # few distinct colours: classify each once
    flat = rendering.reshape(-1, 3).astype(np.int32)
    code = (flat[:, 0] << 16) | (flat[:, 1] << 8) | flat[:, 2]
    colours, member = np.unique(code, return_inverse=True)
    rgb = np.stack([colours >> 16, (colours >> 8) & 255, colours & 255], 1)
    nearest = ((rgb[:, None] - palette[None]) ** 2).sum(-1).argmin(1)
    return nearest.astype(np.uint8)[member].reshape(rendering.shape[:2])


def match_regions(
    person_mask: np.ndarray | None,
    garment_mask: np.ndarray | None,
    person_labels: np.ndarray | None,
    garment_labels: np.ndarray | None,
    person_parts: Mapping[str, Sequence[int]] = PERSON_PARTS,
    garment_parts: Mapping[str, Sequence[int]] = GARMENT_PARTS,
) -> list[tuple[str, np.ndarray | None, np.ndarray | None]]:
    """``(name, person region, garment region)`` for each part to be matched on its own.

    With labels on both sides: the parts of METHODS.md 2.2, person parts within ``person_mask``.
    Where either is missing: one region, the masks as they are (None is the whole picture), so that
    matches are found without any parsing.
    """
    if person_labels is None or garment_labels is None:
        return [(WHOLE, person_mask, garment_mask)]
    regions = []
    for name, parts in person_parts.items():
        person = np.isin(person_labels, parts)
        if person_mask is not None:
            person &= person_mask.astype(bool)
        regions.append((name, person, np.isin(garment_labels, garment_parts[name])))
    return regions
