"""Spatial concatenation against a layer derived by hand, and every switch of the conditioner."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional as F

from vtonlab.attention import list_attention_layers
from vtonlab.conditioners import SpatialConcatConditioner
from vtonlab.registry import BACKBONES

HEIGHT, WIDTH, FACTOR = 16, 12, 2  # pixels; latents 8 x 6 and, one level down, 4 x 3
LATENT = 12
SELF = ["*.attn1"]


def unet(**changes):
    torch.manual_seed(0)
    config = dict(
        type="UNet2DConditionModel",
        in_channels=LATENT + 1 + LATENT,
        out_channels=LATENT,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    return BACKBONES.build(config | changes).double().eval()


def sdxl():
    """Its decoder ends without attention, and it has pooled text and size inputs."""
    return unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
    )


def encode(pictures):
    return F.pixel_unshuffle(pictures, FACTOR)


def make_batch(batch=2):
    generator = torch.Generator().manual_seed(0)
    shape = (3, batch, 3, HEIGHT, WIDTH)
    pictures = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    mask = torch.zeros(batch, 1, HEIGHT, WIDTH, dtype=torch.float64)
    mask[:, :, 4:11, 3:9] = 1
    return dict(
        person=pictures[0],
        garment=pictures[1],
        pose=pictures[2],
        agnostic=pictures[0] * (1 - mask),
        mask=mask,
        category=["upper_body"] * batch,
    )


def make(backbone=None, **settings):
    backbone = unet() if backbone is None else backbone
    conditioner = SpatialConcatConditioner(**settings)
    conditioner.attach(backbone)
    return conditioner, backbone


def run(conditioner, backbone, batch, layers=(), level=0.5, conditions=None):
    target = conditioner.target(batch, encode)
    conditions = conditioner.prepare(batch, encode) if conditions is None else conditions
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(target.shape, generator=generator, dtype=torch.float64)
    sigmas = torch.full((len(target),), level, dtype=torch.float64)
    return conditioner(backbone, noisy, sigmas, conditions, layers)


def inputs_and_outputs(module):
    """Every self-attention's (input, output) of later calls, by name."""
    seen = {}
    for name, part in module.named_modules():
        if name.endswith(".attn1"):
            part.register_forward_hook(
                lambda _, args, out, name=name: seen.update({name: (args[0], out)})
            )
    return seen


def concatenate_attend_keep_first_half(layer, own, other):
    """METHODS 3.1: queries, keys and values of both halves, all by the layer's own weights."""
    both = torch.cat([own, other], 1)
    q, k, v = (
        project(both).unflatten(2, (layer.heads, -1)).transpose(1, 2)
        for project in (layer.to_q, layer.to_k, layer.to_v)
    )
    attention = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)  # the whole map, both halves
    joined = layer.to_out[0]((attention @ v).transpose(1, 2).flatten(2))
    return joined[:, : own.shape[1]]


@pytest.mark.parametrize("build", [unet, sdxl])
@pytest.mark.parametrize("form", ["skip", "residual"])
def test_every_layer_concatenates_attends_and_keeps_the_first_half(build, form):
    conditioner, backbone = make(build(), cross_attention=form)
    with torch.no_grad():  # two networks that were trained apart
        for parameter in conditioner.reference_unet.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    own, other = inputs_and_outputs(backbone), inputs_and_outputs(conditioner.reference_unet)
    run(conditioner, backbone, make_batch())
    assert len(own) == len(other) == sum(x.kind == "self" for x in list_attention_layers(backbone))
    for name, (tokens, found) in own.items():
        layer = backbone.get_submodule(name)
        wanted = concatenate_attend_keep_first_half(layer, tokens, other[name][0])
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_reference_features_are_taken_after_norm1():
    conditioner, backbone = make()
    seen = inputs_and_outputs(conditioner.reference_unet)
    normed = {}
    for name, part in conditioner.reference_unet.named_modules():
        if name.endswith(".norm1") and ".transformer_blocks." in name:
            key = name.replace("norm1", "attn1")
            part.register_forward_hook(lambda _, args, out, key=key: normed.update({key: out}))
    run(conditioner, backbone, make_batch())
    assert set(seen) == set(normed)
    assert all(torch.equal(seen[name][0], normed[name]) for name in seen)


