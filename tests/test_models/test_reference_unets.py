"""Whole models with two UNets: what the loss may not change, sampling, checkpoints."""

import numpy as np
import pytest
import torch

from vtonlab.models import TryOnDiffusion

LAYERS = ["up_blocks.1.attentions.0.transformer_blocks.0.attn1"]
UNET = dict(
    type="UNet2DConditionModel",
    in_channels=12,
    out_channels=12,
    block_out_channels=(16, 16),
    down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    cross_attention_dim=8,
    attention_head_dim=2,
    norm_num_groups=4,
)


def build(sampler=None, flow=None, **conditioner):
    torch.manual_seed(0)
    losses = {} if flow is None else {"flow": dict(type="AttentionFlowLoss", **flow)}
    model = TryOnDiffusion(
        size=(32, 24),
        backbone=UNET,
        codec=dict(type="SpaceToDepthCodec", factor=2),
        conditioner=dict(type="SpatialConcatConditioner", **conditioner),
        noise_schedule=dict(type="DDPMSchedule"),
        sampler=dict(type="DDPMSampler", num_steps=3, **(sampler or {})),
        condition_dropout=0.1,
        attention_losses=losses,
    )
    with torch.no_grad():  # as after some training: new channels start at zero
        for name, parameter in sorted(model.named_parameters()):
            if not name.startswith("attention_losses."):
                parameter += 0.02 * torch.randn_like(parameter)
    return model


def pictures(model, batch):
    return [result["image"] for result in model.predict(batch)]


def test_temperature_and_sinks_change_the_loss_and_never_the_output(make_batch):
    sinks = dict(sink_dims={LAYERS[0]: (2, 8)}, num_sinks=2)
    cases = [
        dict(layers=LAYERS, t_max=None),
        dict(layers=LAYERS, t_max=None, temperature=0.5),
        dict(layers=LAYERS, t_max=None, **sinks),
    ]
    losses, diffusion, drawn = [], [], []
    for flow in [*cases, None]:
        model = build(flow=flow)
        for sink in model.attention_losses.parameters():
            torch.nn.init.constant_(sink, 3.0)
        batch = make_batch(model)
        result = model.loss(batch)
        losses.append(result.get("loss_flow"))
        diffusion.append(result["loss_diffusion"])
        drawn.append(pictures(model, batch))
    assert len({loss.item() for loss in losses[:3]}) == 3
    assert len({value.item() for value in diffusion}) == 1
    assert all(np.array_equal(drawn[0], other) for other in drawn[1:])


@pytest.mark.parametrize("reference", ["unet", "self"])
def test_guidance_and_its_rescale_change_the_picture(make_batch, reference):
    drawn = []
    for sampler in (
        {},
        dict(guidance_scale=2.5),
        dict(guidance_scale=2.5, guidance_rescale=2.5),  # as released
    ):
        model = build(sampler, reference=reference)
        drawn.append(np.stack(pictures(model, make_batch(model))))
        assert drawn[-1].shape == (2, 32, 24, 3)
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[1], drawn[2])


def test_sampling_runs_the_reference_unet_once_for_both_sides_of_guidance(make_batch):
    counts, drawn = {}, {}
    for timestep in (500, None):
        model = build(dict(guidance_scale=2.5), reference_timestep=timestep)
        calls = []
        model.conditioner.reference_unet.register_forward_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        drawn[timestep] = np.stack(pictures(model, make_batch(model)))
        counts[timestep] = len(calls)
    assert counts == {500: 1, None: 3}
    model = build(dict(guidance_scale=2.5), reference_timestep=500)
    keep = model.conditioner._features

    def forget(timesteps, conditions):
        conditions.pop("features", None)
        return keep(timesteps, conditions)

    model.conditioner._features = forget
    assert np.array_equal(np.stack(pictures(model, make_batch(model))), drawn[500])


@pytest.mark.parametrize("form", ["skip", "residual"])
def test_a_checkpoint_holds_both_unets(make_batch, form):
    trained, fresh = build(cross_attention=form), build(cross_attention=form)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.1
    state = trained.state_dict()
    assert any(name.startswith("conditioner.reference_unet.") for name in state)
    fresh.load_state_dict(state, strict=True)
    batch = make_batch(fresh)
    assert np.array_equal(pictures(trained, batch), pictures(fresh, batch))
