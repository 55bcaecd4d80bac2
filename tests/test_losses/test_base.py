"""What all attention losses share: gates, schedule, layers, the reduction, and empty samples."""

import gc
import math
import sys
import weakref
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from scenes import LOSSES, build, every_loss, part, scene

from vtonlab.losses import (
    AttentionEntropyLoss,
    CorrespondenceDistillationLoss,
    record_views,
)
from vtonlab.losses.queries import masked_queries, matched_queries
from vtonlab.registry import ATTENTION_LOSSES
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Correspondences

NAME = "blocks.0.attn"


@every_loss
def test_empty_samples_cost_exactly_zero_with_finite_gradients(naive, name):
    case, tensors, batch = scene(naive)
    loss = build(name)
    out = loss([case.record(tensors)], batch, timesteps=torch.zeros(4), step=0)
    grads = torch.autograd.grad(out["loss"], [tensors["query"], tensors["key"]])
    for grad in grads:
        assert torch.isfinite(grad).all()
        assert grad[[1, 2]].abs().max() == 0
        assert grad[0].abs().max() > 0
        assert grad[3].abs().max() > 0
    assert out["active"] == 0.5
    assert abs(out["value"] - 2 * out["loss"]) < 1e-12
    assert not any(v.requires_grad for k, v in out.items() if k != "loss")
    alone = loss(
        [case.record({k: v[:1] for k, v in tensors.items()})], part(batch, [0]),
        timesteps=torch.zeros(1), step=0,
    )["loss"]  # fmt: skip
    other = loss(
        [case.record({k: v[3:] for k, v in tensors.items()})], part(batch, [3]),
        timesteps=torch.zeros(1), step=0,
    )["loss"]  # fmt: skip
    torch.testing.assert_close(out["loss"], (alone + other) / 4)


@every_loss
def test_a_batch_with_nothing_to_supervise(naive, name):
    """Exactly zero, in the graph, and every parameter of the loss gets a gradient."""
    case, tensors, batch = scene(naive, empty=(0, 1, 2, 3))
    loss = build(name).double()
    out = loss([case.record(tensors)], batch, timesteps=torch.zeros(4), step=0)
    assert out["loss"] == 0
    assert out["loss"].requires_grad
    out["loss"].backward()
    for leaf in (tensors["query"], tensors["key"], *loss.parameters()):
        assert leaf.grad is not None
        assert (leaf.grad == 0).all()
    assert 0 < out["garment_mass"] < 1
    assert out["active"] == out["value"] == 0


