"""Distillation against CORAL's formula written out over the materialised map."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vtonlab.losses import CorrespondenceDistillationLoss
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Correspondences, cell_centres

HEADS = st.sampled_from(["mean", "none", "mean_logit"])


def centres(grid):
    h, w = grid
    return torch.tensor(
        [[(c + 0.5) / w, (r + 0.5) / h] for r in range(h) for c in range(w)], dtype=torch.float64
    )


def cell(point, grid):
    h, w = grid
    return min(int(point[1] * h), h - 1) * w + min(int(point[0] * w), w - 1)


def naive_regression(tensors, case, matches, naive, heads, distance, delta=0.05):
    A = naive.map(tensors, case, head_reduction=heads)  # (B, H, Nq, Nk)
    found = A @ centres(case.key_grid)
    total = 0.0
    for b, match in enumerate(matches):
        cells = {}
        for p, g, s in zip(match.person_points, match.garment_points, match.scores, strict=True):
            cells.setdefault(cell(p, case.query_grid), []).append((g.double(), s.double()))
        for i, members in cells.items():
            truth = sum(g * s for g, s in members) / sum(s for _, s in members)
            gap = found[b, :, i] - truth.float().double()  # targets are float32 data
            if distance == "l1":
                d = gap.abs().sum(-1)
            elif distance == "l2":
                d = (gap**2).sum(-1)
            else:
                small = gap.abs() <= delta
                d = torch.where(small, gap**2 / 2, delta * (gap.abs() - delta / 2)).sum(-1)
            total = total + d.mean() / len(cells) / len(matches)
    return torch.as_tensor(total, dtype=torch.float64)


def naive_cross_entropy(tensors, case, matches, naive, heads, interpolation):
    log_map = naive.log_map(
        tensors, case, head_reduction="mean_logit" if heads == "mean_logit" else "none"
    )
    if heads == "mean":
        log_map = log_map.exp().mean(1, keepdim=True).log()
    h, w = case.key_grid
    total = 0.0
    for b, match in enumerate(matches):
        p = {}
        for person, garment, score in zip(
            match.person_points, match.garment_points, match.scores, strict=True
        ):
            row = p.setdefault(cell(person, case.query_grid), torch.zeros(h * w).double())
            if interpolation == "nearest":
                row[cell(garment, case.key_grid)] += score.double()
                continue
            x = float((garment[0] * w - 0.5).clamp(0, w - 1))
            y = float((garment[1] * h - 0.5).clamp(0, h - 1))
            for r in range(h):
                for c in range(w):  # the tent function
                    row[r * w + c] += score * max(0, 1 - abs(x - c)) * max(0, 1 - abs(y - r))
        for i, row in p.items():
            row = (row / row.sum()).float().double()  # targets are float32 data
            used = row > 0
            ce = -(row[used] * log_map[b, :, i][:, used]).sum(-1)
            total = total + ce.mean() / len(p) / len(matches)
    return torch.as_tensor(total, dtype=torch.float64)


def value_of(loss, case, matches):
    times = torch.zeros(case.batch)

    def run(tensors):
        batch = {"correspondences": matches}
        return loss([case.record(tensors)], batch, timesteps=times, step=0)["loss"]

    return run


@given(data=st.data(), heads=HEADS, distance=st.sampled_from(["l1", "l2", "huber"]))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_regression(naive, data, heads, distance):
    case = data.draw(naive.CASES)
    matches = case.matches(empty=(1,))
    loss = CorrespondenceDistillationLoss(distance=distance, head_reduction=heads)
    naive.agree(
        value_of(loss, case, matches),
        lambda t: naive_regression(t, case, matches, naive, heads, distance),
        case,
    )


@given(data=st.data(), heads=HEADS, interpolation=st.sampled_from(["nearest", "bilinear"]))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_cross_entropy(naive, data, heads, interpolation):
    case = data.draw(naive.CASES)
    matches = case.matches(empty=(1,))
    loss = CorrespondenceDistillationLoss(
        form="cross_entropy", interpolation=interpolation, head_reduction=heads
    )
    naive.agree(
        value_of(loss, case, matches),
        lambda t: naive_cross_entropy(t, case, matches, naive, heads, interpolation),
        case,
    )


def joint_map(tensors, case):
    """The garment's columns of the block's whole softmax: (B, H, Nq, Nk)."""
    keys = torch.cat([tensors["key"], *[v for k, v in tensors.items() if k == "context_key"]], 2)
    logits = tensors["query"] @ keys.mT * (case.logit_scale / case.size**0.5)
    return logits.log_softmax(-1)[..., : tensors["key"].shape[2]]


class Joint:
    """Stands in for ``naive``, over the joint softmax."""

    @staticmethod
    def map(tensors, case, head_reduction):
        A = joint_map(tensors, case).exp().mean(1, keepdim=True)
        return A / A.sum(-1, keepdim=True)

    @staticmethod
    def log_map(tensors, case, head_reduction):
        return joint_map(tensors, case)


@given(data=st.data(), form=st.sampled_from(["regression", "cross_entropy"]))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_joint_softmax(naive, data, form):
    """METHODS.md A1's other reading: the slice, renormalised after the head mean or kept as is."""
    case = data.draw(naive.CASES)
    case = dataclasses.replace(case, logit_scale=min(case.logit_scale, 4.0))
    matches = case.matches(empty=(1,))
    loss = CorrespondenceDistillationLoss(form=form, normalization="joint", interpolation="nearest")

    def reference(t):
        if form == "regression":
            return naive_regression(t, case, matches, Joint, "mean", "l1")
        return naive_cross_entropy(t, case, matches, Joint, "mean", "nearest")

    naive.agree(value_of(loss, case, matches), reference, case)


