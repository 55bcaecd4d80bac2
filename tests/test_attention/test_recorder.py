"""The recorder looks and never touches."""

import pytest
import torch

from vtonlab.attention import AttentionRecorder, list_attention_layers

KINDS = ("flux", "sd3", "unet")


def _processors(backbone):
    return {
        name: module.processor
        for name, module in backbone.named_modules()
        if hasattr(module, "processor")
    }


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
    assert [record.name for record in recorder.records] == [
        layer.name for layer in list_attention_layers(case.backbone)
    ]
    assert all(record.query.dtype == dtype for record in recorder.records)
    after = _processors(case.backbone)
    assert all(after[name] is own for name, own in processors.items())


def _gradients(case, checkpointing, to_record):
    """Loss and gradients of prediction and records together, with every layer recorded."""
    case.backbone.train()
    if checkpointing:
        case.backbone.enable_gradient_checkpointing()
    with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
        output = case.run()
    loss = output.square().mean()
    for record in recorder.records:
        logits = record.scale * record.query @ record.key.transpose(-1, -2)
        loss = loss + logits.softmax(-1).square().mean() + record.query[:, :, 1:3].square().mean()
    count = len(recorder.records)
    loss.backward()
    assert len(recorder.records) == count
    return loss.detach(), {n: p.grad for n, p in case.backbone.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_checkpointing_gives_the_same_gradients(kind, dtype, tol, make_case, to_record):
    loss, plain = _gradients(make_case(kind, dtype), False, to_record)
    again, checkpointed = _gradients(make_case(kind, dtype), True, to_record)
    assert torch.equal(loss, again)
    for name, grad in plain.items():
        other = checkpointed[name]
        assert (grad is None) == (other is None), name
        if grad is not None:
            assert (grad - other).norm() <= tol * max(1.0, grad.norm()), name
