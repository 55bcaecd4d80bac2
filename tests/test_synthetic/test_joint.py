"""Joint transforms on rendered people, whose flow is exact."""

import numpy as np
import pytest

from vtonlab.datasets import SampleKey
from vtonlab.registry import TRANSFORMS
from vtonlab.structures.sample import check_sample
from vtonlab.synthetic import SyntheticTryOn

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


@pytest.fixture(scope="module")
def rendered() -> list[dict]:
    data = SyntheticTryOn(length=6, size=(128, 96), seed=4)
    return [data[i] for i in range(6)]


@pytest.mark.parametrize("moves", [[move] for move in MOVES] + [MOVES])
def test_matched_points_still_show_the_same_cloth(rendered, moves):
    errors = []
    for i, sample in enumerate(rendered):
        moved = {**sample, "rng": np.random.default_rng([0, i])}
        for move in moves:
            moved = TRANSFORMS.build(move)(moved)
        check_sample(moved)
        errors.append([*colour_error(sample), *colour_error(moved)])
    true, shuffled, after, after_shuffled = np.mean(errors, 0)
    assert true < 0.8 * shuffled  # the truth is visible in these pictures at all
    assert after < true * 1.15 + 1 and after < 0.85 * after_shuffled


def test_augmentation_depends_on_the_position_alone():
    data = SyntheticTryOn(length=2, transforms=MOVES[1:])
    one, two, other = (data[SampleKey(0, position)]["person"] for position in (5, 5, 6))
    assert np.array_equal(one, two) and not np.array_equal(one, other)
