"""The three-panel sequence against a second derivation, and lit patches for both token orders."""

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.configuration_utils import FrozenDict
from torch.nn import functional as F

from vtonlab.backbones.families import Text, family_of
from vtonlab.conditioners import Full3DAttentionConditioner
from vtonlab.registry import BACKBONES

HEIGHT, WIDTH, FACTOR = 16, 12, 2  # pixels; latents 8 x 6, tokens 4 x 3 per panel
GRID = (4, 3)


def flux(**changes):
    config = dict(
        type="FluxTransformer2DModel",
        in_channels=112,
        out_channels=48,
        num_layers=2,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 6, 6),
    )
    return BACKBONES.build(config | changes)


def sd3(in_channels=28):
    return BACKBONES.build(
        dict(
            type="SD3Transformer2DModel",
            sample_size=32,
            patch_size=2,
            in_channels=in_channels,
            out_channels=12,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=8,
            caption_projection_dim=16,
            pooled_projection_dim=8,
            pos_embed_max_size=32,
        )
    )


def encode(pictures):
    return F.pixel_unshuffle(pictures, FACTOR)


def make_batch(batch=2):
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(4, batch, 3, HEIGHT, WIDTH, generator=generator) * 2 - 1
    mask = torch.zeros(batch, 1, HEIGHT, WIDTH)
    mask[:, :, 5:11, 3:9] = 1
    return dict(
        person=pictures[0],
        garment=pictures[1],
        pose=pictures[2],
        agnostic=pictures[0] * (1 - mask),
        mask=mask,
        category=["upper_body"] * batch,
    )


def make_conditioner(**changes):
    prompt = dict(type="NullPrompt", num_tokens=3, dim=8, pooled_dim=8)
    return Full3DAttentionConditioner(prompt=prompt, codec_factor=FACTOR, **changes)


def run(conditioner, backbone, batch, layers=()):
    torch.manual_seed(0)
    target = conditioner.target(batch, encode)
    conditions = conditioner.prepare(batch, encode)
    sigmas = torch.full((len(batch["category"]),), 0.5)
    return conditioner(backbone, torch.randn_like(target), sigmas, conditions, layers)


class _Spy(FluxTransformer2DModel):
    """Stands where FLUX would and keeps what it was given; a subclass is of the family too."""

    def __init__(self, guidance=True):
        torch.nn.Module.__init__(self)
        self._internal_dict = FrozenDict(guidance_embeds=guidance)

    def forward(self, **kwargs):
        self.seen = kwargs
        return (kwargs["hidden_states"][..., :48],)


def test_tokens_equal_the_published_layout():
    """[garment | person | pose]: noisy, canvas and mask streams, packed as METHODS.md 1.2 tells."""
    batch, conditioner, spy = make_batch(), make_conditioner(), _Spy()
    target = conditioner.target(batch, encode)
    noisy = torch.randn_like(target)
    conditions = conditioner.prepare(batch, encode)
    prediction = conditioner(spy, noisy, torch.full((2,), 0.25), conditions)
    tokens = spy.seen["hidden_states"]
    assert tokens.shape == (2, 4 * 9, 112)
    black, zero = torch.zeros_like(batch["person"]), torch.zeros_like(batch["mask"])
    canvases = [batch["garment"], batch["agnostic"], black]
    masks = [zero, batch["mask"], zero]
    noisy_panels = [noisy[..., :6], noisy[..., 6:], encode(batch["pose"])]
    for row in range(4):
        for column in range(9):
            panel, own = divmod(column, 3)
            pixels = (slice(4 * row, 4 * row + 4), slice(4 * own, 4 * own + 4))
            latents = (slice(2 * row, 2 * row + 2), slice(2 * own, 2 * own + 2))
            token = tokens[:, row * 9 + column]
            stream = noisy_panels[panel][:, :, latents[0], latents[1]].flatten(1)
            canvas = encode(canvases[panel])[:, :, latents[0], latents[1]].flatten(1)
            window = masks[panel][:, 0, pixels[0], pixels[1]]
            folded = F.pixel_unshuffle(window[:, None], FACTOR).flatten(1)
            assert torch.equal(token, torch.cat([stream, canvas, folded], 1))
    assert torch.equal(spy.seen["guidance"], torch.full((2,), 30.0))
    conditioner.training_guidance_scale = 1.0
    for training, scale in ((True, 1.0), (False, 30.0)):
        conditioner.train(training)(spy, noisy, torch.full((2,), 0.25), conditions)
        assert torch.equal(spy.seen["guidance"], torch.full((2,), scale))
    assert torch.equal(spy.seen["timestep"], torch.full((2,), 0.25))
    assert spy.seen["txt_ids"].shape == (3, 3) and not spy.seen["txt_ids"].any()
    assert torch.equal(prediction.sample, noisy)  # the spy echoes the noisy stream; pose is cut off


