"""Entropy against -sum p log p over the materialised map."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vtonlab.losses import AttentionEntropyLoss
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Correspondences

HEADS = st.sampled_from(["mean", "none", "mean_logit"])


def tokens_of(match, grid):
    h, w = grid
    return {
        min(int(y * h), h - 1) * w + min(int(x * w), w - 1) for x, y in match.person_points.tolist()
    }


def tokens_in(mask, grid):
    """Tokens whose centre lies in a pixel of the mask."""
    (h, w), (H, W) = grid, mask.shape
    return {
        r * w + c
        for r in range(h)
        for c in range(w)
        if mask[int((r + 0.5) * H / h), int((c + 0.5) * W / w)] > 0
    }


def naive_entropy(tensors, case, tokens, naive, heads, normalize=True):
    log_map = naive.log_map(
        tensors, case, head_reduction="mean_logit" if heads == "mean_logit" else "none"
    )
    A = log_map.exp()
    if heads == "mean":
        A = A.mean(1, keepdim=True)
        H = torch.special.entr(A).sum(-1)
    else:
        H = -(A * log_map).sum(-1)  # (B, H, Nq)
    total = H.sum() * 0.0
    for b, chosen in enumerate(tokens):
        if chosen:
            total = total + H[b, :, sorted(chosen)].mean() / len(tokens)
    size = math.log(case.key_grid[0] * case.key_grid[1]) or 1.0
    return total / size if normalize else total


def value_of(loss, case, batch):
    times = torch.zeros(case.batch)
    return lambda t: loss([case.record(t)], batch, timesteps=times, step=0)["loss"]


@given(data=st.data(), heads=HEADS, normalize=st.booleans(), half=st.booleans())
@settings(deadline=None, max_examples=80, derandomize=True)
def test_over_matched_tokens(naive, data, heads, normalize, half):
    case = data.draw(naive.CASES)
    matches = case.matches(empty=(1,))
    tokens = [tokens_of(m, case.query_grid) for m in matches]
    loss = AttentionEntropyLoss(head_reduction=heads, normalize=normalize)
    compare = naive.agree_float32 if half else naive.agree
    compare(
        value_of(loss, case, {"correspondences": matches}),
        lambda t: naive_entropy(t, case, tokens, naive, heads, normalize),
        case,
    )


@given(data=st.data(), heads=HEADS, key=st.sampled_from(["worn_mask", "mask"]))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_over_masked_tokens(naive, data, heads, key):
    case = data.draw(naive.CASES)
    batch = {key: case.pictures()[key]}
    tokens = [tokens_in(m[0], case.query_grid) for m in batch[key]]
    loss = AttentionEntropyLoss(queries="mask", head_reduction=heads)
    naive.agree(
        value_of(loss, case, batch), lambda t: naive_entropy(t, case, tokens, naive, heads), case
    )


def record_of(query, key, grid):
    return AttentionRecord(
        name="a", query=query, key=key, query_grid=(1, 1), key_grid=grid, scale=1.0
    )


@pytest.mark.parametrize("heads", ["mean", "none", "mean_logit"])
def test_uniform_is_one_and_one_hot_is_zero(heads):
    loss = AttentionEntropyLoss(head_reduction=heads)
    batch = {"correspondences": [Correspondences(torch.full((1, 2), 0.5), torch.zeros(1, 2))]}
    key = torch.eye(12, dtype=torch.float64)[None, None].repeat(1, 3, 1, 1)
    for query, wanted in ((key[:, :, :1] * 0, 1.0), (key[:, :, :1] * 500, 0.0)):
        out = loss([record_of(query, key, (3, 4))], batch, timesteps=torch.zeros(1), step=0)
        assert abs(out["loss"] - wanted) < 1e-12


def test_heads_that_disagree_cost_only_the_head_mean():
    """Two heads, each sharp on its own key: log 2 for the head-averaged map, nothing per head."""
    key = torch.eye(4, dtype=torch.float64)[None, None].repeat(1, 2, 1, 1)
    query = torch.stack([key[0, 0, :1], key[0, 0, 1:2]])[None] * 500
    batch = {"correspondences": [Correspondences(torch.full((1, 2), 0.5), torch.zeros(1, 2))]}
    for heads, wanted in (("mean", math.log(2)), ("none", 0.0)):
        loss = AttentionEntropyLoss(head_reduction=heads, normalize=False)
        out = loss([record_of(query, key, (2, 2))], batch, timesteps=torch.zeros(1), step=0)
        assert abs(out["loss"] - wanted) < 1e-12