def test_a_normalization_that_changes_nothing_is_told():
    with pytest.warns(UserWarning, match="changes nothing"):
        CorrespondenceDistillationLoss(normalization="joint", head_reduction="none")


@given(
    data=st.data(),
    heads=HEADS,
    form=st.sampled_from(["regression", "cross_entropy"]),
    distance=st.sampled_from(["l1", "l2", "huber"]),
)
@settings(deadline=None, max_examples=80, derandomize=True)
def test_float32(naive, data, heads, form, distance):
    case = data.draw(naive.CASES)
    matches = case.matches()
    loss = CorrespondenceDistillationLoss(
        form=form, distance=distance, head_reduction=heads, interpolation="nearest"
    )

    def reference(tensors):
        if form == "regression":
            return naive_regression(tensors, case, matches, naive, heads, distance)
        return naive_cross_entropy(tensors, case, matches, naive, heads, "nearest")

    naive.agree_float32(value_of(loss, case, matches), reference, case)


def one_hot_record(target, query_grid, key_grid, gain=400.0):
    """A record whose map is one-hot: query i attends to key ``target[i]`` alone."""
    key = torch.eye(key_grid[0] * key_grid[1], dtype=torch.float64)[None, None].repeat(1, 2, 1, 1)
    query = key[:, :, target] * gain
    return AttentionRecord(
        name="a", query=query, key=key, query_grid=query_grid, key_grid=key_grid, scale=1.0
    )


@pytest.mark.parametrize("form", ["regression", "cross_entropy"])
def test_one_hot_at_the_target_costs_nothing(form):
    target = torch.tensor([5, 0, 3, 11, 7, 7])
    record = one_hot_record(target, (2, 3), (4, 3))
    match = Correspondences(cell_centres((2, 3)), cell_centres((4, 3))[target])
    loss = CorrespondenceDistillationLoss(form=form)
    out = loss([record], {"correspondences": [match]}, timesteps=torch.zeros(1), step=0)
    assert out["loss"] < 2e-7  # targets are float32


def test_uniform_attention_points_to_the_centre():
    record = AttentionRecord(
        name="a", query=torch.zeros(1, 2, 6, 4), key=torch.randn(1, 2, 20, 4), query_grid=(2, 3),
        key_grid=(5, 4), scale=1.0,
    )  # fmt: skip
    match = Correspondences(torch.tensor([[0.1, 0.1]]), torch.tensor([[0.9, 0.2]]))
    loss = CorrespondenceDistillationLoss(distance="l1")
    out = loss([record], {"correspondences": [match]}, timesteps=torch.zeros(1), step=0)
    torch.testing.assert_close(out["loss"], torch.tensor(0.4 + 0.3))


def test_cross_entropy_of_the_target_itself_is_its_entropy(naive):
    """With q = p, the loss is the entropy of p."""
    p = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    record = AttentionRecord(
        name="a", query=torch.ones(1, 1, 1, 1).double(), key=p.log()[None, None, :, None],
        query_grid=(1, 1), key_grid=(2, 2), scale=1.0,
    )  # fmt: skip
    match = Correspondences(torch.full((4, 2), 0.5), cell_centres((2, 2)), p.float())
    for heads in ("mean", "none", "mean_logit"):
        loss = CorrespondenceDistillationLoss(
            form="cross_entropy", interpolation="nearest", head_reduction=heads
        )
        out = loss([record], {"correspondences": [match]}, timesteps=torch.zeros(1), step=0)
        torch.testing.assert_close(out["loss"], -(p * p.log()).sum(), rtol=0, atol=1e-12)


def test_missing_matches_are_named(naive):
    case = naive.Case(1, 1, 2, (1, 2), (1, 2), 0, 1.0, 0)
    with pytest.raises(ValueError, match="needs 'correspondences' in the batch, which has mask"):
        CorrespondenceDistillationLoss()(
            [case.record(case.tensors())], {"mask": None}, timesteps=torch.zeros(1), step=0
        )


@pytest.mark.parametrize(
    "option",
    [{"form": "ce"}, {"distance": "L1"}, {"interpolation": "cubic"}, {"head_reduction": 3}],
)
def test_unknown_options_list_the_known_ones(option):
    with pytest.raises(ValueError, match="must be one of"):
        CorrespondenceDistillationLoss(**option)
