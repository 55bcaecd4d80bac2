"""The conditioned model against the plain UNet, the published trainable sets, and guidance."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_unet import CLIP, UNET, conditioner, make_batch, make_model, wake

from vtonlab.conditioners import ZeroCrossAttentionConditioner
from vtonlab.registry import BACKBONES

SIFT = ["conv_in.*", "up_blocks.*", "conv_norm_out.*", "conv_out.*"]
KEYPOINTS = dict(keypoints=dict(type="KeypointAttentionLoss", layers=["blocks.[147].*.attn2"]))


def inputs(model, batch):
    """Noisy latents, levels and conditions, all fixed."""
    clean = model.conditioner.target(batch, model.encode)
    noise, levels = model._draw(batch["position"], clean)
    noisy = model.noise_schedule.add_noise(clean, noise, levels)
    with torch.no_grad():
        return noisy, levels, model.conditioner.prepare(batch, model.encode)


def nine_channel_unet(model) -> torch.nn.Module:
    """The inpainting UNet as it was before it was widened: the same weights in nine channels."""
    unet = BACKBONES.build(UNET)
    state = dict(model.backbone.state_dict())
    state["conv_in.weight"] = state["conv_in.weight"][:, :9]
    unet.load_state_dict(state)
    return unet


def test_at_initialisation_it_is_the_plain_inpainting_unet():
    model = make_model(trainable=[]).eval()
    batch = make_batch(model)
    noisy, levels, conditions = inputs(model, batch)
    with torch.no_grad():
        ours = model.conditioner(model.backbone, noisy, levels, conditions).sample
        token = model.conditioner.image_encoder(batch["garment"])
        plain = nine_channel_unet(model)(
            torch.cat([noisy, conditions["given"][:, :5]], 1), levels * 1000, token
        ).sample
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.loss(batch)["loss_diffusion"].backward()
    optimizer.step()
    with torch.no_grad():
        after = model.conditioner(model.backbone, noisy, levels, conditions).sample
    assert (after - plain).abs().max() > 1e-3


def test_thirteen_channels_in_published_order():
    model = make_model()
    batch = make_batch(model)
    noisy, _, conditions = inputs(model, batch)
    given = conditions["given"]
    assert model.backbone.conv_in.in_channels == noisy.shape[1] + given.shape[1] == 13
    torch.testing.assert_close(given[:, :4], model.encode(batch["agnostic"]))
    torch.testing.assert_close(given[:, 5:], model.encode(batch["pose"]))
    inside = given[0, 4, 6, 6], given[0, 4, 0, 0]
    assert inside == (1, 0)  # 1 = to be generated
    kept = make_model(conditioner=conditioner(mask_shows="keep"))
    torch.testing.assert_close(inputs(kept, batch)[2]["given"][:, 4], 1 - given[:, 4])
    assert not model.backbone.conv_in.weight[:, 9:].any()


def test_order_of_sd_inpainting():
    model = make_model(conditioner=conditioner(inputs=["mask", "agnostic", "pose"]))
    batch = make_batch(model)
    given = inputs(model, batch)[2]["given"]
    torch.testing.assert_close(given[:, 1:5], model.encode(batch["agnostic"]))


def test_grids_and_widths_of_sd():
    """METHODS.md 4.1's table, on SD-1.x widths, for 512x384 pictures."""
    from vtonlab.conditioners.zero_cross_attention_blocks import decoder_places

    with torch.device("meta"):
        unet = BACKBONES.build(
            dict(type="UNet2DConditionModel", cross_attention_dim=768, attention_head_dim=8)
        )
    places = decoder_places(unet)
    assert [(p.query_dim, p.garment_dim) for p in places] == [
        (1280, 1280), (1280, 1280), (1280, 640),
        (1280, 640), (640, 640), (640, 320),
        (640, 320), (320, 320), (320, 320),
    ]  # fmt: skip


