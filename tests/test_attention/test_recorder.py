"""The recorder looks and never touches: outputs, gradients, processors and memory."""

import functools
import gc
import inspect
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from vtonlab.attention import AttentionRecorder, list_attention_layers

KINDS = ("flux", "sd3", "unet")


def _processors(backbone):
    return {
        name: module.processor
        for name, module in backbone.named_modules()
        if hasattr(module, "processor")
    }


def _supervised_loss(output, records):
    """A scalar that reads the prediction and every record, by slices and by whole maps."""
    loss = output.square().mean()
    for record in records:
        logits = record.scale * record.query @ record.key.transpose(-1, -2)
        loss = loss + logits.softmax(-1).square().mean() + record.query[:, :, 1:3].square().mean()
    return loss


class _OwnBlock(nn.Module):
    """A block of ours without processor, which calls the attention in its forward."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):  # (B, N, 8)
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, scale=0.3).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_outputs_are_bit_identical(kind, dtype, checkpointing, make_case, to_record):
    case = make_case(kind, dtype)
    case.backbone.train()
    if checkpointing:
        case.backbone.enable_gradient_checkpointing()
    expected = case.run()
    processors = _processors(case.backbone)
    with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
        output = case.run()
    assert torch.equal(output, expected)
    names = [layer.name for layer in list_attention_layers(case.backbone)]
    assert [record.name for record in recorder.records] == names
    assert all(record.query.dtype == dtype for record in recorder.records)
    after = _processors(case.backbone)
    assert all(after[name] is own for name, own in processors.items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_checkpointing_gives_the_same_gradients(kind, dtype, tol, make_case, to_record):
    def gradients(checkpointing):
        case = make_case(kind, dtype)
        case.backbone.train()
        if checkpointing:
            case.backbone.enable_gradient_checkpointing()
        with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
            output = case.run()
        count = len(recorder.records)
        _supervised_loss(output, recorder.records).backward()
        assert len(recorder.records) == count
        return {name: param.grad for name, param in case.backbone.named_parameters()}

    plain, checkpointed = gradients(False), gradients(True)
    for name, grad in plain.items():
        assert (grad is None) == (checkpointed[name] is None), name
        if grad is not None:
            assert (grad - checkpointed[name]).norm() <= tol * max(1.0, grad.norm()), name


def test_records_may_be_indexed_under_checkpointing(make_case):
    """``to_record`` saves tensors for backward, and runs outside the checkpointed region."""

    def gradients(checkpointing):
        case = make_case("flux", torch.float64)
        case.backbone.train()
        if checkpointing:
            case.backbone.enable_gradient_checkpointing()
        runs = []
        case.backbone.transformer_blocks[0].attn.register_forward_pre_hook(
            lambda module, args: runs.append(1)
        )
        index = torch.tensor([7, 9, 12])
        with AttentionRecorder(
            case.backbone,
            layers=["*"],
            to_record=lambda name, query, key, scale: scale * query[:, :, index] * query.norm(),
        ) as recorder:
            output = case.run()
        (output.square().mean() + sum(x.square().sum() for x in recorder.records)).backward()
        assert len(runs) == 1 + checkpointing  # one recomputation serves output and records
        return [param.grad for param in case.backbone.parameters()]

    for plain, checkpointed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_queries_and_keys_computed_by_hand(make_case, to_record):
    """An independent reference: the loss built from outputs of the block's own projections."""
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"

    def gradients(loss_of):
        case = make_case("unet", torch.float64)
        loss_of(case, case.backbone.get_submodule(name)).backward()
        return {n: p.grad for n, p in case.backbone.named_parameters() if p.grad is not None}

    def entropy(query, key, scale):
        p = (scale * query @ key.transpose(-1, -2)).softmax(-1)
        return -(p * p.log()).sum(-1).mean()

    def by_hand(case, attention):
        seen = {}
        attention.to_q.register_forward_hook(lambda m, a, out: seen.update(q=out))
        attention.to_k.register_forward_hook(lambda m, a, out: seen.update(k=out))
        case.run()
        q, k = (seen[x].unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in "qk")
        return entropy(q, k, q.shape[-1] ** -0.5)

    def by_record(case, attention):
        with AttentionRecorder(case.backbone, layers=[name], to_record=to_record) as recorder:
            case.run()
        (record,) = recorder.records
        return entropy(record.query, record.key, record.scale)

    expected, got = gradients(by_hand), gradients(by_record)
    assert expected.keys() == got.keys()
    for key, grad in expected.items():
        torch.testing.assert_close(got[key], grad, rtol=0, atol=1e-14)


