"""What cannot be recorded is refused in one sentence that names the layer and the way out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from vtonlab.attention import AttentionRecorder


def _record(case, to_record, layers=("*",)):
    with AttentionRecorder(case.backbone, layers=list(layers), to_record=to_record) as recorder:
        case.run()
    return recorder.records


def test_pattern_that_matches_nothing_lists_what_exists(make_case, to_record):
    case = make_case("flux")
    with pytest.raises(ValueError, match=r"matches 'mid\*'.*single_transformer_blocks\.1\.attn"):
        AttentionRecorder(case.backbone, layers=["*single*", "mid*"], to_record=to_record)


@pytest.mark.parametrize("layers", ["*", [], ()])
def test_layers_must_be_a_list(layers, make_case, to_record):
    with pytest.raises(ValueError, match="non-empty list"):
        AttentionRecorder(make_case("flux").backbone, layers=layers, to_record=to_record)


def test_backend_of_a_backbone(make_case, to_record):
    case = make_case("flux")
    case.backbone.set_attention_backend("flex")
    with pytest.raises(ValueError, match=r"'flex' at layer 'transformer_blocks.0.attn'.*native"):
        _record(case, to_record)


def test_backend_of_a_context(make_case, to_record):
    from diffusers.models.attention_dispatch import attention_backend

    case = make_case("flux")
    with attention_backend("flex"), pytest.raises(ValueError, match="backend 'flex'"):
        _record(case, to_record)


@pytest.mark.parametrize("backend", ["native", "_native_math"])
def test_backends_that_end_in_torch_are_seen(backend, make_case, to_record):
    case = make_case("flux")
    case.backbone.set_attention_backend(backend)
    assert len(_record(case, to_record)) == 4


def test_processor_that_makes_its_own_map(make_case, to_record):
    from diffusers.models.attention_processor import AttnProcessor

    case = make_case("unet")
    case.backbone.set_attn_processor(AttnProcessor())
    with pytest.raises(ValueError, match=r"saw 0 calls.*\(AttnProcessor\).*AttnProcessor2_0"):
        _record(case, to_record)


def test_masked_attention(make_case, to_record):
    case = make_case("unet")
    case.inputs["encoder_attention_mask"] = torch.ones(2, 5)
    with pytest.raises(ValueError, match=r"attn2', whose attention is masked"):
        _record(case, to_record, ["*.attn2"])
    assert _record(case, to_record, ["*.attn1"])


class _Plain(nn.Module):
    """Attention of a sequence to itself, called as the test says."""

    def __init__(self, times=1, **options):
        super().__init__()
        self.times, self.options = times, options

    def forward(self, x):
        for _ in range(self.times):
            x = F.scaled_dot_product_attention(x, x, x, **self.options)
        return x


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (_Plain(is_causal=True), (1, 2, 5, 4), "'0', whose attention is causal"),
        (_Plain(times=2), (1, 2, 5, 4), r"saw 2 calls.*layer '0' \(_Plain\)"),
        (_Plain(), (2, 5, 4), r"queries \(B, H, N, D\) at layer '0', got shape \(2, 5, 4\)"),
    ],
)
def test_calls_that_are_no_record(layer, shape, message, to_record):
    backbone = nn.Sequential(layer)
    with (
        pytest.raises(ValueError, match=message),
        AttentionRecorder(backbone, layers=["0"], to_record=to_record),
    ):
        backbone(torch.randn(shape))
    assert not layer._forward_hooks and not layer._forward_pre_hooks


def test_reentrant_checkpointing(make_case, to_record):
    case = make_case("flux")
    case.backbone.train()
    case.backbone.enable_gradient_checkpointing(
        lambda module, *args: checkpoint(module.__call__, *args, use_reentrant=True)
    )
    case.inputs["hidden_states"].requires_grad_()
    with pytest.raises(ValueError, match=r"transformer_blocks.0.attn.*use_reentrant=False"):
        _record(case, to_record)
    with torch.no_grad():
        assert len(_record(case, to_record)) == 4


def test_layer_that_never_runs(make_case, to_record):
    case = make_case("sd3")
    case.inputs["skip_layers"] = [1]
    with pytest.raises(RuntimeError, match=r"never saw layer\(s\) transformer_blocks.1.attn run"):
        _record(case, to_record)


def test_records_are_complete_after_the_block_only(make_case, to_record):
    case = make_case("sd3")
    with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
        case.run()
        with pytest.raises(RuntimeError, match="after the with block"):
            _ = recorder.records
        with pytest.raises(RuntimeError, match="already open"):
            recorder.__enter__()
    assert len(recorder.records) == 4