@every_loss
def test_two_ranks_agree_with_one(naive, name):
    """The mean over half batches is the full batch, in value and gradient: no rank-wise counts."""
    case, tensors, batch = scene(naive, empty=(1, 2))
    loss = build(name).double()
    times = torch.tensor([10.0, 20.0, 30.0, 700.0])
    full = loss([case.record(tensors)], batch, timesteps=times, step=0)["loss"]
    halves = [
        loss(
            [case.record({k: v[r] for k, v in tensors.items()})], part(batch, r),
            timesteps=times[r], step=0,
        )["loss"]
        for r in ([0, 1], [2, 3])
    ]  # fmt: skip
    wanted = sum(halves) / 2
    torch.testing.assert_close(full, wanted, rtol=0, atol=1e-12)
    leaves = [tensors["query"], tensors["key"], *loss.parameters()]
    pairs = zip(torch.autograd.grad(full, leaves), torch.autograd.grad(wanted, leaves), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@every_loss
def test_the_gate_is_strict_and_multiplies(naive, name):
    case, tensors, batch = scene(naive, empty=())
    loss = build(name, t_max=300.0)
    times = torch.tensor([299.9, 300.0, 300.1, 0.0])
    out = loss([case.record(tensors)], batch, timesteps=times, step=0)
    grad = torch.autograd.grad(out["loss"], tensors["query"])[0]
    assert [bool(g.abs().max() > 0) for g in grad] == [True, False, False, True]
    assert out["active"] == 0.5


@every_loss
def test_weight_and_warm_up(naive, name):
    case, tensors, batch = scene(naive)
    records, times = [case.record(tensors)], torch.zeros(4)
    base = build(name)(records, batch, timesteps=times, step=0)
    loss = build(name, weight=10.0, start_iter=100, warmup_iters=4)
    wanted = {0: 0, 99: 0, 100: 0.25, 101: 0.5, 103: 1, 104: 1, 5000: 1}
    for step, share in wanted.items():
        out = loss(records, batch, timesteps=times, step=step)
        torch.testing.assert_close(out["loss"], base["loss"] * 10 * share)
        assert out["value"] == base["value"]
    sudden = build(name, start_iter=7)
    assert sudden(records, batch, timesteps=times, step=6)["loss"] == 0
    assert sudden(records, batch, timesteps=times, step=7)["loss"] == base["loss"]


@every_loss
def test_a_loss_ends(naive, name):
    """Linearly over ``cooldown_iters``; from ``end_iter`` on it lets no sample in."""
    case, tensors, batch = scene(naive)
    records, times = [case.record(tensors)], torch.zeros(4)
    base = build(name)(records, batch, timesteps=times, step=0)["loss"]
    loss = build(name, start_iter=10, end_iter=100, cooldown_iters=4)
    for step, share in {9: 0, 10: 1, 96: 1, 97: 0.75, 99: 0.25, 100: 0, 5000: 0}.items():
        found = loss(records, batch, timesteps=times, step=step)["loss"]
        torch.testing.assert_close(found, base * share)
        assert bool(loss.inside(times, step).any()) == (share > 0)
    sudden = build(name, end_iter=7)
    assert sudden.ramp(6) == 1.0 and sudden.ramp(7) == 0.0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (dict(end_iter=5, start_iter=5), "end_iter=5: a step after start_iter=5"),
        (dict(end_iter=10, cooldown_iters=20), "with room for cooldown_iters=20"),
        (dict(end_iter=float("inf")), "or None"),
        (dict(cooldown_iters=3), "give end_iter"),
        (dict(cooldown_iters=-1, end_iter=3), "cooldown_iters=-1: a number from 0 on"),
    ],
)
def test_an_end_before_the_start_is_told(wrong, told):
    with pytest.raises(ValueError, match=told):
        build(next(iter(LOSSES)), **wrong)


@every_loss
def test_layers_are_averaged_or_summed(naive, name):
    case, tensors, batch = scene(naive)
    other = naive.Case(4, 2, 4, (2, 3), (4, 4), 0, 1.0, 9)
    records = [
        case.record(tensors),
        other.record(other.tensors(), "blocks.1.attn"),
        other.record(other.tensors(), "blocks.2.attn"),
    ]
    times = torch.zeros(4)

    def run(chosen, **options):
        return build(name, **options)(chosen, batch, timesteps=times, step=0)["loss"]

    single = [run([r]) for r in records]
    torch.testing.assert_close(run(records, layer_reduction="mean"), sum(single) / 3)
    torch.testing.assert_close(run(records, layer_reduction="sum"), sum(single))
    picked = run(records, layers=["*.0.attn", "blocks.2.*"], layer_reduction="mean")
    torch.testing.assert_close(picked, (single[0] + single[2]) / 2)


