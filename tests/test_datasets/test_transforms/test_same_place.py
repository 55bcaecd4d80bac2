"""Every place inside the mask is matched with itself, and with nothing outside it."""

import numpy as np
import pytest
import torch

from vtonlab.datasets import SamePlaceCorrespondences
from vtonlab.registry import TRANSFORMS


def test_matches_are_the_cells_of_the_mask():
    mask = np.zeros((16, 12), np.uint8)
    mask[4:8, 3:9] = 1
    transform = TRANSFORMS.build(dict(type="SamePlaceCorrespondences", grid=(8, 6)))
    sample = transform({"mask": mask, "id": "one"})
    found = sample["correspondences"]
    wanted = [
        ((column + 0.5) / 6, (row + 0.5) / 8)
        for row in range(8)
        for column in range(6)
        if mask[int((row + 0.5) / 8 * 16), int((column + 0.5) / 6 * 12)]
    ]
    torch.testing.assert_close(found.person_points, torch.tensor(wanted))
    assert torch.equal(found.person_points, found.garment_points)
    assert sample["id"] == "one"
    query, key, weight = found.to_coo((8, 6), (8, 6))
    assert torch.equal(query, key)
    assert torch.equal(weight, torch.ones(len(found)))


def test_a_mask_of_nothing_gives_no_matches():
    sample = SamePlaceCorrespondences(grid=(4, 3))({"mask": np.zeros((8, 6), np.uint8)})
    assert len(sample["correspondences"]) == 0


def test_an_empty_grid_is_refused():
    with pytest.raises(ValueError, match="at least 1x1, not 0x3"):
        SamePlaceCorrespondences(grid=(0, 3))
