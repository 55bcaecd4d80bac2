"""Leffa eq. 2 to 4 with tent functions instead of interpolate and grid_sample."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vtonlab.losses import AttentionFlowLoss
from vtonlab.losses.attention_flow import corner_coordinates, warp_by_flow
from vtonlab.structures.attention_record import AttentionRecord

NAME = "blocks.0.attn"
ALL_LAYERS = {"min_grid_ratio": 0.0}


def corners(n):
    if n == 1:
        return torch.zeros(1, dtype=torch.float64)
    return torch.tensor([-1 + 2 * i / (n - 1) for i in range(n)], dtype=torch.float64)


def tent(position, n):
    """Linear interpolation weights of n pixels at continuous indices: (...) -> (..., n)."""
    position = position.clamp(0, n - 1)
    return (1 - (position[..., None] - torch.arange(n)).abs()).clamp(min=0)


def stretch(n, size):
    """(size, n): linear upsampling that keeps the corners."""
    return tent(torch.arange(size, dtype=torch.float64) * (n - 1) / (size - 1), n)


def sample(picture, x, y):
    """picture (C, H, W) at corner coordinates x, y (h, w) -> (C, h, w)."""
    _, H, W = picture.shape
    column, row = tent((x + 1) / 2 * (W - 1), W), tent((y + 1) / 2 * (H - 1), H)
    return torch.einsum("hwi,hwj,cij->chw", row, column, picture)


def naive_flow_loss(tensors, case, batch, naive, heads, temperature, sink, renormalize, mean):
    A = naive.map(tensors, case, heads, temperature=temperature, sink=sink)
    A = A[..., : case.key_grid[0] * case.key_grid[1]]  # drop the sinks after the head mean
    if renormalize:
        A = A / A.sum(-1, keepdim=True)
    hk, wk = case.key_grid
    C = torch.stack([corners(wk).repeat(hk), corners(hk).repeat_interleave(wk)], 1)
    flow = (A @ C).unflatten(2, case.query_grid)  # (B, H, h, w, 2)
    H, W = batch["person"].shape[-2:]
    up = torch.einsum(
        "ir,jc,bnrcd->bnijd", stretch(flow.shape[2], H), stretch(flow.shape[3], W), flow
    )
    total = flow.sum() * 0.0
    for b in range(case.batch):
        mask = batch["worn_mask"][b]
        for n in range(up.shape[1]):
            warped = sample(batch["garment"][b], up[b, n, ..., 0], up[b, n, ..., 1])
            error = ((warped * mask - batch["person"][b] * mask) ** 2).sum()
            size = max(3 * mask.sum().item(), 1) if mean else 1
            total = total + error / size / up.shape[1] / case.batch
    return total


def value_of(loss, case, batch):
    times = torch.zeros(case.batch)
    return lambda t: loss([case.record(t)], batch, timesteps=times, step=0)["loss"]


@given(
    data=st.data(),
    heads=st.sampled_from(["mean", "none", "mean_logit"]),
    temperature=st.sampled_from([2.0, 1.0, 0.5]),
    reduction=st.sampled_from(["mean", "sum"]),
)
@settings(deadline=None, max_examples=80, derandomize=True)
def test_without_sinks(naive, data, heads, temperature, reduction):
    case = data.draw(naive.CASES)
    batch = case.pictures()
    loss = AttentionFlowLoss(
        temperature=temperature, head_reduction=heads, pixel_reduction=reduction, **ALL_LAYERS
    )
    mean = reduction == "mean"
    naive.agree(
        value_of(loss, case, batch),
        lambda t: naive_flow_loss(t, case, batch, naive, heads, temperature, None, True, mean),
        case,
    )


@given(
    data=st.data(),
    heads=st.sampled_from(["mean", "none", "mean_logit"]),
    count=st.integers(1, 3),
    renormalize=st.booleans(),
)
@settings(deadline=None, max_examples=80, derandomize=True)
def test_with_sinks(naive, data, heads, count, renormalize):
    """Values and gradients, those of the sinks too."""
    case = data.draw(naive.CASES)
    batch = case.pictures()
    loss = AttentionFlowLoss(
        sink_dims={NAME: (case.heads, case.size)}, num_sinks=count, renormalize=renormalize,
        head_reduction=heads, **ALL_LAYERS,
    ).double()  # fmt: skip
    sink = loss.sinks["blocks/0/attn"]
    torch.nn.init.normal_(sink.data, generator=torch.Generator().manual_seed(case.seed))
    other = sink.detach().clone().requires_grad_()

    def reference(t):
        return naive_flow_loss(t, case, batch, naive, heads, 2.0, other, renormalize, True)

    run = value_of(loss, case, batch)
    naive.agree(run, reference, case)
    tensors = case.tensors()
    wanted = torch.autograd.grad(reference(tensors), other)[0]
    found = torch.autograd.grad(run(tensors), sink)[0]
    assert (found - wanted).norm() <= 1e-9 * max(1.0, wanted.norm().item())


@given(data=st.data(), heads=st.sampled_from(["mean", "none", "mean_logit"]))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_float32(naive, data, heads):
    case = data.draw(naive.CASES)
    batch = case.pictures()
    loss = AttentionFlowLoss(head_reduction=heads, **ALL_LAYERS)
    naive.agree_float32(
        value_of(loss, case, batch),
        lambda t: naive_flow_loss(t, case, batch, naive, heads, 2.0, None, True, True),
        case,
    )


def identity_record(grid, height_tokens=None):
    n = grid[0] * grid[1]
    key = torch.eye(n)[None, None]
    return AttentionRecord(
        name=NAME, query=key * 500, key=key, query_grid=grid, key_grid=grid, scale=1.0
    )


def test_identity_attention_warps_the_reference_onto_itself():
    """Absolute coordinates, not offsets: the identity map returns the garment as it is."""
    picture = torch.rand(1, 3, 24, 18)
    batch = {"person": picture, "garment": picture, "mask": torch.ones(1, 1, 24, 18)}
    out = AttentionFlowLoss(**ALL_LAYERS)(
        [identity_record((4, 3))], batch, timesteps=torch.zeros(1), step=0
    )
    assert out["loss"] < 1e-10
    batch["person"] = picture.flip(-1)
    out = AttentionFlowLoss(**ALL_LAYERS)(
        [identity_record((4, 3))], batch, timesteps=torch.zeros(1), step=0
    )
    assert out["loss"] > 0.01


def test_identity_gives_the_coordinate_map_and_uniform_the_centre():
    """In float64, through the warp at picture size too."""
    grid, key = (4, 3), torch.eye(12, dtype=torch.float64)[None, None]
    picture = torch.rand(1, 3, 16, 12, dtype=torch.float64)
    loss = AttentionFlowLoss(**ALL_LAYERS)
    for query, wanted in (
        (2e3 * key, corner_coordinates(grid, key)),
        (0 * key, torch.zeros(12, 2)),
    ):
        record = AttentionRecord(
            name=NAME, query=query, key=key, query_grid=grid, key_grid=grid, scale=1.0
        )
        flow = loss.flow(record)  # (1, 1, 12, 2)
        torch.testing.assert_close(flow[0, 0], wanted.double(), rtol=0, atol=1e-12)
        warped = warp_by_flow(picture, flow[:, 0].mT.unflatten(2, grid), (16, 12))
        centre = sample(picture[0], *torch.zeros(2, 1, 1, dtype=torch.float64))[:, 0, 0]
        shown = picture[0] if query.any() else centre[:, None, None].expand_as(picture[0])
        torch.testing.assert_close(warped[0], shown, rtol=0, atol=1e-12)
    assert corner_coordinates(grid, key)[[0, -1]].tolist() == [[-1, -1], [1, 1]]


def test_samples_at_or_above_the_threshold_and_coarse_layers_add_exactly_nothing(naive):
    """Their value is zero, their gradient is zero, and the mean still runs over all samples."""
    case = naive.Case(3, 2, 4, (4, 3), (4, 3), 0, 1.0, 1)
    batch, tensors = case.pictures(), case.tensors()
    fine = case.record(tensors)
    coarse = AttentionRecord(  # one row of queries: at 24 pixels, 1 / 24
        name="blocks.1.attn", query=fine.query[:, :, :3], key=fine.key, query_grid=(1, 3),
        key_grid=(4, 3), scale=1.0,
    )  # fmt: skip
    height = batch["person"].shape[-2]
    loss = AttentionFlowLoss(t_max=500, min_grid_ratio=1 / height)
    alone = AttentionFlowLoss(t_max=500, min_grid_ratio=0.0)
    times = torch.tensor([500.0, 750.0, 499.0])
    gated = loss([fine, coarse], batch, timesteps=times, step=0)["loss"]
    assert gated == alone([fine], batch, timesteps=times, step=0)["loss"] > 0
    gradient = torch.autograd.grad(gated, fine.query)[0]
    assert not gradient[:2].any() and gradient[2].any()
    assert alone([fine], batch, timesteps=times + 500, step=0)["loss"] == 0


def test_without_upsampling_it_compares_averages_at_the_token_grid():
    """Identity attention: each token's mean colour with the garment's, weighted by the mask."""
    g = torch.Generator().manual_seed(0)
    person, garment = torch.rand(2, 1, 3, 24, 18, generator=g)
    mask = torch.zeros(1, 1, 24, 18)
    mask[:, :, 5:20, 4:13] = 1
    batch = {"person": person[None], "garment": garment[None], "mask": mask}
    batch = {k: v.reshape(1, -1, 24, 18) for k, v in batch.items()}
    loss = AttentionFlowLoss(upsample=False, **ALL_LAYERS)
    found = loss([identity_record((4, 3))], batch, timesteps=torch.zeros(1), step=0)["loss"]
    cells = {k: v.unflatten(3, (3, 6)).unflatten(2, (4, 6)).mean((3, 5)) for k, v in batch.items()}
    squares = (cells["person"] - cells["garment"]).square() * cells["mask"]
    torch.testing.assert_close(found, squares.sum() / (3 * cells["mask"].sum()))


@pytest.mark.parametrize(("inclusive", "layers"), [(False, 1), (True, 2)])
def test_grid_ratio_is_strict_unless_asked(inclusive, layers):
    """At 96 pixels 1/32 is 3 rows; layers are summed, and identity layers cost the same."""
    picture = torch.rand(1, 3, 96, 72)
    batch = {"person": picture.flip(-1), "garment": picture, "mask": torch.ones(1, 1, 96, 72)}
    records = [identity_record(g) for g in ((4, 3), (3, 2), (2, 1))]
    loss = AttentionFlowLoss(inclusive_ratio=inclusive)
    assert len(loss.select(records, batch)) == layers
    with pytest.raises(ValueError, match=r"supervises no attention record; found .* \(2, 1\)"):
        loss([records[2]], batch, timesteps=torch.zeros(1), step=0)


def test_regions_targets_and_layer_sum(naive):
    """``target`` goes before ``person``, ``worn_mask`` before ``mask``; layers add up."""
    case = naive.Case(2, 2, 4, (4, 3), (4, 3), 0, 1.0, 1)
    batch, tensors, times = case.pictures(), case.tensors(), torch.zeros(2)
    record = case.record(tensors)
    one = AttentionFlowLoss()([record], batch, timesteps=times, step=0)["loss"]
    two = AttentionFlowLoss()([record, record], batch, timesteps=times, step=0)["loss"]
    torch.testing.assert_close(two, 2 * one)
    swapped = batch | {"target": batch["person"], "person": torch.zeros_like(batch["person"])}
    assert AttentionFlowLoss()([record], swapped, timesteps=times, step=0)["loss"] == one
    masked = batch | {"worn_mask": batch["mask"]}
    wanted = AttentionFlowLoss()([record], masked, timesteps=times, step=0)["loss"]
    loss = AttentionFlowLoss(region="mask")
    assert loss([record], batch, timesteps=times, step=0)["loss"] == wanted != one


def test_sinks_are_parameters_and_a_layer_without_its_own_is_named(naive):
    case = naive.Case(1, 2, 4, (4, 3), (4, 3), 0, 1.0, 1)
    loss = AttentionFlowLoss(sink_dims={"a.b": (2, 4)}, num_sinks=3)
    assert {k: v.shape for k, v in loss.state_dict().items()} == {"sinks.a/b": (2, 3, 4)}
    with pytest.raises(ValueError, match=r"no entry for layer 'blocks.0.attn', only for a\.b"):
        loss([case.record(case.tensors())], case.pictures(), timesteps=torch.zeros(1), step=0)
    one_head = AttentionFlowLoss(sink_dims={"blocks.0.attn": (2, 4)}, heads=[1])
    with pytest.raises(ValueError, match=r"2 heads of 4; those that are supervised .* are 1 of 4"):
        one_head([case.record(case.tensors())], case.pictures(), timesteps=torch.zeros(1), step=0)


def test_heads_that_look_only_at_the_sink_still_give_a_flow():
    """Weights of the heads come from log masses: no 0 / 0 where every garment mass underflows."""
    query = torch.full((1, 2, 12, 1), 1.0, requires_grad=True)
    key = torch.full((1, 2, 12, 1), -1e4)
    record = AttentionRecord(
        name=NAME, query=query, key=key, query_grid=(4, 3), key_grid=(4, 3), scale=1.0
    )
    picture = torch.rand(1, 3, 24, 18)
    batch = {"person": picture, "garment": picture, "mask": torch.ones(1, 1, 24, 18)}
    for renormalize in (True, False):
        loss = AttentionFlowLoss(sink_dims={NAME: (2, 1)}, renormalize=renormalize)
        out = loss([record], batch, timesteps=torch.zeros(1), step=0)
        grad = torch.autograd.grad(out["loss"], query)[0]
        assert torch.isfinite(out["loss"])
        assert torch.isfinite(grad).all()


def test_context_is_not_part_of_the_loss_softmax(naive):
    """Leffa: keys come from the reference alone; tokens of the generative half change nothing."""
    case = naive.Case(1, 2, 4, (4, 3), (4, 3), 6, 1.0, 1)
    tensors, batch = case.tensors(), case.pictures()
    loss = AttentionFlowLoss(sink_dims={NAME: (2, 4)}).double()
    values = [
        loss([case.record(t)], batch, timesteps=torch.zeros(1), step=0)
        for t in (tensors, {k: v for k, v in tensors.items() if k != "context_key"})
    ]
    assert values[0]["loss"] == values[1]["loss"]
    assert values[0]["garment_mass"] < values[1]["garment_mass"] == 1
