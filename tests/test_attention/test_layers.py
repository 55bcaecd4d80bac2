"""Names, kinds, order and choice of attention layers."""

import pytest
import torch
from torch import nn

from vtonlab.attention import (
    AttentionRecorder,
    list_attention_layers,
    select_by_kind,
    select_by_ratio,
    select_layers,
)
from vtonlab.attention.layers import grid_scale, unwrap


def test_kinds(make_case):
    flux = list_attention_layers(make_case("flux").backbone)
    assert [layer[:2] for layer in flux] == [
        ("transformer_blocks.0.attn", "joint"),
        ("transformer_blocks.1.attn", "joint"),
        ("single_transformer_blocks.0.attn", "single"),
        ("single_transformer_blocks.1.attn", "single"),
    ]
    sd3 = list_attention_layers(make_case("sd3").backbone)
    assert [layer[:2] for layer in sd3] == [
        ("transformer_blocks.0.attn", "joint"),
        ("transformer_blocks.0.attn2", "self"),
        ("transformer_blocks.1.attn", "joint"),
        ("transformer_blocks.2.attn", "joint"),
    ]
    for layer in list_attention_layers(make_case("unet").backbone):
        assert layer.kind == ("self" if layer.name.endswith("attn1") else "cross")


@pytest.mark.parametrize("kind", ["flux", "sd3", "unet"])
def test_execution_order(kind, make_case, to_record):
    """The listing is the order in which the layers run."""
    case = make_case(kind)
    with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
        case.run()
    listed = [layer.name for layer in list_attention_layers(case.backbone)]
    assert [record.name for record in recorder.records] == listed


def test_select_keeps_execution_order_and_names_no_layer_twice(make_case):
    backbone = make_case("flux").backbone
    chosen = select_layers(backbone, ["single*0.attn", "*transformer_blocks.0.attn"])
    assert chosen == ["transformer_blocks.0.attn", "single_transformer_blocks.0.attn"]


def test_select_by_kind(make_case):
    backbone = make_case("sd3").backbone
    assert select_by_kind(backbone, "self") == ["transformer_blocks.0.attn2"]
    with pytest.raises(ValueError, match=r"no 'cross'.*joint, self"):
        select_by_kind(backbone, "cross")


def test_wrappers_are_looked_through(make_case):
    backbone = make_case("unet").backbone
    compiled = torch.compile(backbone, backend="eager")
    assert unwrap(compiled) is backbone
    assert list_attention_layers(compiled) == list_attention_layers(backbone)
    assert unwrap(nn.DataParallel(backbone)) is backbone


def test_grid_scale_is_what_the_layer_sees(make_case, to_record):
    case = make_case("unet")
    with AttentionRecorder(case.backbone, layers=["*"], to_record=to_record) as recorder:
        case.run()
    for record in recorder.records:
        side = record.query.shape[2] ** 0.5
        assert grid_scale(case.backbone, record.name) == side / 8, record.name


def test_leffa_takes_ten_self_attention_layers_of_sd15():
    """METHODS.md: 1/8 x 5, 1/16 x 5, 1/32 x 5, 1/64 x 1; strict above 1/32 leaves ten."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel()
    is_self = lambda layer: layer.kind == "self"  # noqa: E731
    assert len([x for x in list_attention_layers(unet) if is_self(x)]) == 16
    assert len(select_by_ratio(unet, where=is_self)) == 10
    assert len(select_by_ratio(unet, where=is_self, inclusive=True)) == 15
    with pytest.raises(ValueError, match=r"largest among 16 candidates is 0\.125"):
        select_by_ratio(unet, where=is_self, min_grid_ratio=0.5)


def test_transformers_have_one_grid(make_case):
    backbone = make_case("flux").backbone
    assert len(select_by_ratio(backbone, input_ratio=1 / 16)) == 4
    with pytest.raises(ValueError, match="lower min_grid_ratio"):
        select_by_ratio(backbone, input_ratio=1 / 32)
