"""What gates and start iterations leave out is not computed; what is left is what it was."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from scenes import LOSSES, build, every_loss, scene

from vtonlab.losses.supervised_batch import SupervisedBatch
from vtonlab.losses.supervision import Supervision
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Correspondences


@every_loss
def test_some_samples_give_the_loss_and_gradients_of_all(naive, name):
    case, tensors, batch = scene(naive, empty=(1,))
    loss = build(name, t_max=300.0).double()
    times = torch.tensor([299.0, 10.0, 300.0, 5.0])
    leaves = [tensors["query"], tensors["key"], *loss.parameters()]
    whole = loss([case.record(tensors)], batch, timesteps=times, step=0)
    supervision = Supervision({"it": loss}, times, 0)
    assert supervision.samples == [0, 1, 3]
    some = supervision([case.record(tensors)], batch, tensors["query"])
    for key in ("value", "active"):
        torch.testing.assert_close(some[f"it_{key}"], whole[key], rtol=0, atol=1e-12)
    torch.testing.assert_close(some["loss_it"], whole["loss"], rtol=0, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(some["loss_it"], leaves),
        torch.autograd.grad(whole["loss"], leaves),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("why", ["outside the gate", "before the start"])
def test_nothing_to_act_on_asks_for_nothing(naive, why):
    """No layer, no target, no map; own parameters join the graph all the same."""
    _, tensors, _ = scene(naive, empty=())
    early = dict(start_iter=100) if why == "before the start" else dict(t_max=300.0)
    losses = {name: build(name, **early) for name in ("regression", "tv", "flow_sinks")}
    supervision = Supervision(losses, torch.full((4,), 500.0), 7)
    assert supervision.layers == [] and supervision.samples == []
    found = supervision([], {}, tensors["query"])
    assert all(found[f"loss_{name}"] == 0 for name in losses)
    assert ("tv_active" in found) == (why == "outside the gate")
    assert not any("garment_mass" in key for key in found)
    found["loss_flow_sinks"].backward()
    assert all((p.grad == 0).all() for p in losses["flow_sinks"].parameters())


def test_layers_are_those_of_the_losses_that_act():
    losses = {
        "one": build("regression", layers=["a", "b"], t_max=300.0),
        "two": build("entropy", layers=["b", "c"], t_max=900.0),
        "late": build("entropy", layers=["d"], start_iter=10),
    }
    times = torch.tensor([500.0, 950.0])
    assert Supervision(losses, times, 0).layers == ["b", "c"]
    assert Supervision(losses, times, 0).samples == [0]
    assert Supervision(losses, times - 400, 10).layers == ["a", "b", "c", "d"]


def test_a_loss_that_reads_the_whole_batch_gets_it(naive):
    case, tensors, batch = scene(naive, empty=(1,))
    times = torch.tensor([299.0, 10.0, 300.0, 5.0])
    loss = build("tv", t_max=300.0, pair_count="batch")
    supervision = Supervision({"it": loss}, times, 0)
    assert supervision.samples is None
    found = supervision([case.record(tensors)], batch, tensors["query"])["loss_it"]
    whole = loss([case.record(tensors)], batch, timesteps=times, step=0)["loss"]
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)


def test_targets_are_made_once_for_a_grid_and_kind(naive, monkeypatch):
    """Whatever the losses and layers, and for no sample outside every gate."""
    case, tensors, batch = scene(naive, empty=())
    calls = []
    for name in ("to_queries", "to_coo"):
        one = getattr(Correspondences, name)
        monkeypatch.setattr(
            Correspondences,
            name,
            lambda self, *a, one=one, name=name, **k: calls.append(name) or one(self, *a, **k),
        )
    records = [case.record(tensors, f"blocks.{n}.attn") for n in range(2)]
    kinds = ("regression", "joint", "entropy", "cross_entropy")
    losses = {name: build(name) for name in kinds}
    times = torch.tensor([0.0, 900.0, 0.0, 900.0])
    Supervision(losses, times, 0)(records, batch, tensors["query"])
    assert calls.count("to_queries") == 2 and calls.count("to_coo") == 2


def test_a_batch_is_cut_down_when_it_is_read():
    batch = {"picture": torch.arange(8.0).view(4, 2), "names": list("abcd"), "size": (1, 2)}
    batch |= {"host_masks": {"mask": torch.arange(4).numpy()}, "other": torch.arange(3)}
    some = SupervisedBatch(batch, 4, [1, 3])
    assert some["picture"].tolist() == [[2, 3], [6, 7]] and some["names"] == ["b", "d"]
    assert some["host_masks"]["mask"].tolist() == [1, 3]
    assert some["size"] == (1, 2) and some["other"] is batch["other"]
    assert set(some) == set(batch) and some["picture"] is some["picture"]
    assert SupervisedBatch(batch, 4, range(4))["picture"] is batch["picture"]


def test_the_garment_mass_is_of_a_few_queries_evenly_spread(naive, monkeypatch):
    from vtonlab.losses import base

    case, tensors, batch = scene(naive, empty=())
    exact = [
        build(name)([case.record(tensors)], batch, timesteps=torch.zeros(4), step=0)
        for name in LOSSES
    ]
    asked = []
    whole = AttentionRecord.garment_mass
    monkeypatch.setattr(
        AttentionRecord,
        "garment_mass",
        lambda self: asked.append(self.query.shape[2]) or whole(self),
    )
    monkeypatch.setattr(base, "MASS_QUERIES", 3)
    for name, before in zip(LOSSES, exact, strict=True):
        found = build(name)([case.record(tensors)], batch, timesteps=torch.zeros(4), step=0)
        assert 0 < found["garment_mass"] < 1
        assert abs(found["garment_mass"] - before["garment_mass"]) < 0.2
        assert found["loss"] == before["loss"]
    assert set(asked) == {3}
