"""Compiled blocks give the losses, gradients, records and checkpoints of plain ones."""

from itertools import product

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

from vtonlab.attention import AttentionRecorder
from vtonlab.backbones.blocks import compile_blocks

SUPERVISED = ["transformer_blocks.1.attn"]  # one of two double blocks; the single block too is free
LOSSES = dict(
    correspondence=dict(type="CorrespondenceDistillationLoss", layers=SUPERVISED, t_max=None),
    entropy=dict(type="AttentionEntropyLoss", layers=SUPERVISED, t_max=None),
)
# A graph of a recomputed block saves other tensors where it is cut in two: AOTAutograd shows it.
FAST = [("aot_eager", True, True, True), ("aot_eager", True, False, True)]
MATRIX = list(product(("aot_eager", "inductor"), *[(True, False)] * 3))
MATRIX = [pytest.param(*c, marks=() if c in FAST else pytest.mark.slow) for c in MATRIX]


@pytest.fixture(autouse=True)
def forget():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def trained(model, batch) -> tuple[dict, dict]:
    """Losses and gradients of one step."""
    model.zero_grad()
    losses = model.train().loss(batch)
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    return {k: v.detach() for k, v in losses.items()}, gradients


def assert_equal_steps(plain, compiled, batch) -> None:
    for ours, theirs in zip(trained(plain, batch), trained(compiled, batch), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            # float32 through three blocks and back, in another order of sums
            largest = 1e-5 * float(value.abs().max())
            torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-7 + largest)


@pytest.mark.parametrize(("backend", "checkpointing", "lora", "losses"), MATRIX)
def test_steps_equal_plain_ones(make_model, make_batch, backend, checkpointing, lora, losses):
    """One graph for each class of block, never broken; a second step compiles nothing."""
    counter = CompileCounterWithBackend(backend)
    settings = dict(gradient_checkpointing=checkpointing, attention_losses=LOSSES if losses else {})
    if lora:
        settings["lora"] = dict(rank=4)
    plain, compiled = make_model(**settings), make_model(compile=dict(backend=counter), **settings)
    for parameters in zip(plain.parameters(), compiled.parameters(), strict=True):
        for parameter in parameters[1:]:  # LoRA starts at zero, where half of it has no gradient
            parameter.data.copy_(parameters[0].data)
    batch = make_batch(plain)
    assert_equal_steps(plain, compiled, batch)
    assert counter.frame_count == 2  # FluxTransformerBlock and FluxSingleTransformerBlock
    with torch._dynamo.config.patch(error_on_recompile=True):
        trained(compiled, batch)
    assert counter.frame_count == 2 and not counters["graph_break"]


def test_layers_no_loss_reads_are_recorded_without_gradients(make_model, make_batch):
    """A probe breaks the graph of a compiled block; training afterwards is what it was."""
    counter = CompileCounterWithBackend("aot_eager")
    settings = dict(gradient_checkpointing=True, attention_losses=LOSSES)
    plain, compiled = make_model(**settings), make_model(compile=dict(backend=counter), **settings)
    batch = make_batch(plain)
    layers = ["single_transformer_blocks.0.attn"]
    seen = []
    for _ in range(2):
        trained(compiled, batch)
        ours, theirs = (m.eval().attention_records(batch, 0.5, layers) for m in (plain, compiled))
        seen.append(counter.frame_count)
    assert seen[0] == seen[1]
    for one, two in zip(ours, theirs, strict=True):
        assert one.name == two.name
        torch.testing.assert_close(two.query, one.query, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(two.garment_mass(), one.garment_mass())
    assert_equal_steps(plain, compiled, batch)


def test_names_stay_and_checkpoints_load_both_ways(make_model, make_batch):
    backend = dict(backend=CompileCounterWithBackend("eager"))
    plain, compiled = make_model(), make_model(compile=backend, attention_losses=LOSSES)
    batch = make_batch(plain)
    trained(compiled, batch)
    state = compiled.state_dict()
    assert list(state) == list(plain.state_dict()) and not any("_orig_mod" in k for k in state)
    with torch.no_grad():
        for parameter in compiled.parameters():
            parameter.mul_(1.01)
    plain.load_state_dict(compiled.state_dict(), strict=True)
    again = make_model(compile=backend, attention_losses=LOSSES)
    again.load_state_dict(plain.state_dict(), strict=True)
    expected = plain.eval().predict(batch)[0]["image"]
    assert (again.eval().predict(batch)[0]["image"] == expected).mean() > 0.999


def test_what_cannot_be_compiled_is_one_sentence(make_model):
    with pytest.raises(ValueError, match="which of its blocks repeat"):
        compile_blocks(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="fullgraph"):
        make_model(compile=dict(fullgraph=True))
    every = dict(entropy=dict(type="AttentionEntropyLoss", t_max=None))
    with pytest.warns(UserWarning, match="compile does nothing"):
        make_model(compile=True, attention_losses=every)


def test_a_compiled_and_recomputed_block_is_not_recorded_with_gradients(make_model):
    model = make_model(compile=True, gradient_checkpointing=True, attention_losses=LOSSES)
    layers = ["transformer_blocks.0.attn"]
    recorder = AttentionRecorder(model.backbone, layers=layers, to_record=lambda *a: None)
    with pytest.raises(ValueError, match=r"transformer_blocks\.0\.attn.*compiled"), recorder:
        pass