def test_channels_at_the_papers_size():
    """1024x768 with FLUX's VAE: 9 216 tokens of 64 + 64 + 256 channels."""
    conditioner = make_conditioner()
    conditioner.codec_factor = 8
    batch = dict(
        garment=torch.zeros(1, 3, 1024, 768),
        agnostic=torch.zeros(1, 3, 1024, 768),
        pose=torch.zeros(1, 3, 1024, 768),
        mask=torch.zeros(1, 1, 1024, 768),
        category=["upper_body"],
    )

    def vae(pictures):
        return pictures.new_zeros(1, 16, pictures.shape[2] // 8, pictures.shape[3] // 8)

    conditions = conditioner.prepare(batch, vae)
    assert conditioner.sequence_length(conditions) == 9216
    spy = _Spy()
    conditioner(spy, torch.zeros(1, 16, 128, 192), torch.ones(1), conditions)
    assert spy.seen["hidden_states"].shape == (1, 9216, 384)
    assert spy.seen["img_ids"].shape == (9216, 3)


@pytest.mark.parametrize("make", [flux, sd3])
def test_prediction_and_records_have_the_right_shapes(make):
    backbone, conditioner = make(), make_conditioner()
    prediction = run(conditioner, backbone, make_batch(), ["*"])
    assert prediction.sample.shape == (2, 12, 8, 12)
    for record in prediction.records:
        assert record.query_grid == record.key_grid == GRID
        assert record.query.shape[2] == record.key.shape[2] == 12
        assert record.context_key.shape[2] == 3 + 2 * 12  # text, person and pose
        assert torch.isfinite(record.garment_mass()).all()


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (flux, "transformer_blocks.0.attn"),
        (flux, "single_transformer_blocks.0.attn"),
        (sd3, "transformer_blocks.0.attn"),
    ],
)
def test_lit_patches_move_exactly_their_own_tokens(make, layer):
    """One garment patch moves one key, one person patch one query; no other."""
    torch.manual_seed(0)
    backbone, conditioner = make(**({"num_layers": 0} if "single" in layer else {})), None
    conditioner = make_conditioner()
    dark = make_batch(1)
    lit = {k: v.clone() if torch.is_tensor(v) else v for k, v in dark.items()}
    lit["garment"][:, :, 4:8, 8:12] += 1.0  # token row 1, column 2
    lit["agnostic"][:, :, 8:12, 0:4] += 1.0  # token row 2, column 0
    before = run(conditioner, backbone, dark, [layer]).records[0]
    after = run(conditioner, backbone, lit, [layer]).records[0]
    moved_keys = (after.key - before.key).abs().amax((0, 1, 3)) > 1e-6
    moved_queries = (after.query - before.query).abs().amax((0, 1, 3)) > 1e-6
    assert moved_keys.nonzero().flatten().tolist() == [1 * 3 + 2]
    assert moved_queries.nonzero().flatten().tolist() == [2 * 3 + 0]


@pytest.mark.parametrize("make", [flux, sd3])
def test_recording_changes_nothing(make):
    backbone, conditioner, batch = make(), make_conditioner(), make_batch()
    plain = run(conditioner, backbone, batch)
    recorded = run(conditioner, backbone, batch, ["*"])
    assert torch.equal(plain.sample, recorded.sample)


def test_pose_is_seen():
    backbone, conditioner, batch = flux(), make_conditioner(), make_batch()
    other = batch | dict(pose=-batch["pose"])
    first, second = (run(conditioner, backbone, b).sample for b in (batch, other))
    assert not torch.allclose(first, second)


