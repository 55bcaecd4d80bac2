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
