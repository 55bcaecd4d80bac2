"""One question, whatever a batch knows of the truth."""

import pytest
import torch

from vtonlab.structures import Correspondences, FlowField
from vtonlab.structures.truth import true_points


def batch():
    flow = torch.rand(4, 4, 2, generator=torch.Generator().manual_seed(0))
    visible = torch.eye(4, dtype=torch.bool)
    match = Correspondences(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.2, 0.3]]), torch.ones(1))
    return {"flow": [FlowField(flow, visible)], "correspondences": [match]}


def test_a_flow_at_token_centres():
    data = batch()
    for source in ("auto", "flow"):
        points, known = true_points(data, 0, (4, 4), source)
        assert torch.equal(known, torch.eye(4, dtype=torch.bool).flatten())
        torch.testing.assert_close(points[known], data["flow"][0].flow[data["flow"][0].visible])


def test_matches_in_their_cells():
    data = batch()
    points, known = true_points(data, 0, (2, 2), "correspondences")
    assert known.tolist() == [False, True, False, False]
    torch.testing.assert_close(points[1], torch.tensor([0.2, 0.3]))
    del data["flow"]
    assert torch.equal(true_points(data, 0, (2, 2))[0], points)


def test_no_truth_says_the_way_out():
    with pytest.raises(ValueError, match="no 'correspondences', which the truth is read from"):
        true_points({"person": 0}, 0, (2, 2))
