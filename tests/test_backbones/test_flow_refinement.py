"""Refinement at two scales: what it starts as, and that all of it trains."""

import pytest
import torch

from vtonlab.backbones import FlowRefinement
from vtonlab.backbones.correspondence_network import PyramidFeatures, normalised
from vtonlab.ops.warp import identity_flow, resize_flow


def features(size=(4, 3), count=2):
    generator = torch.Generator().manual_seed(0)
    scales = [
        [normalised(torch.randn(count, 8, size[0] * n, size[1] * n, generator=generator))
         for n in (1, 2, 4)]
        for _ in range(2)
    ]  # fmt: skip
    return PyramidFeatures(*scales)


def refinement(**changes):
    torch.manual_seed(0)
    return FlowRefinement(dim=8, hidden=6, motion=8, **changes)


def start(count=2):
    flow = identity_flow((4, 3), torch.zeros(1)).expand(count, 4, 3, 2)
    return flow + torch.tensor([0.1, -0.2])


def silence(model):
    """The recurrent unit proposes nothing."""
    for scale in model.scales:
        torch.nn.init.zeros_(scale.head[-1].weight)
        torch.nn.init.zeros_(scale.head[-1].bias)


def test_without_proposals_the_offset_stays():
    model = refinement()
    silence(model)
    found = model(start(), features())
    for flow, size in zip(found, ((8, 6), (16, 12)), strict=True):
        torch.testing.assert_close(flow, resize_flow(start(), size), rtol=0, atol=1e-6)


def test_residual_smoothing_begins_as_the_identity():
    smooth, plain = refinement(), refinement(smoothing="none")
    plain.load_state_dict(smooth.state_dict(), strict=False)
    for a, b in zip(smooth(start(), features()), plain(start(), features()), strict=True):
        torch.testing.assert_close(a, b)


def test_replacing_smoothing_forgets_the_offset():
    model = refinement(smoothing="replace")
    silence(model)
    flow = model(start(), features())[0]
    assert (flow - resize_flow(start(), (8, 6))).abs().max() > 1e-2


def test_every_parameter_trains_after_one_step():
    model = refinement()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):  # the smoothing's first layers wait for its last
        optimiser.zero_grad()
        sum((flow - 0.5).square().mean() for flow in model(start(), features())).backward()
        optimiser.step()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_more_iterations_have_smoothing_of_their_own():
    model = refinement(iterations=3)
    assert [len(scale.smooth) for scale in model.scales] == [3, 3]
    assert torch.isfinite(model(start(), features())[-1]).all()


def test_unknown_smoothing():
    with pytest.raises(ValueError, match="smoothing 'median' is none of residual, replace, none"):
        FlowRefinement(smoothing="median")