def test_records_lie_on_the_decoders_grids():
    model = make_model()
    noisy, levels, conditions = inputs(model, make_batch(model))
    patterns = ["blocks.*"]
    records = model.conditioner(model.backbone, noisy, levels, conditions, patterns).records
    assert [record.query_grid for record in records] == [(4, 4)] * 3 + [(8, 8)] * 3 + [(16, 16)] * 3
    assert [record.name.split(".")[1] for record in records] == [str(n) for n in range(9)]
    assert [record.name for record in records] == model.conditioner.readable(model.backbone)
    for record in records:
        assert record.name.endswith("attn2") and record.key_grid == record.query_grid
        assert record.query.shape[2] == record.query_grid[0] * record.query_grid[1]
        torch.testing.assert_close(record.probs().sum(-1), torch.ones_like(record.query[..., 0]))


def test_a_lit_garment_cell_is_a_lit_key():
    """Garment tokens are in row-major order of the garment's own picture."""
    model = make_model().eval()
    features = [torch.zeros(1, p.garment_dim, 16, 16) for p in model.conditioner.cross.places]
    block = model.conditioner.cross.blocks[8]
    wake(block)
    lit = features[8].clone()
    lit[0, :, 3, 5] = 1.0
    from vtonlab.attention import AttentionRecorder

    keys = []
    with AttentionRecorder(
        block, layers=["*.attn2"], to_record=lambda name, q, k, s: keys.append(k)
    ):
        block(torch.randn(1, 16, 16, 16), lit)
    energy = keys[0].abs().sum((0, 1, 3))
    assert energy.argmax() == 3 * 16 + 5


def trained_names(model) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def published(model, *, decoder: bool, token: bool) -> set[str]:
    """METHODS.md 4.4 and 2.5, spelt out."""
    starts = ["conditioner.encoder.", "conditioner.cross."]
    if token:
        starts += ["conditioner.image_encoder.proj_out.", "conditioner.image_encoder.uncond_vector"]
    if decoder:
        starts += [f"backbone.{name.removesuffix('*')}" for name in SIFT]
    # no block reads the encoder's last level: no gradient could reach these
    dead = ("down_blocks.3.", "down_blocks.2.downsamplers.", "mid_block.")
    dead = tuple(f"conditioner.encoder.{name}" for name in dead)
    names = {name for name, _ in model.named_parameters() if name.startswith(tuple(starts))}
    return {name for name in names if not name.startswith(dead)}


@pytest.mark.parametrize(
    ("case", "trainable", "token"), [("stableviton", [], True), ("sift", SIFT, False)]
)
def test_gradients_reach_exactly_the_published_set(case, trainable, token):
    model = make_model(
        trainable=trainable,
        conditioner=conditioner(train_token=token),
        condition_dropout=0.5,
        attention_losses=KEYPOINTS if case == "sift" else None,
    )
    wake(model.conditioner.cross)
    wake(model.conditioner.encoder)
    expected = published(model, decoder=case == "sift", token=token)
    assert trained_names(model) == expected
    dropped = model._draw_dropped(torch.arange(50), 0.5)
    numbers = [int(dropped.nonzero()[0]), int((~dropped).nonzero()[0])]
    losses = model.train().loss(make_batch(model, numbers))
    sum(value for name, value in losses.items() if "loss" in name).backward()
    reached = {
        name
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().max() > 0
    }
    assert reached == expected


def test_frozen_weights_stay_out_of_checkpoints():
    model = make_model(trainable=[])
    assert set(model.state_dict()) == trained_names(model)


def test_random_clip_is_the_same_wherever_it_is_built():
    torch.manual_seed(1)
    one = BACKBONES.build(CLIP)
    state = torch.get_rng_state()
    two = BACKBONES.build(CLIP)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def dropping(model, batch, dropped):
    noisy, levels, conditions = inputs(model, batch)
    conditions = model.conditioner.drop(conditions, torch.tensor(dropped))
    with torch.no_grad():
        return model.conditioner(model.backbone, noisy, levels, conditions).sample


