"""What SIFT supervision must be by definition (METHODS.md 2.4), in float64."""

import pytest
import torch

from vtonlab.losses import KeypointAttentionLoss
from vtonlab.structures import AttentionRecord, Correspondences


def matches(seed: int, count: int = 40) -> Correspondences:
    points = torch.rand(2, count, 2, generator=torch.Generator().manual_seed(seed))
    return Correspondences(points[0], points[1], torch.ones(count))


def record(query, grid, name="blocks.1"):
    """Keys are unit vectors, so that the logits are the query's own entries."""
    n = grid[0] * grid[1]
    key = torch.eye(n, dtype=torch.float64).expand(*query.shape[:2], n, n)
    return AttentionRecord(
        name=name, query=query, key=key, query_grid=grid, key_grid=grid, scale=1.0
    )


def loss(records, samples, t=100.0, **settings):
    made = KeypointAttentionLoss(**settings)
    timesteps = torch.full((len(samples),), t)
    return made(records, {"correspondences": samples}, timesteps=timesteps, step=0)


@pytest.mark.parametrize("grid", [(16, 12), (32, 24), (64, 48)])
def test_target_rows_sum_to_one_where_there_are_matches_and_nowhere_else(grid):
    found = matches(0)
    query, _, weight = found.to_coo(grid, grid)
    n = grid[0] * grid[1]
    rows = torch.zeros(n).index_add(0, query, weight)
    x, y = (found.person_points * torch.tensor([grid[1], grid[0]])).floor().long().T
    occupied = torch.zeros(n, dtype=torch.bool)
    occupied[y * grid[1] + x] = True
    torch.testing.assert_close(rows, occupied.float())


def test_loss_at_q_equal_p_is_the_entropy_of_p():
    grid = (2, 2)
    found = matches(1, count=200)
    query, key, weight = found.to_coo(grid, grid)
    p = torch.zeros(4, 4, dtype=torch.float64)
    p[query, key] = weight.double()
    assert (p > 0).all()
    logits = p.log().expand(1, 3, 4, 4)  # three heads alike
    entropy = -(p * p.log()).sum(1).mean()
    value = loss([record(logits, grid)], [found])["loss"]
    torch.testing.assert_close(value, entropy, rtol=1e-6, atol=0)  # the weights are float32
    other = loss([record(logits + torch.randn(1, 3, 4, 4), grid)], [found])["loss"]
    assert other > value


def test_no_matches_give_exactly_zero_and_finite_gradients():
    query = torch.randn(2, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    empty = [Correspondences.empty(), Correspondences.empty()]
    value = loss([record(query, (4, 3))], empty)["loss"]
    assert value == 0
    value.backward()
    assert not query.grad.any()
    query.grad = None
    loss([record(query, (4, 3))], [matches(2), Correspondences.empty()])["loss"].backward()
    assert query.grad.isfinite().all() and query.grad[0].any() and not query.grad[1].any()


@pytest.mark.parametrize(("t", "active"), [(499.0, True), (500.0, False), (501.0, False)])
def test_the_gate_is_strict(t, active):
    query = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    assert (loss([record(query, (4, 3))], [matches(3)], t=t, t_max=500)["loss"] > 0) == active


def test_a_sample_without_its_garment_is_outside_every_gate():
    query = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    for t_max in (None, 500):
        found = loss([record(query, (4, 3))], [matches(3)], t=torch.inf, t_max=t_max)
        assert found["loss"] == 0 and found["active"] == 0


def test_flipped_twice_the_matches_supervise_as_before():
    found = matches(4)
    query = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    once, twice = found.hflip(), found.hflip().hflip()
    torch.testing.assert_close(twice.person_points, found.person_points)
    values = [loss([record(query, (4, 3))], [m])["loss"] for m in (found, once, twice)]
    torch.testing.assert_close(values[0], values[2])
    assert values[0] != values[1]


def test_released_reductions_by_formula():
    """Sum over layers and samples with a floored logarithm: six means for 3 layers, 2 samples."""
    samples = [matches(5), matches(6)]
    layers = [
        record(torch.randn(2, 3, 12, 12, dtype=torch.float64), (4, 3), f"blocks.{n}")
        for n in range(3)
    ]
    expected = 0.0
    for layer in layers:
        q = layer.probs()
        for sample, found in enumerate(samples):
            query, key, weight = found.to_coo((4, 3), (4, 3))
            total = sum(
                -w.double() * (q[sample, h, i, j] + 1e-8).log()
                for h in range(3)
                for i, j, w in zip(query, key, weight, strict=True)
            )
            expected = expected + total / (3 * len(query.unique()))
    released = loss(
        layers, samples, layer_reduction="sum", sample_reduction="sum", probability_floor=1e-8
    )
    torch.testing.assert_close(released["loss"], expected, rtol=1e-6, atol=0)