@every_loss
def test_chosen_heads_are_as_if_there_were_no_others(naive, name):
    """The loss is that of a record of these heads alone; the others get no gradient."""
    case, tensors, batch = scene(naive)
    times = torch.zeros(4)
    one = {k: v[:, 1:].detach().requires_grad_() for k, v in tensors.items()}
    sinks = {"sink_dims": {NAME: (1, 4)}} if name == "flow_sinks" else {}
    wanted = build(name, **sinks)([case.record(one)], batch, timesteps=times, step=0)
    second = build(name, heads=[1], **sinks)
    found = second([case.record(tensors)], batch, timesteps=times, step=0)
    for key, value in found.items():
        torch.testing.assert_close(value, wanted[key])
    for kind in ("query", "key"):
        (grad,) = torch.autograd.grad(found["loss"], tensors[kind], retain_graph=True)
        (alone,) = torch.autograd.grad(wanted["loss"], one[kind], retain_graph=True)
        assert grad[:, :1].abs().max() == 0
        torch.testing.assert_close(grad[:, 1:], alone)
    every = build(name, heads=[0, 1])([case.record(tensors)], batch, timesteps=times, step=0)
    assert (
        every["loss"] == build(name)([case.record(tensors)], batch, timesteps=times, step=0)["loss"]
    )
    with pytest.raises(ValueError, match=r"heads=\[2\]: .*'blocks.0.attn' has heads 0 to 1"):
        build(name, heads=[2])([case.record(tensors)], batch, timesteps=times, step=0)


@every_loss
def test_half_precision_under_autocast_is_computed_in_float32(naive, name):
    case, tensors, batch = scene(naive, dtype=torch.float32)
    half = {k: v.detach().bfloat16() for k, v in tensors.items()}
    exact = {k: v.float() for k, v in half.items()}
    times = torch.zeros(4)
    wanted = build(name)([case.record(exact)], batch, timesteps=times, step=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = build(name)([case.record(half)], batch, timesteps=times, step=0)
    for key, value in found.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, wanted[key], rtol=1e-6, atol=1e-7)


@every_loss
def test_gradients_survive_logits_of_ten_thousand(naive, name):
    case, _, batch = scene(naive, dtype=torch.float32)
    sharp = naive.Case(4, 2, 4, case.query_grid, case.key_grid, 3, 1e4, 5)
    tensors = sharp.tensors(torch.float32)
    out = build(name)([sharp.record(tensors)], batch, timesteps=torch.zeros(4), step=0)
    assert torch.isfinite(out["loss"])
    for grad in torch.autograd.grad(out["loss"], [tensors["query"], tensors["key"]]):
        assert torch.isfinite(grad).all()


def test_a_pattern_without_a_record_lists_what_exists(naive):
    case, tensors, batch = scene(naive)
    loss = AttentionEntropyLoss(layers=["blocks.0.*", "single.*"])
    with pytest.raises(ValueError, match=r"'single\.\*' matches no .* there are blocks\.0\.attn"):
        loss([case.record(tensors)], batch, timesteps=torch.zeros(4), step=0)
    with pytest.raises(ValueError, match="supervises no attention record; found none"):
        AttentionEntropyLoss()([], batch, timesteps=torch.zeros(4), step=0)


def test_settings_that_cannot_be_meant():
    with pytest.raises(ValueError, match=r"must be a list .* \['blocks"):
        AttentionEntropyLoss(layers="blocks.*")
    with pytest.raises(ValueError, match="layers is empty"):
        AttentionEntropyLoss(layers=[])
    for heads in ([], [0, 0], [-1], 1, "1", [0.5], [True]):
        with pytest.raises(ValueError, match=r"heads=.*: a list of numbers from 0 on, each once"):
            AttentionEntropyLoss(heads=heads)
    with pytest.raises(ValueError, match="layer_reduction must be one of 'mean', 'sum'"):
        AttentionEntropyLoss(layer_reduction="max")
    with pytest.raises(TypeError, match="lambda_ent"):
        ATTENTION_LOSSES.build({"type": "AttentionEntropyLoss", "lambda_ent": 1})


def test_records_of_a_guided_pass_are_refused(naive):
    case, tensors, batch = scene(naive)
    with pytest.raises(ValueError, match="holds 4 samples but there are 2 timesteps"):
        AttentionEntropyLoss()([case.record(tensors)], batch, timesteps=torch.zeros(2), step=0)


