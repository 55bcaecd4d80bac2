"""Total variation of attention centroids, pair by pair."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vtonlab.losses import AttentionTVLoss
from vtonlab.structures.attention_record import AttentionRecord


def naive_tv(tensors, case, worn, naive, heads, normalize, pair_count):
    A = naive.map(tensors, case, head_reduction=heads)
    (h, w), (hk, wk) = case.query_grid, case.key_grid
    coords = torch.tensor([[c, r] for r in range(hk) for c in range(wk)], dtype=torch.float64)
    if normalize:
        coords = (coords + 0.5) / torch.tensor([wk, hk])
    F = (A @ coords).unflatten(2, (h, w))  # (B, H, h, w, 2)
    H, W = worn.shape[-2:]

    def inside(b, r, c):
        return worn[b, 0, int((r + 0.5) * H / h), int((c + 0.5) * W / w)] > 0

    total = F.sum() * 0.0
    for down, right in ((1, 0), (0, 1)):
        sums, counts = [], []
        for b in range(case.batch):
            pairs = [
                (F[b, :, r + down, c + right] - F[b, :, r, c]).abs().sum(-1).mean()
                for r in range(h - down)
                for c in range(w - right)
                if inside(b, r, c) and inside(b, r + down, c + right)
            ]
            sums.append(sum(pairs))
            counts.append(len(pairs))
        if pair_count == "batch":  # StableVITON's released code
            total = total + sum(sums) / max(sum(counts), 1)
        else:
            mean = [s / n for s, n in zip(sums, counts, strict=True) if n]
            total = total + sum(mean) / case.batch
    return total


@given(
    data=st.data(),
    heads=st.sampled_from(["mean", "none", "mean_logit"]),
    normalize=st.booleans(),
    pair_count=st.sampled_from(["sample", "batch"]),
    float32=st.booleans(),
)
@settings(deadline=None, max_examples=80, derandomize=True)
def test_against_pairs(naive, data, heads, normalize, pair_count, float32):
    case = data.draw(naive.CASES)
    worn = case.pictures()["worn_mask"]
    worn[:1] *= 0 if case.seed % 2 else 1  # an empty mask now and then
    loss = AttentionTVLoss(
        head_reduction=heads, normalize_coordinates=normalize, pair_count=pair_count
    )
    times = torch.full((case.batch,), 999.0)
    compare = naive.agree_float32 if float32 else naive.agree
    compare(
        lambda t: loss([case.record(t)], {"worn_mask": worn}, timesteps=times, step=0)["loss"],
        lambda t: naive_tv(t, case, worn, naive, heads, normalize, pair_count),
        case,
    )


def one_hot_record(target, query_grid, key_grid):
    key = torch.eye(key_grid[0] * key_grid[1], dtype=torch.float64)[None, None]
    return AttentionRecord(
        name="a", query=key[:, :, target] * 500, key=key, query_grid=query_grid,
        key_grid=key_grid, scale=1.0,
    )  # fmt: skip


def run(loss, record, worn=None):
    worn = torch.ones(1, 1, 8, 6) if worn is None else worn
    return loss([record], {"worn_mask": worn}, timesteps=torch.zeros(1), step=0)["loss"]


def test_constant_centroid_costs_nothing():
    record = one_hot_record(torch.full((12,), 5), (4, 3), (4, 3))
    assert run(AttentionTVLoss(), record) == 0


def test_identity_map_costs_one_token_per_direction():
    """The centroid moves by one token per token: |dy| = 1 downwards, |dx| = 1 sideways."""
    record = one_hot_record(torch.arange(12), (4, 3), (4, 3))
    assert abs(run(AttentionTVLoss(), record) - 2) < 1e-12
    unit = run(AttentionTVLoss(normalize_coordinates=True), record)
    assert abs(unit - (1 / 4 + 1 / 3)) < 1e-12


def test_jumps_across_the_mask_border_do_not_count():
    target = torch.tensor([0, 0, 11] * 4)
    worn = torch.ones(1, 1, 8, 6)
    worn[..., 4:] = 0
    record = one_hot_record(target, (4, 3), (4, 3))
    assert run(AttentionTVLoss(), record, worn) == 0
    assert run(AttentionTVLoss(), record) > 1


def test_grids_choose_the_layers(naive):
    small = naive.Case(1, 1, 2, (2, 2), (2, 2), 0, 1.0, 0)
    large = naive.Case(1, 1, 2, (4, 3), (4, 3), 0, 1.0, 0)
    records = [c.record(c.tensors(), n) for c, n in ((small, "small"), (large, "large"))]
    batch = large.pictures()
    both, one = AttentionTVLoss(grids=[[4, 3]]), AttentionTVLoss(layers=["large"])
    a, b = (x(records, batch, timesteps=torch.zeros(1), step=0)["loss"] for x in (both, one))
    assert a == b
    with pytest.raises(ValueError, match=r"supervises no attention record; found small \(2, 2\)"):
        AttentionTVLoss(grids=[(8, 6)])(records, batch, timesteps=torch.zeros(1), step=0)
