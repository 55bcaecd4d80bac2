"""Lit patches: change one token, and exactly the query and key of its index move."""

import pytest
import torch

from vtonlab.attention import (
    AttentionRecorder,
    BlockTokens,
    attention_kind,
    image_span,
    image_start,
    text_span,
    token_order,
)

TEXT = 6
FLUX_WIDTH, SD3_WIDTH = 6, 4  # token grids 4 x 6 and 4 x 4
PERSON, GARMENT = (2, 1), (1, 3)  # (row, column) of one token in each half of the picture


def _record(case, name, to_record):
    with (
        torch.no_grad(),
        AttentionRecorder(case.backbone, layers=[name], to_record=to_record) as recorder,
    ):
        case.run()
    return recorder.records[0]


def _moved(before, after):
    """Token indices (dim 2) at which anything changed."""
    return (before != after).any(dim=3).any(dim=1).any(dim=0).nonzero().flatten().tolist()


def _assert_moves(case, name, light, query, key, to_record):
    """Exactly ``query`` and ``key`` indices move when ``light(case)`` changes the input."""
    before = _record(case, name, to_record)
    light(case)
    after = _record(case, name, to_record)
    assert _moved(before.query, after.query) == query
    assert _moved(before.key, after.key) == key


def _light_flux(place):
    def light(case):
        case.inputs["hidden_states"][0, place[0] * FLUX_WIDTH + place[1], 0] += 1.0

    return light


def _light_text(index):
    def light(case):
        case.inputs["encoder_hidden_states"][0, index] += torch.randn(32)

    return light


def _light_sd3(place):
    def light(case):
        case.inputs["hidden_states"][1, 0, 2 * place[0] + 1, 2 * place[1]] += 1.0

    return light


@pytest.mark.parametrize("place", [PERSON, GARMENT])
def test_flux_double_block(place, make_case, to_record):
    case, name = make_case("flux"), "transformer_blocks.0.attn"
    index = image_start(case.backbone, name, text_length=TEXT) + place[0] * FLUX_WIDTH + place[1]
    _assert_moves(case, name, _light_flux(place), [index], [index], to_record)


@pytest.mark.parametrize("place", [PERSON, GARMENT])
def test_flux_single_block(place, make_case, to_record):
    case, name = make_case("flux"), "single_transformer_blocks.0.attn"
    case.backbone.transformer_blocks = torch.nn.ModuleList()  # so that no attention came before
    index = image_start(case.backbone, name, text_length=TEXT) + place[0] * FLUX_WIDTH + place[1]
    _assert_moves(case, name, _light_flux(place), [index], [index], to_record)


@pytest.mark.parametrize("place", [PERSON, GARMENT])
@pytest.mark.parametrize("name", ["transformer_blocks.0.attn", "transformer_blocks.0.attn2"])
def test_sd3(name, place, make_case, to_record):
    case = make_case("sd3")
    index = image_start(case.backbone, name, text_length=TEXT) + place[0] * SD3_WIDTH + place[1]
    _assert_moves(case, name, _light_sd3(place), [index], [index], to_record)


@pytest.mark.parametrize(
    ("kind", "name", "tokens"),
    [
        ("flux", "transformer_blocks.0.attn", 30),
        ("flux", "single_transformer_blocks.0.attn", 30),
        ("sd3", "transformer_blocks.0.attn", 22),
    ],
)
def test_text_token(kind, name, tokens, make_case, to_record):
    case = make_case(kind)
    if name.startswith("single"):
        case.backbone.transformer_blocks = torch.nn.ModuleList()
    span = text_span(case.backbone, name, tokens=tokens, text_length=TEXT)
    _assert_moves(case, name, _light_text(4), [span.start + 4], [span.start + 4], to_record)