def test_garment_mass_is_that_of_the_supervised_queries(naive):
    case, tensors, batch = scene(naive)
    scale = case.logit_scale / case.size**0.5
    keys = torch.cat([tensors["key"], tensors["context_key"]], 2)
    joint = (tensors["query"] @ keys.mT * scale).softmax(-1)[..., :15].sum(-1).mean(1)  # (B, Nq)
    per_sample = []
    for sample in (0, 3):
        index, _ = batch["correspondences"][sample].to_queries(case.query_grid)
        per_sample.append(joint[sample, index].mean())
    out = CorrespondenceDistillationLoss()(
        [case.record(tensors)], batch, timesteps=torch.zeros(4), step=0
    )
    torch.testing.assert_close(out["garment_mass"], sum(per_sample) / 2)


def test_records_keep_no_reference_to_the_graph(naive):
    """Only the loss itself is in the graph: monitors kept for logging hold no tensors alive."""
    case, tensors, batch = scene(naive)
    out = AttentionEntropyLoss()([case.record(tensors)], batch, timesteps=torch.zeros(4), step=0)
    assert all(v.grad_fn is None for k, v in out.items() if k != "loss")


def test_padding_is_never_counted():
    matches = [
        Correspondences(torch.tensor([[0.9, 0.9], [0.1, 0.1]]), torch.rand(2, 2)),
        Correspondences.empty(),
    ]
    queries, points = matched_queries(matches, (2, 2), torch.device("cpu"))
    assert queries.index.tolist() == [[0, 3], [0, 0]]
    assert queries.weight.tolist() == [[1, 1], [0, 0]]
    assert points.shape == (2, 2, 2)
    values = torch.tensor([[1.0, 3.0], [7.0, 7.0]], dtype=torch.float64)
    assert queries.mean(values).tolist() == [2.0, 0.0]
    assert queries.counts == (2, 0) and not queries.nowhere


def test_mask_queries_are_the_tokens_whose_centre_is_inside():
    mask = torch.zeros(2, 1, 8, 6)
    mask[0, 0, :, 3:] = 1
    queries = masked_queries(mask, (4, 3))
    found = [
        sorted(i for i, w in zip(index, weight, strict=True) if w)
        for index, weight in zip(queries.index.tolist(), queries.weight.tolist(), strict=True)
    ]
    assert found == [[1, 2, 4, 5, 7, 8, 10, 11], []]
    assert math.isclose(queries.count.sum().item(), 8)


def test_a_record_of_another_grid_needs_no_other_batch(naive):
    """The same batch supervises any grids: targets are rasterised for each record."""
    _, _, batch = scene(naive)
    loss = build("cross_entropy")
    for grids in (((1, 1), (1, 1)), ((24, 18), (7, 2))):
        nq, nk = (h * w for h, w in grids)
        record = AttentionRecord(
            name=NAME, query=torch.randn(4, 1, nq, 3), key=torch.randn(4, 1, nk, 3),
            query_grid=grids[0], key_grid=grids[1], scale=1.0,
        )  # fmt: skip
        assert torch.isfinite(loss([record], batch, timesteps=torch.zeros(4), step=0)["loss"])


def test_losses_of_a_step_share_rows_and_nothing_outlives_the_records(naive):
    """One garment mass for all losses over the same queries; gone with the records."""
    case, tensors, batch = scene(naive)
    records, times = [case.record(tensors)], torch.zeros(4)
    calls = []
    whole = AttentionRecord.garment_mass
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            AttentionRecord, "garment_mass", lambda self: calls.append(self.name) or whole(self)
        )
        with torch.no_grad():
            build("regression")(records, batch, timesteps=times, step=0)
        first = build("regression")(records, batch, timesteps=times, step=0)
        second = build("entropy_per_head")(records, batch, timesteps=times, step=0)
    assert len(calls) == 2  # without gradients, and with
    assert first["garment_mass"] == second["garment_mass"]
    for out in (first, second, first):  # each has a graph of its own, and keeps it if told to
        torch.autograd.grad(out["loss"], tensors["query"], retain_graph=out is first)
    kept = [weakref.ref(records[0]), weakref.ref(next(iter(record_views._views.values()))[0][2])]
    del records, first, second, out
    gc.collect()
    assert [ref() for ref in kept] == [None, None]
