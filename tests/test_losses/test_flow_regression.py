"""3D-GCL's L_f in float64 against loops."""

import pytest
import torch

from vtonlab.losses import FlowRegressionLoss
from vtonlab.structures import Correspondences, FlowField


def batch(seed=0):
    """Two samples of 12x9; the second shows nothing."""
    g = torch.Generator().manual_seed(seed)
    visible = torch.rand(2, 12, 9, generator=g) < 0.7
    visible[1] = False
    points = torch.rand(2, 12, 9, 2, generator=g)
    mask = torch.zeros(2, 1, 12, 9)
    mask[:, :, 2:10, 1:8] = 1
    fields = [FlowField(p, v) for p, v in zip(points, visible, strict=True)]
    matches = [f.to_correspondences(stride=2) for f in fields]
    return {"flow": fields, "garment_mask": mask, "correspondences": matches}


def flows(seed=1):
    g = torch.Generator().manual_seed(seed)
    return [torch.rand(2, h, w, 2, generator=g, dtype=torch.float64).requires_grad_()
            for h, w in ((6, 5), (12, 9))]  # fmt: skip


def inside(point, mask):
    """Whether every pixel that a bilinear sample reads is garment."""
    h, w = mask.shape
    x = min(max(float(point[0]) * w - 0.5, 0), w - 1)
    y = min(max(float(point[1]) * h - 0.5, 0), h - 1)
    columns = {int(x), int(x) + (x > int(x))}
    rows = {int(y), int(y) + (y > int(y))}
    return all(mask[r, c] > 0.5 for r in rows for c in columns)


def naive(flow_list, data, normalisation, inside_garment=True):
    total = 0.0
    for flow in flow_list:
        size, value = tuple(flow.shape[1:3]), 0.0
        for b in range(2):
            points, seen = data["flow"][b].to_grid(size)
            terms = [
                sum(abs(2 * flow[b].flatten(0, 1)[n] - 2 * points[n].double())) / 2
                for n in range(len(points))
                if seen[n] and (not inside_garment or inside(points[n], data["garment_mask"][b, 0]))
            ]
            pixels = len(points) if normalisation == "code_compat" else max(1, len(terms))
            value += sum(terms) / pixels / 2
        total = total + value
    return total


@pytest.mark.parametrize("normalisation", ["visible", "code_compat"])
@pytest.mark.parametrize("inside_garment", [True, False])
def test_against_loops(normalisation, inside_garment):
    data, found = batch(), flows()
    loss = FlowRegressionLoss(
        weight=3.0, normalisation=normalisation, inside_garment=inside_garment
    )
    expected = 3 * naive(found, data, normalisation, inside_garment)
    result = loss(found, data)
    assert result["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    result["loss"].backward()
    for flow in found:
        assert flow.grad[0].any() and not flow.grad[1].any()  # nothing is visible there


def test_the_truth_costs_nothing():
    data = batch()
    exact = [torch.stack([f.to_grid(size)[0].unflatten(0, size) for f in data["flow"]])
             for size in ((6, 5), (12, 9))]  # fmt: skip
    result = FlowRegressionLoss()(exact, data)
    assert result["loss"] == 0 and result["value"] == 0


def test_matches_in_place_of_a_flow():
    """At each scale the mean of the matches in a pixel; without ``flow`` in the batch."""
    one = Correspondences(
        torch.tensor([[0.1, 0.1], [0.15, 0.1]]), torch.tensor([[0.4, 0.5], [0.6, 0.5]]),
        torch.tensor([1.0, 3.0]),
    )  # fmt: skip
    data = {
        "correspondences": [one, Correspondences.empty()],
        "garment_mask": torch.ones(2, 1, 8, 8),
    }
    found = [torch.full((2, 4, 4, 2), 0.5, dtype=torch.float64)]
    value = FlowRegressionLoss(truth="correspondences")(found, data)["loss"]
    assert value.item() == pytest.approx(2 * (0.55 - 0.5) / 2 / 2)  # x alone, one sample of two


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"batch has no 'flow'.*BodyFlow"):
        FlowRegressionLoss()(flows(), {"garment_mask": torch.ones(2, 1, 4, 4)})
    with pytest.raises(ValueError, match="normalisation 'mean' is none of visible, code_compat"):
        FlowRegressionLoss(normalisation="mean")