def test_skip_leaves_out_cross_attention_and_nothing_else():
    """The same as cross-attention that answers zero to any text."""
    silent = unet(in_channels=LATENT)
    for name, module in silent.named_modules():
        if name.endswith("attn2"):
            torch.nn.init.zeros_(module.to_out[0].weight)
            torch.nn.init.zeros_(module.to_out[0].bias)
    wanted = silent(torch.ones(1, LATENT, 8, 6).double(), 7, torch.randn(1, 3, 8).double()).sample
    _, backbone = make(unet(in_channels=LATENT), reference="self", inputs=["agnostic"])
    streams = torch.cat([torch.ones(1, LATENT, 8, 6), torch.zeros(1, LATENT, 8, 6)], 1).double()
    found = backbone(streams, 7, None).sample  # the widened conv_in ignores the zeros
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    blocks = [n for n, _ in backbone.named_parameters() if "transformer_blocks" in n]
    assert blocks and not [n for n in blocks if ".attn2." in n or ".norm2." in n]


def test_residual_adds_the_normed_input():
    _, backbone = make(cross_attention="residual")
    (name,) = [n for n, _ in backbone.named_modules() if n.endswith("up_blocks.1.attentions.0")]
    block = backbone.get_submodule(f"{name}.transformer_blocks.0")
    x = torch.randn(2, 48, 16, dtype=torch.float64)
    after_self = x + block.attn1(block.norm1(x))
    wanted = after_self + block.norm2(after_self)
    wanted = wanted + block.ff(block.norm3(wanted))
    torch.testing.assert_close(block(x), wanted, rtol=0, atol=1e-12)
    assert not any(p.requires_grad for p in block.attn2.parameters())
    assert all(p.requires_grad for p in block.norm2.parameters())


class _Spy(UNet2DConditionModel):
    def __init__(self):
        torch.nn.Module.__init__(self)

    def forward(self, sample, timesteps, **kwargs):
        self.sample, self.timesteps, self.kwargs = sample, timesteps, kwargs
        return (sample[:, :LATENT],)


def test_channels_of_the_person_half_and_of_the_garment_half():
    batch = make_batch()
    halves = {}
    for reference in ("unet", "self"):
        conditioner, spy = make(reference=reference)[0], _Spy()
        out = run(conditioner, spy, batch).sample
        assert torch.equal(spy.timesteps, torch.full((2,), 500.0).double())
        halves[reference] = spy.sample[:, LATENT:]
        assert conditioner.person_latents(out).shape == (2, LATENT, 8, 6)
    small = batch["mask"][:, :, ::2, ::2], encode(batch["agnostic"]), batch["pose"][:, :, ::2, ::2]
    person = torch.cat(small, 1)
    garment = torch.zeros_like(person)
    garment[:, 1 : 1 + LATENT] = encode(batch["garment"])
    assert torch.equal(halves["unet"], person)
    assert torch.equal(halves["self"], torch.cat([person, garment], 2))  # person above garment


def test_a_pose_may_be_shown_as_latents():
    """In its place among the inputs, zero beside the garment; the data set gives one pose."""
    batch, inputs = make_batch(), ["pose_latents", "agnostic", "pose"]
    for reference in ("unet", "self"):
        conditioner, spy = make(reference=reference, inputs=inputs)[0], _Spy()
        run(conditioner, spy, batch)
        given = spy.sample[:, LATENT:]
        parts = encode(batch["pose"]), encode(batch["agnostic"]), batch["pose"][:, :, ::2, ::2]
        person, below = torch.cat(parts, 1), given[:, :, 8:]
        assert torch.equal(given[:, :, :8], person) and conditioner.needs == ("pose", "agnostic")
    garment = torch.zeros_like(person)
    garment[:, LATENT : 2 * LATENT] = encode(batch["garment"])
    assert torch.equal(below, garment)
    nothing = conditioner.unconditional(conditioner.prepare(batch, encode))["given"]
    assert torch.equal(nothing[:, :, :8], person) and not nothing[:, :, 8:].any()


def test_target_stacks_person_and_garment_for_one_unet_alone():
    batch = make_batch()
    person, garment = encode(batch["person"]), encode(batch["garment"])
    assert torch.equal(make()[0].target(batch, encode), person)
    both = make(reference="self")[0].target(batch, encode)
    assert torch.equal(both, torch.cat([person, garment], 2))


