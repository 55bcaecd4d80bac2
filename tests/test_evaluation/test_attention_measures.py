"""Sharpness of attention and what it would draw, against maps written out in full."""

import math

import numpy as np
import pytest
import torch

from vtonlab.evaluation import AttentionPCK
from vtonlab.evaluation.attention_measures import drawn_errors, true_shares
from vtonlab.models.results import add_attention
from vtonlab.structures import AttentionRecord, FlowField

GRID, SIZE = (4, 3), (16, 12)


def record(seed: int = 0, scale: float = 1.0) -> AttentionRecord:
    query, key = torch.randn(
        2, 2, 3, 12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return AttentionRecord(
        name="block", query=query, key=key, query_grid=GRID, key_grid=GRID, scale=scale
    )


def flows() -> list[FlowField]:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    own = np.stack([(x + 0.5) / SIZE[1], (y + 0.5) / SIZE[0]], -1)
    moved = np.clip(own + rng.uniform(-0.08, 0.08, 2), 0.01, 0.99)
    visible = np.ones(SIZE, bool)
    visible[:, 8:] = False
    return [FlowField(own, np.ones(SIZE, bool)), FlowField(moved, visible)]


def test_true_share_equals_the_map_at_the_cells_around_the_truth():
    attention, found = record(), true_shares(record(), flows())
    maps = attention.probs()
    assert found.shape == (2, 3, 12)
    for place, flow in enumerate(flows()):
        points, known = flow.to_grid(GRID)
        for query in range(12):
            expected = torch.zeros(3, dtype=torch.float64)
            x, y = (points[query].double() * torch.tensor([3, 4]) - 0.5).tolist()
            x, y = min(max(x, 0), 2), min(max(y, 0), 3)
            for key in range(12):
                near = abs(key % 3 - x) < 1 - 1e-6 and abs(key // 3 - y) < 1 - 1e-6
                expected += maps[place, :, query, key] * near
            wanted = expected if known[query] else 0 * expected
            torch.testing.assert_close(  # float32 sums
                found[place, :, query].double(), wanted, atol=1e-6, rtol=0
            )


def test_drawn_error_equals_patches_mixed_by_the_map():
    attention, maps = record(), record().probs().mean(1)
    garment, target = torch.rand(2, 2, 3, *SIZE) * 2 - 1
    found = drawn_errors(attention, garment, target, flows())
    for place, flow in enumerate(flows()):
        total = 0.0
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                if not flow.visible[y, x]:
                    continue
                query = y // 4 * 3 + x // 4
                keys = [garment[place, :, k // 3 * 4 + y % 4, k % 3 * 4 + x % 4] for k in range(12)]
                drawn = sum(maps[place, query, k] * keys[k] for k in range(12))
                total += (drawn - target[place, :, y, x]).abs().mean().item() / 2
        assert found[place, 0].item() == pytest.approx(total, rel=1e-5)  # float32, 192 pixels
        assert found[place, 1] == int(flow.visible.sum())


def test_grids_that_do_not_divide_the_pictures_draw_nothing():
    pictures = torch.zeros(2, 3, 18, 12)
    assert drawn_errors(record(), pictures, pictures, flows()) is None


def test_sharp_attention_on_the_truth_scores_perfectly():
    """Queries equal to their keys and a large scale: one cell, all of it true, nothing to err."""
    flow, eye = flows()[0], torch.eye(12)[None, None]
    sharp = AttentionRecord(
        name="block", query=eye, key=eye, query_grid=GRID, key_grid=GRID, scale=60.0
    )
    picture = torch.rand(1, 3, *SIZE) * 2 - 1
    batch = dict(flow=[flow], garment=picture, person=picture)
    results = [dict(id="a", flow=flow)]
    add_attention(results, [sharp], batch)
    metric = AttentionPCK()
    metric.process({}, results)
    scores = metric.compute_metrics(metric.results)
    assert scores["true_share"] == pytest.approx(1.0)
    assert scores["effective_cells"] == pytest.approx(1.0)
    assert scores["drawn_error"] == pytest.approx(0.0, abs=1e-6)
    even = AttentionRecord(
        name="block", query=0 * eye, key=eye, query_grid=GRID, key_grid=GRID, scale=1.0
    )
    results = [dict(id="a", flow=flow)]
    add_attention(results, [even], batch)
    metric = AttentionPCK()
    metric.process({}, results)
    scores = metric.compute_metrics(metric.results)
    assert scores["effective_cells"] == pytest.approx(12, rel=1e-5)
    assert scores["true_share"] == pytest.approx(1 / 12, rel=1e-5)
    assert math.isfinite(scores["drawn_error"]) and scores["drawn_error"] > 0.1


def test_the_head_that_copies_is_named():
    """One head looks at its true cell, the other everywhere: the mean tells of neither."""
    flow, eye = flows()[0], torch.eye(12)[None, None]
    both = AttentionRecord(
        name="block",
        query=torch.cat([0 * eye, eye], 1),
        key=torch.cat([eye, eye], 1),
        query_grid=GRID,
        key_grid=GRID,
        scale=60.0,
    )
    picture = torch.rand(1, 3, *SIZE) * 2 - 1
    results = [dict(id="a", flow=flow)]
    add_attention(results, [both], dict(flow=[flow], garment=picture, person=picture))
    metric = AttentionPCK()
    metric.process({}, results)
    scores = metric.compute_metrics(metric.results)
    assert scores["attention_pck_head"] == 1
    assert scores["true_share_head"] == pytest.approx(1.0)
    assert scores["true_share"] == pytest.approx((1 + 1 / 12) / 2)
