"""The recipe of weights, against the sums that the key lists give."""

import numpy as np
import pytest
from parity_numbers import digest, drawn_weights


@pytest.mark.parity
@pytest.mark.parametrize("name", ["leffa/tiny_sd15_keys.json", "stableviton/tiny_keys.json"])
def test_weights_are_the_recorded_ones(parity, name):
    weights = drawn_weights(parity.facts(name))
    assert set(weights) == set(parity.facts(name)["keys"])


def test_a_tied_key_takes_the_changed_value():
    recipe = dict(
        seed=0,
        keys={"a.weight": [2, 3], "b.bias": [4], "c.weight": [2, 3]},
        tied={"c.weight": "a.weight"},
        changes=["b.bias[2:] -= 2"],
        scaled={"a.weight": 8},
    )
    weights = drawn_weights(recipe)
    drawn = np.random.RandomState(0).standard_normal((2, 3)) / np.sqrt(3)
    assert np.array_equal(weights["c.weight"], drawn.astype(np.float32) * np.float32(8))
    assert (weights["b.bias"][2:] < -1).all() and digest(weights) != digest({})
