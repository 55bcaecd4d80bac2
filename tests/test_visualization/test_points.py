"""Points that attention is asked about, and the pages drawn of them."""

import numpy as np
import pytest
import torch

from vtonlab.structures import AttentionRecord, FlowField
from vtonlab.visualization import (
    attention_warp,
    draw_flow_offsets,
    draw_points_attention,
    titled_grid,
)
from vtonlab.visualization.points import cells_under, choose_points, draw_sample_attention, maps_of


@pytest.fixture
def sample() -> dict:
    visible = torch.zeros(8, 6, dtype=torch.bool)
    visible[2:6, 1:5] = True
    y, x = np.mgrid[:8, :6].astype(np.float32) + 0.5
    flow = FlowField(torch.from_numpy(np.stack([x / 6, y / 8], -1)), visible)  # onto itself
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 24, 3), dtype=np.uint8)
    return dict(
        person=pictures[0], garment=pictures[1], mask=np.ones((32, 24), np.uint8), flow=flow
    )


@pytest.fixture
def record() -> AttentionRecord:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, 12, 4, generator=generator) for _ in range(2))
    return AttentionRecord(
        name="a.b", query=query, key=key, query_grid=(4, 3), key_grid=(3, 4), scale=0.7
    )


def test_points_lie_where_the_garment_shows(sample):
    points, truth = choose_points(sample, count=4)
    assert points.shape == (4, 2) and len(np.unique(points, axis=0)) == 4
    np.testing.assert_allclose(truth, points, atol=1e-6)  # the flow leads onto itself
    asked, truth = choose_points(sample, [(0.5, 0.5), (0.05, 0.05)])
    assert asked.tolist() == [[0.5, 0.5], [0.05, 0.05]]
    np.testing.assert_allclose(truth[0], [0.5, 0.5], atol=1e-6)
    assert np.isnan(truth[1]).all()
    del sample["flow"]
    sample["mask"][:, :12] = 0
    points, truth = choose_points(sample, count=3)
    assert (points[:, 0] > 0.5).all() and np.isnan(truth).all()


def test_cells_under_points():
    points = np.array([[0.0, 0.0], [0.99, 0.3], [1.0, 1.0]])
    assert cells_under(points, (4, 3)).tolist() == [0, 5, 11]


def test_maps_are_those_of_the_record(record):
    cells = torch.tensor([4, 0])
    found = maps_of(record, cells, ["mean", "each"], place=1)
    assert list(found) == ["mean", "0", "1", "2"]
    probs = record.probs()[1][:, cells]
    np.testing.assert_allclose(found["2"].reshape(2, 12), probs[2], rtol=1e-5)
    np.testing.assert_allclose(found["mean"].reshape(2, 12), probs.mean(0), rtol=1e-5)
    assert found["mean"].shape == (2, 3, 4)
    with pytest.raises(ValueError, match=r"a\.b has 3 heads, 0 to 2, no head 3"):
        maps_of(record, cells, ["3"])


def test_a_page_has_a_row_for_each_point(sample, record):
    points, truth = choose_points(sample, count=2)
    views = {"one": np.eye(2)[None].repeat(2, 0), "two\nlines": np.ones((2, 3, 4))}
    page = draw_points_attention(
        sample["person"], sample["garment"], points, views, truth=truth, height=64
    )
    assert page.shape == ((2 * 22 + 12) + 2 * (64 + 22 + 6) + 6, 3 * (48 + 6) + 6, 3)
    with pytest.raises(ValueError, match="view 'one' has 2 maps for 1 points"):
        draw_points_attention(sample["person"], sample["garment"], points[:1], views)
    with torch.no_grad():
        drawn = draw_sample_attention(sample, [record, record], place=1, count=3, height=64)
    assert drawn.dtype == np.uint8 and drawn.shape[0] > 3 * 64


def test_titles_stand_over_their_columns():
    tiles = [np.zeros((10, 40, 3), np.uint8)] * 4
    page = titled_grid(["a", "b\nc"], tiles)
    assert page.shape[1] == 2 * (40 + 6) + 6
    assert (page[6:28, :46] > 200).all() and (page[28:50, :46] < 200).any()  # the lower line


def test_attention_carries_colours():
    garment = np.zeros((6, 4, 3), np.uint8)
    garment[:, :2], garment[:, 2:] = (200, 0, 0), (0, 100, 0)
    probs = np.array([[1.0, 0.0], [0.25, 0.75]])
    warped = attention_warp(garment, probs, (2, 1), (1, 2))
    assert warped.tolist() == [[[200, 0, 0]], [[50, 75, 0]]]


def test_offsets_are_hues_beside_their_wheel(sample):
    flow = sample["flow"]
    still = draw_flow_offsets(flow)
    assert (still[3, 2] == 255).all() and (still[0, 0] == 128).all()
    moved = FlowField(torch.clamp(flow.flow + torch.tensor([0.2, 0.0]), 0, 1), flow.visible)
    large = draw_flow_offsets(moved.resize((64, 48)), largest=0.2)
    red, green, blue = large[24, 16].tolist()
    assert red > 240 and green < 90 and blue < 90  # to the right
    corner = large[-9:, -9:].reshape(-1, 3)
    assert len(np.unique(corner, axis=0)) > 20  # the wheel
