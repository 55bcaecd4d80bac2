"""Shapes answered here are torch's own, and what does not fit ends in torch's own error."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vtonlab.engine.memory.shapes_alone import ShapesAlone

x = torch.empty(2, 8, 6, 4, device="meta")
CALLS = {
    "silu": lambda t: F.silu(t),
    "gelu": lambda t: F.gelu(t, approximate="tanh"),
    "softmax": lambda t: t.softmax(dim=-1),
    "softmax to float64": lambda t: F.softmax(t, -1, dtype=torch.float64),
    "dropout": lambda t: F.dropout(t, 0.1),
    "group norm": lambda t: nn.GroupNorm(4, 8)(t),
    "layer norm": lambda t: nn.LayerNorm((6, 4))(t),
    "rms norm": lambda t: nn.RMSNorm(4)(t),
    "linear": lambda t: nn.Linear(4, 5)(t),
    "attention": lambda t: F.scaled_dot_product_attention(t, t[:, :, :3], torch.empty(2, 8, 3, 7)),
    "sum": lambda t: t + t,
    "sum of two types": lambda t: t + t.double(),
    "rows": lambda t: t * torch.empty(6, 1),
    "wider": lambda t: t[:1] - torch.empty(5, 1, 1, 1),
    "number": lambda t: 2.0 * t / 3,
    "integers by a number": lambda t: t.long() / 3,
    "of them": lambda t: (1 + t.long()) * 2,
}
WRONG = {
    "group norm": lambda t: nn.GroupNorm(4, 12)(t),
    "layer norm": lambda t: nn.LayerNorm(5)(t),
    "linear": lambda t: nn.Linear(5, 5)(t),
    "sum": lambda t: t + torch.empty(5),
    "keys": lambda t: F.scaled_dot_product_attention(t, t[..., :3], t),
    "values": lambda t: F.scaled_dot_product_attention(t, t, t[:, :, :3]),
}


def run(call, mode: bool):
    with torch.device("meta"), torch.no_grad():
        if not mode:
            return call(x)
        with ShapesAlone():
            return call(x)


@pytest.mark.parametrize("name", CALLS)
def test_shape_and_type_are_those_of_torch(name):
    ours, theirs = run(CALLS[name], True), run(CALLS[name], False)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype and ours.is_meta


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_torchs_error(name):
    with pytest.raises(RuntimeError) as theirs:
        run(WRONG[name], False)
    with pytest.raises(RuntimeError) as ours:
        run(WRONG[name], True)
    assert str(ours.value) == str(theirs.value)


def test_numbers_on_other_devices_are_computed():
    with ShapesAlone():
        assert torch.equal(F.silu(torch.zeros(2)) + 1, torch.ones(2))
