"""The recorder under what training loops use: autocast, LoRA and torch.compile."""

import pytest
import torch

from vtonlab.attention import AttentionRecorder, image_start
from vtonlab.structures import AttentionRecord


@pytest.mark.parametrize("kind", ["flux", "sd3", "unet"])
def test_autocast_records_what_the_kernel_was_given(kind, make_case, to_record):
    """q/k norms leave float32 under autocast; the attention itself computes in bfloat16."""
    case = make_case(kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = case.run()
        with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
            output = case.run()
    assert torch.equal(output, expected)
    assert {record.query.dtype for record in recorder.records} == {torch.bfloat16}
    assert {record.key.dtype for record in recorder.records} == {torch.bfloat16}
    sum(record.query.float().sum() for record in recorder.records).backward()


def test_lora_is_in_the_record(make_case, to_record):
    from peft import LoraConfig

    name = "transformer_blocks.0.attn"
    case = make_case("flux")
    config = LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False)
    case.backbone.add_adapter(config)

    def record():
        with AttentionRecorder(case.backbone, layers=[name], to_record=to_record) as recorder:
            case.run()
        return recorder.records[0]

    adapted = record()
    adapted.query.square().sum().backward()
    grads = {n for n, p in case.backbone.named_parameters() if p.grad is not None}
    assert {f"{name}.to_q.lora_A.default.weight", f"{name}.to_q.lora_B.default.weight"} <= grads
    case.backbone.disable_adapters()
    plain = record()
    assert (adapted.query - plain.query)[:, :, 6:].abs().amax() > 0.1
    assert torch.equal(adapted.query[:, :, :6], plain.query[:, :, :6])  # text: other projections
    case.backbone.enable_adapters()
    case.backbone.get_submodule(name).to_q.merge()
    case.backbone.get_submodule(name).to_k.merge()
    torch.testing.assert_close(record().query, adapted.query, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_backbone(backend, make_case, to_record):
    """Same records, outputs and gradients; breaks at recorded layers only; compiled once."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    layers = ["transformer_blocks.1.attn", "single_transformer_blocks.0.attn"]

    def step(case, backbone):
        case.backbone.zero_grad()
        with AttentionRecorder(backbone, layers=layers, to_record=to_record) as recorder:
            output = backbone(**case.inputs, return_dict=False)[0]
        kept = sum(r.query.square().mean() + r.key.square().mean() for r in recorder.records)
        (output.square().mean() + kept).backward()
        grads = {n: p.grad for n, p in case.backbone.named_parameters() if p.grad is not None}
        return output.detach(), recorder.records, grads

    eager = make_case("flux")
    expected, records, grads = step(eager, eager.backbone)
    case = make_case("flux")
    compiled = torch.compile(case.backbone, backend=backend)
    graphs = []
    for _ in range(4):
        output, seen, seen_grads = step(case, compiled)
        graphs.append(counters["stats"]["unique_graphs"])
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
        assert [record.name for record in seen] == layers
        for got, want in zip(seen, records, strict=True):
            torch.testing.assert_close(got.query, want.query, rtol=0, atol=1e-5)
            torch.testing.assert_close(got.key, want.key, rtol=0, atol=1e-5)
        assert seen_grads.keys() == grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(seen_grads[name], grad, rtol=0, atol=1e-5)
    assert graphs[1] == graphs[2] == graphs[3]
    reasons = list(counters["graph_break"])
    assert reasons and all("torch.compiler.disable" in reason for reason in reasons)


def test_attention_record_under_checkpointing(make_case):
    """The fused statistics, with their own backward, on top of a recomputed graph."""
    person, garment = torch.arange(24).reshape(4, 2, 3).permute(1, 0, 2).reshape(2, 12)

    def gradients(checkpointing):
        case = make_case("flux", torch.float64)
        case.backbone.train()
        if checkpointing:
            case.backbone.enable_gradient_checkpointing()

        def to_record(name, query, key, scale):
            start = image_start(case.backbone, name, text_length=6)
            return AttentionRecord(
                name=name,
                query=query[:, :, start + person],
                key=key[:, :, start + garment],
                query_grid=(4, 3),
                key_grid=(4, 3),
                scale=scale,
                context_key=key[:, :, :start],
            )

        with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
            output = case.run()
        loss = output.square().mean()
        for record in recorder.records:
            loss = loss + record.entropy().mean() - record.garment_mass().log().mean()
        loss.backward()
        return [param.grad for param in case.backbone.parameters()]

    for plain, checkpointed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-12, atol=1e-12)
