"""Compiled blocks give the losses, records and checkpoints of plain ones."""

import pytest
import torch
from torch import nn

from vtonlab.backbones.blocks import compile_blocks


class Counting:
    """A backend of torch.compile that runs graphs as they are, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def forget():
    yield
    torch._dynamo.reset()


def trained(model, batch) -> tuple[dict, dict]:
    """Losses and gradients of one step."""
    losses = model.train().loss(batch)
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    return {k: v.detach() for k, v in losses.items()}, gradients


def assert_equal_steps(plain, compiled, batch) -> None:
    for ours, theirs in zip(trained(plain, batch), trained(compiled, batch), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_gradients_and_records_stay(make_model, make_batch, checkpointing):
    backend = Counting()
    plain = make_model(gradient_checkpointing=checkpointing)
    compiled = make_model(gradient_checkpointing=checkpointing, compile=dict(backend=backend))
    batch = make_batch(plain)
    assert_equal_steps(plain, compiled, batch)
    assert backend.graphs > 0
    layers = ["transformer_blocks.1.attn", "single_transformer_blocks.0.attn"]
    for ours, theirs in zip(
        plain.attention_records(batch, 0.5, layers),
        compiled.attention_records(batch, 0.5, layers),
        strict=True,
    ):
        assert ours.name == theirs.name
        torch.testing.assert_close(theirs.query, ours.query, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(theirs.garment_mass(), ours.garment_mass())


def test_later_steps_compile_nothing_new(make_model, make_batch):
    """A recorder of its own for each step, sampling between steps: guards hold."""
    backend = Counting()
    model = make_model(compile=dict(backend=backend))
    batch = make_batch(model)
    for _ in range(2):
        trained(model, batch)
        model.eval().predict(batch)
    seen = backend.graphs
    for _ in range(2):
        trained(model, batch)
        model.eval().predict(batch)
    assert backend.graphs == seen > 0


def test_names_stay_and_checkpoints_load_both_ways(make_model, make_batch):
    plain, compiled = make_model(), make_model(compile=dict(backend=Counting()))
    batch = make_batch(plain)
    trained(compiled, batch)
    state = compiled.state_dict()
    assert list(state) == list(plain.state_dict()) and not any("_orig_mod" in k for k in state)
    with torch.no_grad():
        for parameter in compiled.parameters():
            parameter.mul_(1.01)
    plain.load_state_dict(compiled.state_dict(), strict=True)
    again = make_model(compile=dict(backend=Counting()))
    again.load_state_dict(plain.state_dict(), strict=True)
    expected = plain.eval().predict(batch)[0]["image"]
    assert (again.eval().predict(batch)[0]["image"] == expected).mean() > 0.999


@pytest.mark.slow
def test_inductor(make_model, make_batch):
    """The default backend, with the C++ compiler of the system."""
    plain, compiled = make_model(), make_model(compile=True)
    assert_equal_steps(plain, compiled, make_batch(plain))


def test_what_cannot_be_compiled_is_one_sentence(make_model):
    with pytest.raises(ValueError, match="which of its blocks repeat"):
        compile_blocks(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="fullgraph"):
        make_model(compile=dict(fullgraph=True))