def test_training_drops_what_sampling_drops():
    """Sample by sample: a dropped one equals guidance's unconditional prediction."""
    model = make_model().eval()
    wake(model.conditioner)
    batch = make_batch(model)
    noisy, levels, conditions = inputs(model, batch)
    with torch.no_grad():
        full = model.conditioner(model.backbone, noisy, levels, conditions).sample
        without = model.conditioner.unconditional(conditions)
        nothing = model.conditioner(model.backbone, noisy, levels, without).sample
    mixed = dropping(model, batch, [True, False])
    torch.testing.assert_close(mixed[0], nothing[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed[1], full[1], rtol=1e-4, atol=1e-5)
    assert (full - nothing).abs().max() > 1e-3


def test_unconditional_is_the_plain_unet_with_the_learned_vector():
    model = make_model().eval()
    wake(model.conditioner)
    batch = make_batch(model)
    noisy, levels, conditions = inputs(model, batch)
    with torch.no_grad():
        without = model.conditioner.unconditional(conditions)
        ours = model.conditioner(model.backbone, noisy, levels, without).sample
        vector = model.conditioner.image_encoder.uncond_vector.expand(2, 1, -1)
        stream = torch.cat([noisy, conditions["given"]], 1)
        plain = model.backbone(stream, levels * 1000, vector).sample
    torch.testing.assert_close(ours, plain)


def test_released_dropout_keeps_the_features():
    model = make_model(conditioner=conditioner(training_drops=["token"])).eval()
    wake(model.conditioner)
    batch = make_batch(model)
    token_only = make_model(conditioner=conditioner(drops=["token"])).eval()
    wake(token_only.conditioner)
    found = dropping(model, batch, [True, True])
    torch.testing.assert_close(found, dropping(token_only, batch, [True, True]))
    noisy, levels, conditions = inputs(model, batch)
    with torch.no_grad():
        without = model.conditioner.unconditional(conditions)
        both = model.conditioner(model.backbone, noisy, levels, without).sample
    assert (found - both).abs().max() > 1e-4


def test_guided_pictures_differ_and_hooks_are_gone():
    pictures = []
    for scale in (1.0, 3.0):
        sampler = dict(type="PLMSSampler", num_steps=2, guidance_scale=scale, start="agnostic")
        model = make_model(sampler=sampler, condition_dropout=0.1).eval()
        wake(model.conditioner)
        pictures.append(model.predict(make_batch(model))[0]["image"])
        assert not any(module._forward_hooks for module in model.backbone.modules())
    assert (pictures[0] != pictures[1]).any()


def test_garment_only_encoder_does_not_see_the_person():
    model = make_model(conditioner=conditioner(encoder_sees="garment"))
    encoder = model.conditioner.encoder
    assert encoder.conv_in.in_channels == 4 and encoder.garment_conv is None
    assert torch.equal(encoder.conv_in.weight, model.backbone.conv_in.weight[:, :4])
    stream = torch.randn(1, 13, 16, 16, requires_grad=True)
    token = torch.randn(1, 1, 8)
    sum(
        f.sum() for f in encoder(stream, torch.randn(1, 4, 16, 16), torch.ones(1), token)
    ).backward()
    assert stream.grad is None


def test_encoder_starts_as_the_unets_own():
    """Features equal the UNet's skip features while the garment's convolution is zero."""
    model = make_model()
    unet = model.backbone
    stream, token, times = torch.randn(1, 13, 16, 16), torch.randn(1, 1, 8), torch.tensor([300.0])
    seen = []
    handle = unet.up_blocks[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["res_hidden_states_tuple"]),
        with_kwargs=True,
    )
    with torch.no_grad():
        unet(stream, times, token)
        features = model.conditioner.encoder(stream, torch.randn(1, 4, 16, 16), times, token)
    handle.remove()
    assert len(features) == 10 and len(seen[0]) == 3  # the UNet's last three go to its lowest level
    hidden = unet.conv_in(stream)
    torch.testing.assert_close(features[0], hidden)


