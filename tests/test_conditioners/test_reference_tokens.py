"""Reference tokens against loops and diffusers' own functions, and lit patches."""

import itertools

import pytest
import torch
from diffusers import Flux2Transformer2DModel
from diffusers.configuration_utils import FrozenDict
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from torch.nn import functional as F

from vtonlab.attention import list_attention_layers
from vtonlab.conditioners import ReferenceTokensConditioner
from vtonlab.losses import AttentionEntropyLoss, CorrespondenceDistillationLoss
from vtonlab.ops.panels import place_ids, text_position_ids
from vtonlab.registry import BACKBONES
from vtonlab.structures import AttentionRecord, Correspondences

HEIGHT, WIDTH, FACTOR = 16, 12, 2  # pixels; latents 8 x 6, tokens 4 x 3 a picture
GRID, TOKENS = (4, 3), 12
FIELDS = ("name", "query", "key", "query_grid", "key_grid", "scale", "context_key")


def flux2(**changes):
    torch.manual_seed(0)
    config = dict(
        type="Flux2Transformer2DModel",
        in_channels=48,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    return BACKBONES.build(config | changes)


def encode(pictures):
    return F.pixel_unshuffle(pictures, FACTOR)


def make_batch(batch=2):
    generator = torch.Generator().manual_seed(0)
    person, garment, pose = torch.rand(3, batch, 3, HEIGHT, WIDTH, generator=generator) * 2 - 1
    mask = torch.zeros(batch, 1, HEIGHT, WIDTH)
    mask[:, :, 5:11, 3:9] = 1
    agnostic = person * (1 - mask)
    return dict(
        person=person, garment=garment, pose=pose, agnostic=agnostic, category=["dresses"] * batch
    )


def make_conditioner(**changes):
    prompt = dict(type="NullPrompt", num_tokens=3, dim=8, pooled_dim=0)
    return ReferenceTokensConditioner(prompt=prompt, **changes)


def run(conditioner, backbone, batch, layers=()):
    noisy = torch.randn(conditioner.target(batch, encode).shape, generator=torch.manual_seed(0))
    conditions = conditioner.prepare(batch, encode)
    sigmas = torch.full((len(batch["category"]),), 0.5)
    return conditioner(backbone, noisy, sigmas, conditions, layers)


class _Spy(Flux2Transformer2DModel):
    """Stands where FLUX.2 would and keeps what it was given; a subclass is of the family too."""

    def __init__(self, guidance=False):
        torch.nn.Module.__init__(self)
        self._internal_dict = FrozenDict(guidance_embeds=guidance)

    def forward(self, **kwargs):
        self.seen = kwargs
        return (kwargs["hidden_states"],)


def test_positions_against_a_loop_and_the_pipeline():
    places = [place_ids((8, 6), 10 * picture) for picture in range(4)]
    ids = F.pad(torch.cat(places), (0, 1))
    expected = [
        (10 * picture, row, column, 0)
        for picture, row, column in itertools.product(range(4), range(4), range(3))
    ]
    assert ids.tolist() == [list(map(float, place)) for place in expected]
    latents = torch.zeros(1, 48, *GRID)
    own = Flux2KleinPipeline._prepare_latent_ids(latents)[0]
    references = Flux2KleinPipeline._prepare_image_ids([latents] * 3)[0]
    assert torch.equal(ids, torch.cat([own, references]).float())
    theirs = Flux2KleinPipeline._prepare_text_ids(torch.zeros(1, 7, 8))[0]
    assert torch.equal(text_position_ids(7), theirs.float())


def test_tokens_against_the_pipelines_packing():
    """Person first, then agnostic person, garment and pose; 2 x 2 latents in its channel order."""
    conditioner, batch, spy = make_conditioner(), make_batch(), _Spy()
    prediction = run(conditioner, spy, batch)
    noisy = torch.randn(2, 12, 8, 6, generator=torch.manual_seed(0))
    pictures = [noisy, *(encode(batch[name]) for name in ("agnostic", "garment", "pose"))]
    packed = [
        Flux2KleinPipeline._pack_latents(Flux2KleinPipeline._patchify_latents(each))
        for each in pictures
    ]
    assert torch.equal(spy.seen["hidden_states"], torch.cat(packed, dim=1))
    assert spy.seen["guidance"] is None and torch.equal(spy.seen["timestep"], torch.full((2,), 0.5))
    assert torch.equal(prediction.sample, noisy)  # the spy echoes; references are cut off
    unpacked = Flux2KleinPipeline._unpack_latents_with_ids(
        packed[0], Flux2KleinPipeline._prepare_latent_ids(torch.zeros(2, 48, *GRID))
    )
    assert torch.equal(Flux2KleinPipeline._unpatchify_latents(unpacked), prediction.sample)


def test_guidance_for_backbones_that_embed_it():
    spy = _Spy(guidance=True)
    run(make_conditioner(guidance_scale=2.5), spy, make_batch())
    assert torch.equal(spy.seen["guidance"], torch.full((2,), 2.5))
    backbone, batch = flux2(guidance_embeds=True), make_batch()
    one, two = (run(make_conditioner(guidance_scale=s), backbone, batch).sample for s in (1.0, 9.0))
    assert not torch.allclose(one, two)


@pytest.mark.parametrize("roles", ["agnostic garment pose", "garment person", "worn garment"])
def test_shapes_and_records(roles):
    """Any references in any order, each of its own size."""
    sizes = {"worn": (8, 12), "garment": (16, 8)}
    references = [dict(role=role, size=sizes.get(role)) for role in roles.split()]
    conditioner, batch = make_conditioner(references=references), make_batch()
    batch |= dict(worn=batch["person"])
    backbone = flux2()
    assert conditioner.needs == tuple(r for r in roles.split() if r not in ("person", "garment"))
    conditions = conditioner.prepare(batch, encode)
    assert conditioner.sequence_length(conditions) == TOKENS
    prediction = run(conditioner, backbone, batch, ["*"])
    assert prediction.sample.shape == (2, 12, 8, 6)
    assert len(prediction.records) == 4
    others = [6 if role == "worn" else TOKENS for role in roles.split() if role != "garment"]
    for record in prediction.records:
        assert record.query_grid == GRID and record.key_grid == (4, 2)
        assert record.key.shape == (2, 2, 8, 16) and record.query.shape == (2, 2, TOKENS, 16)
        assert record.context_key.shape[2] == 3 + TOKENS + sum(others)
        assert torch.isfinite(record.garment_mass()).all()


def test_each_supervised_reference_has_records_and_matches_of_its_own():
    """Two garments in one sequence: the second's loss reads the second's keys and matches."""
    references = [dict(role="person"), dict(role="garment"), dict(role="garment_2", size=(16, 8))]
    roles = ["garment", "garment_2"]
    conditioner = make_conditioner(references=references, supervise=roles)
    batch, g = make_batch(), torch.Generator().manual_seed(1)
    batch["garment_2"] = torch.rand(2, 3, HEIGHT, WIDTH, generator=g)
    for key in ("correspondences", "correspondences_2"):
        batch[key] = [Correspondences(*torch.rand(2, 5, 2, generator=g)) for _ in range(2)]
    records = run(conditioner, flux2(), batch, ["transformer_blocks.1.attn"]).records
    first, second = records
    assert [record.reference for record in records] == roles
    assert first.key_grid == GRID and second.key_grid == (4, 2)
    assert first.context_key.shape[2] == 3 + 2 * TOKENS + 8
    assert second.context_key.shape[2] == 3 + 3 * TOKENS
    settings = dict(form="cross_entropy", t_max=None)
    renamed = {"correspondences": batch["correspondences_2"]}
    plain = AttentionRecord(**{n: getattr(second, n) for n in FIELDS} | {"reference": "garment"})
    timesteps = torch.tensor([500.0, 500.0])
    for loss in (CorrespondenceDistillationLoss, AttentionEntropyLoss):
        only = settings if loss is CorrespondenceDistillationLoss else dict(t_max=None)
        found = loss(**only, reference="garment_2")(records, batch, timesteps=timesteps, step=0)
        alone = loss(**only)([plain], renamed, timesteps=timesteps, step=0)
        other = loss(**only)(records, batch, timesteps=timesteps, step=0)
        assert torch.equal(found["loss"], alone["loss"]) and found["loss"] != other["loss"]
    with pytest.raises(ValueError, match=r"of reference 'worn', only of garment, garment_2: add"):
        CorrespondenceDistillationLoss(reference="worn")(
            records, batch, timesteps=timesteps, step=0
        )
    del batch["correspondences_2"]
    with pytest.raises(ValueError, match="needs 'correspondences_2' in the batch"):
        CorrespondenceDistillationLoss(reference="garment_2")(
            records, batch, timesteps=timesteps, step=0
        )


def test_settings_that_cannot_be():
    for wrong in ([], ["garment", "garment"]):
        with pytest.raises(ValueError, match="supervise"):
            make_conditioner(supervise=wrong)
    with pytest.raises(ValueError, match=r"supervise='garment' must be .* roles are \['pose'\]"):
        make_conditioner(references=[dict(role="pose")])
    with pytest.raises(ValueError, match="its settings are role, size, position_scale, dropout"):
        make_conditioner(references=[dict(role="garment", dropuot=0.1)])
    for wrong in (dict(dropout=1.0), dict(position_scale=0)):
        with pytest.raises(ValueError, match="reference 'garment': "):
            make_conditioner(references=[dict(role="garment", **wrong)])


def test_references_are_dropped_alone_and_together():
    references = [dict(role="agnostic"), dict(role="garment", dropout=0.2)]
    conditioner = make_conditioner(references=references)
    conditions = conditioner.prepare(make_batch(), encode)
    dropped = torch.tensor([True, False])
    assert conditioner.dropouts == {"garment": 0.2}
    agnostic, garment = conditioner.drop_parts(conditions, {"garment": dropped})["references"]
    assert torch.equal(agnostic, conditions["references"][0])
    assert not garment[0].any() and torch.equal(garment[1], conditions["references"][1][1])
    assert torch.equal(conditioner.withholds_garment({"garment": dropped}), dropped)
    assert conditioner.withholds_garment({}) is None
    for reference in conditioner.drop(conditions, dropped)["references"]:
        assert not reference[0].any() and reference[1].any()
    agnostic, garment = conditioner.unconditional(conditions)["references"]
    assert agnostic.any() and not garment.any()  # what training drops


@pytest.mark.parametrize("layer", ["transformer_blocks.0.attn", "single_transformer_blocks.0.attn"])
def test_lit_patches_move_exactly_their_own_tokens(layer):
    """One garment patch moves one key and no query, one noisy patch one query and no key."""
    backbone = flux2(**({"num_layers": 0} if "single" in layer else {}))
    conditioner, batch = make_conditioner(), make_batch(1)
    conditions, noisy = conditioner.prepare(batch, encode), torch.randn(1, 12, 8, 6)

    def record(noisy, conditions):
        return conditioner(backbone, noisy, torch.full((1,), 0.5), conditions, [layer]).records[0]

    def moved(name, other):
        change = (getattr(other, name) - getattr(before, name)).abs().amax((0, 1, 3))
        return (change > 1e-6).nonzero().flatten().tolist()

    before = record(noisy, conditions)
    lit = {**batch, "garment": batch["garment"].clone()}
    lit["garment"][:, :, 4:8, 8:12] += 1.0  # token row 1, column 2
    after = record(noisy, conditioner.prepare(lit, encode))
    assert moved("key", after) == [1 * 3 + 2] and moved("query", after) == []
    assert moved("context_key", after) == []
    bright = noisy.clone()
    bright[:, :, 4:6, 0:2] += 1.0  # latents of token row 2, column 0
    after = record(bright, conditions)
    assert moved("query", after) == [2 * 3 + 0] and moved("key", after) == []
    assert moved("context_key", after) == [3 + 2 * 3 + 0]  # behind the text


def test_layers_are_listed_with_their_kinds():
    kinds = [layer.kind for layer in list_attention_layers(flux2())]
    assert kinds == ["joint", "joint", "single", "single"]


def test_recording_changes_nothing():
    conditioner, backbone, batch = make_conditioner(), flux2(), make_batch()
    plain = run(conditioner, backbone, batch)
    assert torch.equal(plain.sample, run(conditioner, backbone, batch, ["*"]).sample)


@pytest.mark.parametrize("name", ["agnostic", "garment", "pose"])
def test_every_reference_is_seen(name):
    conditioner, backbone, batch = make_conditioner(), flux2(), make_batch()
    first, second = (
        run(conditioner, backbone, b).sample for b in (batch, batch | {name: -batch[name]})
    )
    assert not torch.allclose(first, second)


def test_true_result_is_the_target_where_there_is_one():
    conditioner, batch = make_conditioner(), make_batch()
    target = conditioner.target(batch | dict(target=-batch["person"]), encode)
    assert torch.equal(conditioner.person_latents(target), encode(-batch["person"]))


def test_unknown_backbone_is_one_sentence():
    with pytest.raises(ValueError, match=r"call Linear: use .*Flux2Transformer2DModel, FluxTr"):
        run(make_conditioner(), torch.nn.Linear(1, 1), make_batch())