@pytest.mark.parametrize("place", [PERSON, GARMENT])
def test_unet_self_attention(place, make_case, to_record):
    """Lit after the norm and projection that enter the block: a group norm mixes all pixels."""
    case, block = make_case("unet"), "down_blocks.0.attentions.0"
    lit = torch.zeros(1, 16, 8, 8)
    lit[..., place[0], place[1]] = torch.randn(16)

    def light(case):
        projection = case.backbone.get_submodule(f"{block}.proj_in")
        projection.register_forward_hook(lambda module, args, output: output + lit)

    index = place[0] * 8 + place[1]
    name = f"{block}.transformer_blocks.0.attn1"
    _assert_moves(case, name, light, [index], [index], to_record)


def test_unet_cross_attention_keys_are_the_conditioning(make_case, to_record):
    case, name = make_case("unet"), "down_blocks.0.attentions.0.transformer_blocks.0.attn2"

    def light(case):
        case.inputs["encoder_hidden_states"][0, 3] += 1.0

    _assert_moves(case, name, light, [], [3], to_record)


def test_unet_cross_attention_queries_are_the_image(make_case, to_record):
    case = make_case("unet")
    block = "down_blocks.0.attentions.0.transformer_blocks.0"
    index = PERSON[0] * 8 + PERSON[1]

    def light(case):
        mask = torch.zeros(1, 64, 1)
        mask[:, index] = 1.0
        norm = case.backbone.get_submodule(f"{block}.norm2")
        norm.register_forward_hook(lambda module, args, output: output + mask)

    _assert_moves(case, f"{block}.attn2", light, [index], [], to_record)


def test_orders_and_spans(make_case):
    flux, sd3, unet = (make_case(kind).backbone for kind in ("flux", "sd3", "unet"))
    double, single = "transformer_blocks.0.attn", "single_transformer_blocks.0.attn"
    cross = "mid_block.attentions.0.transformer_blocks.0.attn2"
    assert token_order(flux, double) == token_order(flux, single) == "text_first"
    assert token_order(sd3, double) == "image_first"
    assert token_order(sd3, "transformer_blocks.0.attn2") == "image_only"
    assert token_order(unet, cross) == "context_keys"
    assert image_span(flux, double, tokens=30, text_length=6) == slice(6, 30)
    assert image_span(sd3, double, tokens=22, text_length=6) == slice(0, 16)
    assert image_span(unet, cross, tokens=16, text_length=6) == slice(0, 16)
    assert text_span(sd3, "transformer_blocks.0.attn2", tokens=16, text_length=6) == slice(0, 0)
    with pytest.raises(ValueError, match="cross-attention"):
        text_span(unet, cross, tokens=16, text_length=6)


def test_unknown_block_is_named():
    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.processor = lambda *args: None

    backbone = torch.nn.Sequential(torch.nn.Sequential(Attention()))
    with pytest.raises(ValueError, match=r"layer '0.0' \(Sequential\).*FluxTransformerBlock"):
        token_order(backbone, "0.0")


def test_joint_attention_that_calls_itself_self_is_unknown_until_registered(monkeypatch):
    """diffusers' older ``Attention`` with added projections has `is_cross_attention` False; its
    queries and keys hold the text as well.
    """
    from diffusers.models.transformers.auraflow_transformer_2d import AuraFlowJointTransformerBlock

    from vtonlab.registry import ATTENTION_BLOCKS

    backbone = torch.nn.Sequential(AuraFlowJointTransformerBlock(16, 2, 8))
    monkeypatch.setattr(ATTENTION_BLOCKS, "_facts", dict(ATTENTION_BLOCKS.items()))
    ATTENTION_BLOCKS._facts.pop(AuraFlowJointTransformerBlock, None)
    assert attention_kind(backbone, "0.attn") == "unknown"
    with pytest.raises(ValueError, match=r"order of layer '0.attn' .AuraFlowJoint.* is not known"):
        token_order(backbone, "0.attn")
    ATTENTION_BLOCKS.add(BlockTokens("joint", "text_first"), torch.nn.Module)
    assert token_order(backbone, "0.attn") == "text_first"  # by its base