def test_checkpointing_gives_the_same_gradients():
    plain, recomputed = (
        make_model(gradient_checkpointing=flag, attention_losses=KEYPOINTS)
        for flag in (False, True)
    )
    for model in (plain, recomputed):
        wake(model.conditioner)
        losses = model.train().loss(make_batch(model))
        sum(value for name, value in losses.items() if "loss" in name).backward()
    assert recomputed.conditioner.cross.blocks[0].transformer.gradient_checkpointing
    for (name, p), q in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_checkpointing_a_level_without_attention_is_refused():
    flat = UNET | dict(up_block_types=("UpBlock2D",) * 2 + ("CrossAttnUpBlock2D",) * 2)
    with pytest.raises(ValueError, match="CrossAttnUpBlock2D"):
        make_model(backbone=flat, gradient_checkpointing=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(inputs=["agnostic", "depth"]), "depth"),
        (dict(mask_shows="both"), "mask_shows"),
        (dict(encoder_sees="person"), "encoder_sees"),
        (dict(drops=["garment"]), "drops"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        ZeroCrossAttentionConditioner(image_encoder=CLIP, **changes)


def test_bad_backbones():
    flux = dict(
        type="FluxTransformer2DModel", in_channels=16, num_layers=1, num_single_layers=1,
        attention_head_dim=16, num_attention_heads=1, joint_attention_dim=8,
        pooled_projection_dim=8, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    with pytest.raises(ValueError, match="FluxTransformer2DModel"):
        make_model(backbone=flux)
    with pytest.raises(ValueError, match=r"8 wide.*cross_attention_dim is\s+12"):
        make_model(backbone=UNET | dict(cross_attention_dim=12))
    with pytest.raises(ValueError, match="5 heads"):
        make_model(conditioner=conditioner(num_heads=5))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    model = make_model(attention_losses=KEYPOINTS).train()
    with torch.autocast("cpu", dtype=dtype):
        losses = model.loss(make_batch(model))
    total = sum(value for name, value in losses.items() if "loss" in name)
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_garment_positions_add_the_sine_code_of_each_place_to_the_keys():
    from vtonlab.conditioners.zero_cross_attention import _positions

    code = _positions(torch.zeros(2, 8, 4, 6)).double()
    y, x, rates = 3 / (4 / 16), 5 / (6 / 16), torch.tensor([1.0, 0.01]).double()  # of 16x16 places
    wanted = [
        torch.sin(x * rates),
        torch.cos(x * rates),
        torch.sin(y * rates),
        torch.cos(y * rates),
    ]
    torch.testing.assert_close(code[:, 3, 5], torch.cat(wanted), rtol=1e-5, atol=1e-6)
    keys = []
    for with_code in (False, True):
        model = make_model(conditioner=conditioner(garment_positions=with_code)).eval()
        noisy, levels, conditions = inputs(model, make_batch(model))
        layer = model.conditioner.readable(model.backbone)[-1]
        with torch.no_grad():
            read = model.conditioner(model.backbone, noisy, levels, conditions, [layer]).records
        keys.append(read[0].key)
    to_k = model.conditioner.cross.get_submodule(layer).to_k
    places = _positions(torch.zeros(1, to_k.in_features, *read[0].key_grid)).flatten(1).mT
    added = to_k(places).unflatten(-1, (2, -1)).transpose(0, 1)  # by head
    torch.testing.assert_close(keys[1] - keys[0], added.expand_as(keys[0]), rtol=1e-4, atol=1e-5)


def test_garment_positions_want_widths_that_they_can_encode():
    narrow = UNET | dict(block_out_channels=(16, 30, 48, 48), norm_num_groups=2)
    with pytest.raises(ValueError, match="widths that 4 divides, the UNet has 30"):
        make_model(backbone=narrow, conditioner=conditioner(garment_positions=True))
