"""3D-GCL eq. 4 and 5 with dense correlation matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vtonlab.losses import CorrelationRegularizationLoss
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.flow_field import FlowField

HEADS = st.sampled_from(["mean", "none", "mean_logit"])


def tent(position, n):
    position = torch.as_tensor(position, dtype=torch.float64).clamp(0, n - 1)
    return (1 - (position[..., None] - torch.arange(n)).abs()).clamp(min=0)


def bilinear_row(point, grid):
    """Weights of all cells at a point in [0, 1], flattened: o_gt[i, :]."""
    h, w = grid
    x, y = point.double()
    return torch.outer(tent(y * h - 0.5, h), tent(x * w - 0.5, w)).flatten()


def shrink(picture, grid):
    """Bilinear resize with pixel centres at (i + 0.5) / n."""
    for axis, n in ((-2, grid[0]), (-1, grid[1])):
        size = picture.shape[axis]
        weights = tent((torch.arange(n).double() + 0.5) * size / n - 0.5, size)  # (n, size)
        picture = torch.movedim(torch.movedim(picture, axis, -1) @ weights.T, -1, axis)
    return picture


def flows(case, size=(12, 9)):
    g = torch.Generator().manual_seed(case.seed + 3)
    visible = torch.rand(case.batch, *size, generator=g) < 0.8
    visible[1:2] = False  # the second sample shows nothing
    points = torch.randint(0, 257, (case.batch, *size, 2), generator=g) / 256
    return [FlowField(f, v) for f, v in zip(points, visible, strict=True)]


def naive_loss(tensors, case, batch, naive, heads, support, inside, over):
    o = naive.map(tensors, case, heads)
    total = o.sum() * 0.0
    for b, flow in enumerate(batch["flow"]):
        mask = batch["garment_mask"][b]
        G = shrink(batch["garment"][b] * mask + 1 - mask, case.key_grid).flatten(1).T  # (Nk, 3)
        points, visible = flow.to_grid(case.query_grid)
        terms = []
        for i in visible.nonzero()[:, 0].tolist():
            if inside:
                seen = bilinear_row(points[i], mask.shape[1:]) @ mask.flatten()
                if seen < 1 - 1e-9:
                    continue
            o_gt = bilinear_row(points[i], case.key_grid)
            M = (o_gt > 0).double() if support == "target_cells" else 1.0
            terms.append(((M * (o_gt - o[b, :, i])) @ G).abs().mean())
        if terms:
            count = len(terms) if over == "visible" else o.shape[2]
            total = total + sum(terms) / count / case.batch
    return total


@given(
    data=st.data(),
    heads=HEADS,
    support=st.sampled_from(["target_cells", "all"]),
    inside=st.booleans(),
    over=st.sampled_from(["visible", "all"]),
)
@settings(deadline=None, max_examples=80, derandomize=True)
def test_against_dense_matrices(naive, data, heads, support, inside, over):
    case = data.draw(naive.CASES)
    batch = case.pictures() | {"flow": flows(case)}
    loss = CorrelationRegularizationLoss(
        head_reduction=heads, support=support, inside_garment=inside, token_reduction=over
    )
    times = torch.zeros(case.batch)
    naive.agree(
        lambda t: loss([case.record(t)], batch, timesteps=times, step=0)["loss"],
        lambda t: naive_loss(t, case, batch, naive, heads, support, inside, over),
        case,
    )


@given(data=st.data(), support=st.sampled_from(["target_cells", "all"]))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_float32(naive, data, support):
    case = data.draw(naive.CASES)
    batch = case.pictures() | {"flow": flows(case)}
    loss = CorrelationRegularizationLoss(support=support)
    times = torch.zeros(case.batch)
    naive.agree_float32(
        lambda t: loss([case.record(t)], batch, timesteps=times, step=0)["loss"],
        lambda t: naive_loss(t, case, batch, naive, "mean", support, True, "visible"),
        case,
    )


@pytest.mark.parametrize("support", ["target_cells", "all"])
def test_correlation_equal_to_the_bilinear_weights_costs_nothing(support):
    points = torch.tensor([[0.3, 0.4], [0.55, 0.7], [0.5, 0.5], [0.9, 0.1]])
    o_gt = torch.stack([bilinear_row(p, (4, 3)) for p in points])
    record = AttentionRecord(
        name="a", query=o_gt.clamp(min=1e-200).log()[None, None],
        key=torch.eye(12, dtype=torch.float64)[None, None], query_grid=(2, 2), key_grid=(4, 3),
        scale=1.0,
    )  # fmt: skip
    batch = {
        "garment": torch.rand(1, 3, 16, 12).double(),
        "garment_mask": torch.ones(1, 1, 16, 12),
        "flow": [FlowField(points.view(2, 2, 2), torch.ones(2, 2, dtype=torch.bool))],
    }
    loss = CorrelationRegularizationLoss(support=support)
    out = loss([record], batch, timesteps=torch.zeros(1), step=0)
    assert out["loss"] < 1e-9
    assert out["active"] == 1