@pytest.mark.parametrize(
    ("inputs", "channels"),
    [
        (["mask", "agnostic", "pose"], 12),
        (["pose"], 7),
        (["mask", "agnostic"], 9),
        (["mask", "agnostic", "pose_latents"], 13),
    ],
)
def test_input_channels_of_sd15(inputs, channels):
    """Try-on 12, pose transfer 7, CatVTON 9; new ones start at zero, the reference keeps four."""
    backbone = unet(in_channels=9, out_channels=4)
    old = backbone.conv_in.weight.clone(), backbone.conv_in.bias.clone()
    conditioner, backbone = make(backbone, inputs=inputs)
    kept = min(channels, 9)
    assert backbone.conv_in.weight.shape[1] == backbone.config.in_channels == channels
    assert torch.equal(backbone.conv_in.weight[:, :kept], old[0][:, :kept])
    assert not backbone.conv_in.weight[:, kept:].any()
    reference = conditioner.reference_unet.conv_in
    assert torch.equal(reference.weight, old[0][:, :4])
    assert torch.equal(reference.bias, old[1]) and torch.equal(backbone.conv_in.bias, old[1])


@pytest.mark.parametrize("build", [unet, sdxl])
@pytest.mark.parametrize("form", ["skip", "residual"])
@pytest.mark.parametrize("reference", ["unet", "self"])
def test_gradient_reaches_every_trainable_parameter(build, form, reference):
    conditioner, backbone = make(build(), reference=reference, cross_attention=form)
    run(conditioner, backbone, make_batch()).sample.square().mean().backward()
    parameters = [*backbone.named_parameters(), *conditioner.named_parameters()]
    trained = [name for name, p in parameters if p.requires_grad]
    assert trained == [name for name, p in parameters if p.grad is not None]
    if form == "skip":
        assert all(p.requires_grad for _, p in backbone.named_parameters())


@pytest.mark.parametrize("reference", ["unet", "self"])
def test_gradient_checkpointing_changes_no_gradient(reference):
    gradients = []
    for checkpointing in (False, True):
        conditioner, backbone = make(reference=reference)
        if checkpointing:
            backbone.enable_gradient_checkpointing()
            conditioner.enable_gradient_checkpointing()
        backbone.train(), conditioner.train()
        prediction = run(conditioner, backbone, make_batch(), SELF)
        loss = prediction.sample.square().mean()
        for record in prediction.records:
            loss = loss + record.entropy().mean()
        loss.backward()
        gradients.append(
            [p.grad for m in (backbone, conditioner) for p in m.parameters() if p.requires_grad]
        )
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("reference", ["unet", "self"])
def test_records_hold_person_queries_garment_keys_and_the_person_as_context(reference):
    conditioner, backbone = make(reference=reference)
    plain = run(conditioner, backbone, make_batch())
    recorded = run(conditioner, backbone, make_batch(), SELF)
    assert torch.equal(plain.sample, recorded.sample)
    grids = [(8, 6), (4, 3), (4, 3), (4, 3), (4, 3), (8, 6), (8, 6)]  # down, mid, up
    assert [r.query_grid for r in recorded.records] == grids
    assert [r.key_grid for r in recorded.records] == grids
    assert [r.name for r in recorded.records] == conditioner.readable(backbone)
    for record in recorded.records:
        tokens = record.query_grid[0] * record.query_grid[1]
        assert record.query.shape[2] == record.key.shape[2] == tokens
        assert record.context_key.shape[2] == tokens
        assert torch.isfinite(record.garment_mass()).all()


def without_mixing(module):
    """Before the attention: no norm over the picture, no convolution over neighbours."""
    for name, part in module.named_modules():
        if "down_blocks.0.resnets.0" in name and isinstance(part, torch.nn.Conv2d):
            torch.nn.init.zeros_(part.weight)
        if name.endswith("attentions.0.norm") and "down_blocks.0" in name:
            part.forward = lambda x: x
    kept = module.conv_in.weight[:, :, 1:2, 1:2].detach().clone()
    torch.nn.init.zeros_(module.conv_in.weight)
    module.conv_in.weight.data[:, :, 1:2, 1:2] = kept + 0.1 * torch.randn_like(kept)


