"""Recomputed or kept, gradients are the same; what lies between keeps memory in between."""

import pytest
import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel

from vtonlab.backbones.recomputation import LADDER, check_compiled, recompute_blocks
from vtonlab.engine.memory.live import LiveMemory


def flux():
    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=8, pooled_projection_dim=8,
        axes_dims_rope=(4, 6, 6),
    ).double()  # fmt: skip
    inputs = dict(
        hidden_states=torch.randn(1, 64, 16), encoder_hidden_states=torch.randn(1, 4, 8),
        pooled_projections=torch.randn(1, 8), timestep=torch.tensor([0.5]),
        img_ids=torch.zeros(64, 3), txt_ids=torch.zeros(4, 3),
    )  # fmt: skip
    return model, {name: value.double() for name, value in inputs.items()}


def unet():
    torch.manual_seed(0)
    model = UNet2DConditionModel(
        block_out_channels=(16, 32), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), layers_per_block=1,
        cross_attention_dim=8, attention_head_dim=8, norm_num_groups=8,
    ).double()  # fmt: skip
    return model, dict(
        sample=torch.randn(1, 4, 16, 16).double(),
        timestep=torch.tensor([500]),
        encoder_hidden_states=torch.randn(1, 4, 8).double(),
    )


def step(make, settings, monkeypatch) -> tuple[dict, int, int, int]:
    """Gradients, blocks and attentions run, and bytes that the forward pass left."""
    model, inputs = make()
    model.train()
    if settings:
        recompute_blocks(model, settings)
    calls = []
    kernel = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *a, **k: calls.append(1) or kernel(*a, **k),
    )
    with LiveMemory() as live:
        live.ignore(model.parameters())
        loss = model(**inputs).sample.square().mean()
        left = live.now
        forward = len(calls)
        loss.backward()
    monkeypatch.undo()
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    return gradients, forward, len(calls), left


@pytest.mark.parametrize("make", [flux, unet])
def test_gradients_stay_and_memory_lies_between(make, monkeypatch):
    found = [step(make, settings, monkeypatch) for settings in LADDER]
    plain = found[0][0]
    for gradients, *_ in found[1:]:
        assert gradients.keys() == plain.keys()
        for name, value in plain.items():  # float64 through the same operations
            torch.testing.assert_close(gradients[name], value, rtol=1e-9, atol=1e-12)
    left = [kept for *_, kept in found]
    assert left == sorted(left, reverse=True) and left[0] > 1.3 * left[-1]


def test_every_second_block_is_run_again(monkeypatch):
    forward = step(flux, False, monkeypatch)[1]
    again = [step(flux, s, monkeypatch)[2] - forward for s in (False, dict(every=2), True)]
    assert again == [0, 2, 4]


def test_what_cannot_be_recomputed_is_one_sentence():
    model, _ = unet()
    with pytest.raises(ValueError, match="has 'evry': give True, False"):
        recompute_blocks(model, dict(evry=2))
    with pytest.raises(ValueError, match=r"every=0 is a whole number from 1"):
        recompute_blocks(model, dict(every=0))
    with pytest.raises(ValueError, match="cannot see into compiled blocks"):
        check_compiled(dict(keep_attention=True))
    check_compiled(True)
    check_compiled(dict(every=2))