def test_two_panels_need_no_pose():
    conditioner, batch = make_conditioner(pose_panel=False), make_batch()
    del batch["pose"]
    assert run(conditioner, flux(), batch).sample.shape == (2, 12, 8, 12)


def test_unknown_backbone_is_one_sentence():
    conditioner, batch = make_conditioner(), make_batch()
    with pytest.raises(ValueError, match=r"Linear.*FluxTransformer2DModel"):
        run(conditioner, torch.nn.Linear(1, 1), batch)


def test_true_result_is_the_target_where_there_is_one():
    conditioner, batch = make_conditioner(), make_batch()
    result = -batch["person"]
    target = conditioner.target(batch | dict(target=result), encode)
    assert torch.equal(conditioner.person_latents(target), encode(result))


def test_sd3_gets_channels_that_change_nothing_at_first():
    """As released, SD3 takes noisy latents alone; canvas and mask channels start at zero."""
    backbone, conditioner = sd3(in_channels=12), make_conditioner()
    before = backbone.pos_embed.proj.weight.detach().clone()
    conditioner.attach(backbone)
    after = backbone.pos_embed.proj
    assert after.weight.shape[1] == backbone.config.in_channels == 12 + 12 + 4
    assert torch.equal(after.weight[:, :12], before) and not after.weight[:, 12:].any()
    batch = make_batch()
    first = run(conditioner, backbone, batch).sample
    second = run(conditioner, backbone, batch | dict(agnostic=-batch["agnostic"])).sample
    assert torch.equal(first, second)


class TestFreePoseTokens:
    """As CORAL's release samples: the sampler steps the pose tokens too (METHODS.md A3)."""

    @staticmethod
    def sampled(conditioner, backbone, batch, steps=3):
        """What a model draws, by hand: Euler steps on all tokens of diffusers' own call."""
        conditions = conditioner.prepare(batch, encode)
        noise = torch.randn(2, 12, 8, 12, generator=torch.manual_seed(1))
        latents = torch.cat([noise, encode(batch["pose"])], dim=-1)
        family = family_of(backbone, "panels")
        text = Text(conditions["text"], conditions["pooled"])
        for step in range(steps):
            sigma = torch.full((2,), 1 - step / steps)
            velocity = family.panels(
                backbone, latents, conditions["canvas"], sigma, text, panels=3, guidance_scale=30.0
            )
            latents = latents - velocity / steps
        return noise, conditions, latents

    def test_against_a_loop_over_all_tokens(self):
        from vtonlab.samplers import FlowMatchEulerSampler

        conditioner, backbone, batch = make_conditioner(pose_tokens="free"), flux(), make_batch()
        with torch.no_grad():
            noise, conditions, expected = self.sampled(conditioner, backbone, batch)
            start = conditioner.start(noise, conditions)
            assert torch.equal(start[..., 12:], encode(batch["pose"]))
            found = FlowMatchEulerSampler(num_steps=3)(
                lambda z, s: conditioner(backbone, z, s, conditions).sample, start, 36
            )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(conditioner.finish(found), found[..., :12])
        assert (found[..., 12:] - start[..., 12:]).abs().max() > 1e-3  # the pose has moved

    def test_the_first_step_is_the_same_and_training_is_untouched(self):
        clean, free = make_conditioner(), make_conditioner(pose_tokens="free")
        backbone, batch = flux(), make_batch()
        conditions = clean.prepare(batch, encode)
        noise, sigma = torch.randn(2, 12, 8, 12), torch.ones(2)
        assert clean.start(noise, conditions) is noise and clean.finish(noise) is noise
        first = clean(backbone, noise, sigma, conditions, ["*"])
        second = free(backbone, free.start(noise, conditions), sigma, conditions, ["*"])
        assert torch.equal(second.sample[..., :12], first.sample)
        for one, two in zip(first.records, second.records, strict=True):
            assert torch.equal(one.query, two.query) and torch.equal(one.key, two.key)
        assert torch.equal(run(clean, backbone, batch).sample, run(free, backbone, batch).sample)

    def test_refusals(self):
        with pytest.raises(ValueError, match="choose 'clean' or 'free'"):
            make_conditioner(pose_tokens="released")
        with pytest.raises(ValueError, match="needs pose_panel=True"):
            make_conditioner(pose_tokens="free", pose_panel=False)
