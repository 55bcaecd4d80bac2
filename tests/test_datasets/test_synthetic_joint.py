"""Joint transforms on rendered people, whose flow is exact."""

import numpy as np
import pytest

from vtonlab.datasets import SampleKey, SyntheticTryOn
from vtonlab.structures.sample import check_sample

MOVES = [
    dict(type="RandomHFlip", prob=1.0),
    dict(type="RandomAffine", target="person", shift=0.05, scale=(0.9, 1.1), rotate=8),
    dict(type="RandomAffine", target="garment", shift=0.05, scale=(0.9, 1.0), rotate=8),
]


def colour_error(sample: dict) -> tuple[float, float]:
    """Mean difference, in grey levels, of worn and matched garment colours, true and shuffled."""
    matches = sample["correspondences"]
    size = np.array(sample["person"].shape[1::-1])
    worn, flat = (
        sample[key][tuple((points.numpy() * size - 1e-4).astype(int).T[::-1])].astype(float)
        for key, points in (("person", matches.person_points), ("garment", matches.garment_points))
    )
    order = np.random.default_rng(0).permutation(len(matches))
    return np.abs(worn - flat).mean(), np.abs(worn - flat[order]).mean()


@pytest.mark.parametrize(
    "move", [[m] for m in MOVES] + [MOVES], ids=["flip", "person", "garment", "all"]
)
def test_matched_points_still_show_the_same_cloth(move):
    options = dict(length=6, size=(128, 96), seed=4)
    plain, moved = SyntheticTryOn(**options), SyntheticTryOn(transforms=move, **options)
    errors = np.array([[*colour_error(plain[i]), *colour_error(moved[i])] for i in range(6)])
    true, shuffled, after, after_shuffled = errors.mean(0)
    assert true < 0.8 * shuffled  # the truth is visible in these pictures at all
    assert after < true * 1.15 + 1 and after < 0.85 * after_shuffled
    check_sample(moved[0])


def test_augmentation_depends_on_the_position_alone():
    data = SyntheticTryOn(length=2, transforms=MOVES[1:])
    one, two, other = (data[SampleKey(0, position)]["person"] for position in (5, 5, 6))
    assert np.array_equal(one, two) and not np.array_equal(one, other)