@pytest.mark.parametrize("reference", ["unet", "self"])
def test_lit_patches_move_exactly_their_own_tokens(reference):
    """One garment patch moves one key, one person patch one query; no other."""
    conditioner, backbone = make(reference=reference)
    without_mixing(backbone)
    if reference == "unet":
        without_mixing(conditioner.reference_unet)
    layer = ["down_blocks.0.attentions.0.transformer_blocks.0.attn1"]
    dark = make_batch(1)
    lit = {k: v.clone() if torch.is_tensor(v) else v for k, v in dark.items()}
    lit["garment"][:, :, 2:4, 8:10] += 2.0  # latent row 1, column 4
    lit["agnostic"][:, :, 12:14, 2:4] += 2.0  # latent row 6, column 1
    clean = conditioner.target(dark, encode)
    level = torch.full((1,), 0.5, dtype=torch.float64)
    before, after = (
        conditioner(backbone, clean, level, conditioner.prepare(b, encode), layer).records[0]
        for b in (dark, lit)
    )
    moved_keys = (after.key - before.key).abs().amax((0, 1, 3)) > 1e-9
    moved_queries = (after.query - before.query).abs().amax((0, 1, 3)) > 1e-9
    assert moved_keys.nonzero().flatten().tolist() == [1 * 6 + 4]
    assert moved_queries.nonzero().flatten().tolist() == [6 * 6 + 1]


def test_odd_sizes_round_up_level_by_level():
    conditioner, backbone = make()
    batch = make_batch(1)
    for key in ("person", "garment", "pose", "agnostic", "mask"):
        batch[key] = batch[key][:, :, :14, :10]  # latents 7x5, then 4x3
    records = run(conditioner, backbone, batch, SELF).records
    assert [r.query_grid for r in records] == [(7, 5), *[(4, 3)] * 4, (7, 5), (7, 5)]
    stacked, one = make(reference="self")
    with pytest.raises(ValueError, match="halve evenly"):  # 14 rows of both: 7, not 4 + 4
        run(stacked, one, batch, SELF)


def test_cached_reference_features_give_the_same_answers():
    """With a fixed timestep the reference UNet runs once for all steps, and nothing changes."""
    conditioner, backbone = make(reference_timestep=500)
    calls = []
    conditioner.reference_unet.register_forward_hook(lambda *_: calls.append(1))
    batch = make_batch()
    kept = conditioner.prepare(batch, encode)
    with torch.no_grad():
        for level in (0.9, 0.5, 0.1):
            cached = run(conditioner, backbone, batch, level=level, conditions=kept).sample
            fresh = run(conditioner, backbone, batch, level=level).sample
            assert torch.equal(cached, fresh)
    assert len(calls) == 1 + 3
    moving, same_backbone = make()
    with torch.no_grad():
        at_500 = run(moving, same_backbone, batch, level=0.5).sample
    torch.testing.assert_close(run(conditioner, backbone, batch).sample, at_500)


def test_training_at_a_fixed_timestep_reaches_the_reference_and_keeps_nothing():
    conditioner, backbone = make(reference_timestep=500)
    conditions = conditioner.prepare(make_batch(), encode)
    run(conditioner, backbone, make_batch(), conditions=conditions).sample.mean().backward()
    assert "features" not in conditions
    assert conditioner.reference_unet.conv_in.weight.grad.abs().max() > 0


@pytest.mark.parametrize("reference", ["unet", "self"])
def test_dropped_samples_see_zeros_in_place_of_the_garment(reference):
    conditioner, backbone = make(reference=reference)
    batch, other = make_batch(), make_batch()
    other["garment"] = -other["garment"]
    one, two = (conditioner.prepare(b, encode) for b in (batch, other))
    dropped = torch.tensor([True, False])
    first, second = (conditioner.drop(c, dropped) for c in (one, two))
    assert torch.equal(first["given"][0], second["given"][0])
    assert not first["garment"][0].any()
    assert torch.equal(first["garment"][1], one["garment"][1])
    assert torch.equal(first["given"][1], one["given"][1])
    nothing = conditioner.unconditional(one)
    for key, value in conditioner.unconditional(two).items():
        assert torch.equal(nothing[key], value)
    sample = run(conditioner, backbone, batch).sample
    free = run(conditioner, backbone, batch, conditions=nothing).sample
    assert not torch.allclose(sample, free)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(reference="both"), "reference='both'"),
        (dict(inputs=["mask", "depth"]), "inputs='depth'"),
        (dict(inputs=[]), "inputs is empty"),
        (dict(cross_attention="none"), "cross_attention='none'"),
        (dict(reference="self", inputs=["pose"]), "add it to inputs"),
        (dict(reference="self", reference_timestep=500), "for reference='unet'"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        SpatialConcatConditioner(**settings)


def test_other_backbones_are_one_sentence():
    with pytest.raises(ValueError, match="call Linear: use UNet2DConditionModel"):
        SpatialConcatConditioner().attach(torch.nn.Linear(1, 1))
    plain = unet(up_block_types=("UpBlock2D", "UpBlock2D"))
    with pytest.raises(ValueError, match="self-attention in its decoder"):
        SpatialConcatConditioner().attach(plain)