def test_recording_explains_the_output_of_the_layer(make_case, to_record):
    """softmax(scale q k^T) of the record, times the values, is the attention's own output."""
    case = make_case("flux", torch.float64)
    seen = {}

    class Values(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if func is F.scaled_dot_product_attention:
                seen.update(value=(kwargs or {}).get("value"), output=out)
            return out

    name = "single_transformer_blocks.1.attn"
    with AttentionRecorder(case.backbone, layers=[name], to_record=to_record) as recorder, Values():
        case.run()
    (record,) = recorder.records
    p = (record.scale * record.query @ record.key.transpose(-1, -2)).softmax(-1)
    torch.testing.assert_close(p @ seen["value"], seen["output"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_reaches_supervised_layers_and_none_after(checkpointing, make_case, to_record):
    case = make_case("flux")
    case.backbone.train()
    if checkpointing:
        case.backbone.enable_gradient_checkpointing()
    layers = ["transformer_blocks.1.attn"]
    with AttentionRecorder(case.backbone, layers=layers, to_record=to_record) as recorder:
        case.run()
    (record,) = recorder.records
    (record.query @ record.key.transpose(-1, -2)).softmax(-1).square().sum().backward()
    grads = {
        name: 0.0 if param.grad is None else float(param.grad.abs().sum())
        for name, param in case.backbone.named_parameters()
    }
    for part in ("to_q", "to_k", "add_q_proj", "add_k_proj", "norm_q", "norm_k"):
        assert grads[f"{layers[0]}.{part}.weight"] > 0
    after = ("transformer_blocks.1.attn.to_v", "transformer_blocks.1.attn.to_out", "proj_out")
    for name, grad in grads.items():
        if name.startswith(("single_transformer_blocks", "transformer_blocks.1.ff", *after)):
            assert grad == 0.0, name


def test_other_layers_are_left_alone(make_case, to_record):
    case = make_case("unet")
    chosen = "mid_block.attentions.0.transformer_blocks.0.attn1"
    before = _processors(case.backbone)
    recorder = AttentionRecorder(case.backbone, layers=[chosen], to_record=to_record)
    with recorder:
        during = _processors(case.backbone)
        case.run()
    assert {name for name in before if during[name] is not before[name]} == {chosen}
    assert [record.name for record in recorder.records] == [chosen]


def test_scale_heads_and_shapes(make_case, to_record):
    case = make_case("unet")
    with AttentionRecorder(case.backbone, layers=["*.attn2"], to_record=to_record) as recorder:
        case.run()
    shapes = [(tuple(r.query.shape), tuple(r.key.shape), r.scale) for r in recorder.records]
    fine = ((2, 2, 64, 8), (2, 2, 5, 8), 8**-0.5)
    coarse = ((2, 2, 16, 16), (2, 2, 5, 16), 16**-0.5)
    assert shapes == [fine, coarse, coarse, coarse, coarse, fine, fine]


def test_processors_return_after_an_exception(make_case, to_record):
    case = make_case("sd3")
    before = _processors(case.backbone)
    recorder = AttentionRecorder(case.backbone, layers=["*"], to_record=to_record)
    with pytest.raises(KeyError, match="mine"), recorder:
        case.run()
        raise KeyError("mine")
    after = _processors(case.backbone)
    assert all(after[name] is own for name, own in before.items())
    assert recorder.records == []


class _ModuleProcessor(nn.Module):
    """A processor with parameters and an argument of its own, as IP-Adapter's are."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.5))

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, boost=1.0
    ):
        q, k, v = (f(hidden_states) for f in (attn.to_q, attn.to_k, attn.to_v))
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q * self.gain * boost, k, v)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))


def test_module_processors_keep_their_arguments_and_their_place(make_case, to_record):
    case = make_case("unet")
    name = "mid_block.attentions.0.transformer_blocks.0.attn1"
    attention = case.backbone.get_submodule(name)
    vars(attention).pop("processor")
    attention.processor = _ModuleProcessor()
    case.inputs["cross_attention_kwargs"] = {"boost": 2.0}
    order = list(case.backbone.state_dict())
    expected = case.run()
    with AttentionRecorder(case.backbone, layers=[name], to_record=to_record) as recorder:
        assert list(inspect.signature(attention.processor.__call__).parameters)[-1] == "boost"
        output = case.run()
    assert torch.equal(output, expected)
    assert list(case.backbone.state_dict()) == order
    assert "processor" not in vars(attention)
    recorder.records[0].query.sum().backward()
    assert attention.processor.gain.grad != 0


def test_own_block_without_processor(to_record):
    torch.manual_seed(0)
    backbone = nn.Sequential(_OwnBlock(), _OwnBlock())
    x = torch.randn(2, 5, 8)
    expected = backbone(x)
    with AttentionRecorder(backbone, layers=["1"], to_record=to_record) as recorder:
        output = backbone(x)
    assert torch.equal(output, expected)
    (record,) = recorder.records
    query, key, _ = backbone[1].qkv(backbone[0](x)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    assert torch.equal(record.query, query) and torch.equal(record.key, key)
    assert record.scale == 0.3
    assert not backbone[1]._forward_hooks and not backbone[1]._forward_pre_hooks


def test_own_block_without_processor_under_checkpointing(to_record):
    torch.manual_seed(0)
    block = _OwnBlock().double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)

    def gradient(call):
        block.zero_grad()
        with AttentionRecorder(nn.Sequential(block), layers=["0"], to_record=to_record) as recorder:
            output = call(x)
        _supervised_loss(output, recorder.records).backward()
        assert len(recorder.records) == 1
        return block.qkv.weight.grad.clone()

    checkpointed = gradient(functools.partial(checkpoint, block, use_reentrant=False))
    torch.testing.assert_close(checkpointed, gradient(block), rtol=0, atol=1e-12)


def test_backward_inside_the_block_records_nothing_twice(make_case, to_record):
    case = make_case("flux")
    case.backbone.train()
    case.backbone.enable_gradient_checkpointing()
    with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
        case.run().sum().backward()
    assert len(recorder.records) == 4


def test_recorders_nest(make_case, to_record):
    case = make_case("unet")
    expected = case.run()
    outer = AttentionRecorder(case.backbone, layers=["*.attn2"], to_record=to_record)
    inner = AttentionRecorder(case.backbone, layers=["mid_block*"], to_record=to_record)
    with outer, inner:
        output = case.run()
    assert torch.equal(output, expected)
    middle = next(record for record in outer.records if record.name.startswith("mid_block"))
    assert middle.query is inner.records[1].query
    assert len(outer.records) == 7 and len(inner.records) == 2


def test_to_record_may_decline(make_case):
    case = make_case("flux")
    with AttentionRecorder(case.backbone, layers=["*"], to_record=lambda *a: None) as recorder:
        case.run()
    assert recorder.records == []


@pytest.mark.parametrize("checkpointing", [False, True])
def test_nothing_is_kept_after_the_step(checkpointing, make_case, to_record):
    case = make_case("flux")
    case.backbone.train()
    if checkpointing:
        case.backbone.enable_gradient_checkpointing()
    gc.collect()
    gc.disable()  # freed by reference counts alone: nothing sits in a cycle
    try:
        with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
            output = case.run()
        loss = _supervised_loss(output, recorder.records)
        loss.backward()
        alive = [weakref.ref(x) for r in recorder.records for x in (r.query, r.key)]
        alive.append(weakref.ref(recorder))
        del output, loss, recorder
        assert [ref for ref in alive if ref() is not None] == []
    finally:
        gc.enable()


def test_a_mask_over_keys_is_handed_on(make_case):
    """UNet cross-attention with padded text: diffusers makes an additive mask of all heads."""
    case = make_case("unet")
    seen = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    case.inputs["encoder_attention_mask"] = seen
    plain = case.run()

    def to_record(name, query, key, scale, mask=None):
        return name, mask

    with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
        output = case.run()
    assert torch.equal(output, plain)
    for name, mask in recorder.records:
        assert (mask is None) == name.endswith("attn1")
        assert mask is None or torch.equal(mask, seen.bool())


def test_heads_that_share_keys_are_given_them():
    class Grouped(torch.nn.Module):
        def forward(self, x):
            key = x[:, :2]
            return torch.nn.functional.scaled_dot_product_attention(x, key, key, enable_gqa=True)

    x, found = torch.randn(1, 4, 5, 8), []
    with AttentionRecorder(
        torch.nn.Sequential(Grouped()),
        layers=["0"],
        to_record=lambda name, query, key, scale: found.append(key),
    ) as recorder:
        recorder._backbone(x)
    assert torch.equal(found[0], x[:, [0, 0, 1, 1]])
