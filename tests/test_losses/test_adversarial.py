"""The non-saturating loss and R1, in float64 against the formulas."""

import numpy as np
import pytest
import torch

from vtonlab.losses import NonSaturatingLoss
from vtonlab.losses.adversarial import r1_penalty

REAL = torch.tensor([0.3, -1.2, 4.0], dtype=torch.float64)
FAKE = torch.tensor([-0.5, 2.0, 0.1], dtype=torch.float64)


def softplus(x: torch.Tensor) -> float:
    return np.log1p(np.exp(x.numpy())).mean()


def test_losses_are_the_softplus_of_scores():
    loss = NonSaturatingLoss(weight=0.5)
    assert float(loss.generator(FAKE)) == pytest.approx(0.5 * softplus(-FAKE), rel=1e-6)
    wanted = softplus(-REAL) + softplus(FAKE)
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(wanted, rel=1e-6)


def test_gradients_do_not_saturate():
    """A generator that is found out is pushed with full force, one that fools is left alone."""
    scores = torch.tensor([-30.0, 30.0], requires_grad=True)
    NonSaturatingLoss().generator(scores).backward()
    assert torch.allclose(scores.grad, torch.tensor([-0.5, 0.0]))  # half of -1: a mean of two


def test_r1_of_a_score_with_a_known_gradient():
    """score = a . x + |x|^2 has the gradient a + 2 x."""
    a = torch.randn(3, 4, 2, dtype=torch.float64)
    x = torch.randn(5, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    scores = (a * x).flatten(1).sum(1) + x.square().flatten(1).sum(1)
    wanted = (a + 2 * x.detach()).square().flatten(1).sum(1).mean()
    assert torch.allclose(r1_penalty(scores, x).double(), wanted, rtol=1e-6)


def test_r1_by_differences_and_its_own_gradient():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Softplus(), torch.nn.Linear(4, 1))
    network.double()
    x = torch.randn(2, 6, dtype=torch.float64)

    def by_differences() -> torch.Tensor:
        steps = 1e-5 * torch.eye(6, dtype=torch.float64)
        slopes = [(network(x + s) - network(x - s))[:, 0] / 2e-5 for s in steps]
        return torch.stack(slopes, 1).square().sum(1).mean()

    given = x.clone().requires_grad_()
    found = r1_penalty(network(given)[:, 0], given)
    assert float(found) == pytest.approx(float(by_differences()), rel=1e-5)
    found.backward()
    weight = network[0].weight
    with torch.no_grad():
        weight[1, 2] += 1e-4
        above = float(by_differences())
        weight[1, 2] -= 2e-4
        below = float(by_differences())
    assert float(weight.grad[1, 2]) == pytest.approx((above - below) / 2e-4, rel=1e-3)


def test_the_penalty_is_lazy_and_weighted_for_it():
    loss = NonSaturatingLoss(r1_weight=10.0, r1_interval=16)
    assert [step for step in range(40) if loss.penalises(step)] == [0, 16, 32]
    x = torch.randn(2, 3, 2, 2, requires_grad=True)
    scores = x.square().flatten(1).sum(1)
    assert torch.allclose(loss.penalty(scores, x), 80.0 * r1_penalty(scores, x))
    assert not NonSaturatingLoss(r1_weight=0.0).penalises(0)
    with pytest.raises(ValueError, match="r1_interval must be >= 1, not 0"):
        NonSaturatingLoss(r1_interval=0)
