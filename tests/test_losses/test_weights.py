"""A weight that drowns every other loss is a mistake, said where the loss is built."""

import math

import pytest

from vtonlab.registry import ATTENTION_LOSSES, LOSSES


@pytest.mark.parametrize("weight", [-1.0, 1e12, math.inf, math.nan])
@pytest.mark.parametrize(
    ("registry", "loss", "name"),
    [
        (LOSSES, "L1Loss", "weight"),
        (LOSSES, "NonSaturatingLoss", "r1_weight"),
        (LOSSES, "FlowRegressionLoss", "weight"),
        (ATTENTION_LOSSES, "AttentionEntropyLoss", "weight"),
    ],
)
def test_weights_have_a_range(registry, loss, name, weight):
    with pytest.raises(ValueError, match=rf"{name}={weight}: a number within \[0, 10000\]"):
        registry.build({"type": loss, name: weight})
