"""One call of the network for both halves of guidance, no encode for a shape alone."""

import sys
from pathlib import Path

import pytest
import torch

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "test_conditioners")]
import small_unet
from test_reference_unets import build

from vtonlab.conditioners import Full3DAttentionConditioner, ReferenceTokensConditioner

SCALE = 2.5


def concatenating(make_batch, **settings):
    model = build(dict(guidance_scale=SCALE), **settings)
    return model.eval(), make_batch(model)


def crossing(make_batch, **settings):
    sampler = dict(type="DDIMSampler", num_steps=2, guidance_scale=SCALE)
    conditioner = small_unet.conditioner(**settings)
    model = small_unet.make_model(sampler=sampler, conditioner=conditioner, condition_dropout=0.1)
    small_unet.wake(model.conditioner)
    return model.eval(), small_unet.make_batch(model)


GUIDED = {
    "reference UNet": (concatenating, dict(reference="unet")),
    "kept features": (concatenating, dict(reference="unet", reference_timestep=500)),
    "one UNet": (concatenating, dict(reference="self")),
    "no features": (crossing, {}),
    "no token": (crossing, dict(drops=["token"])),
}


@pytest.mark.parametrize("case", GUIDED)
def test_both_halves_of_guidance_are_one_call(make_batch, case):
    make, settings = GUIDED[case]
    model, batch = make(make_batch, **settings)
    sizes = []
    model.backbone.register_forward_hook(lambda module, args, out: sizes.append(len(out[0])))
    model.predict(batch)
    assert set(sizes) == {4}  # two pairs
    assert len(sizes) == model.sampler.num_steps


@pytest.mark.parametrize("case", GUIDED)
def test_one_call_says_what_two_calls_say(make_batch, case):
    """In float64: sums of a few thousand terms, 50 layers deep, are good for 11 digits."""
    make, settings = GUIDED[case]
    model, batch = make(make_batch, **settings)
    conditions = model.conditioner.prepare(batch, model.encode)
    model.double()
    conditions = {k: v.double() if k in ("given", "garment", "clip") else v
                  for k, v in conditions.items()}  # fmt: skip
    without = model.conditioner.unconditional(conditions)
    start = model.conditioner.blank(conditions)
    noisy = torch.randn(start.shape, generator=torch.Generator().manual_seed(0)).double()
    sigmas = torch.tensor([0.9, 0.4], dtype=torch.float64)
    with torch.no_grad():
        two = [model._predictor(dict(each))(noisy, sigmas) for each in (conditions, without)]
        both = model._predictor(model.conditioner.joined(conditions, without))
        one = both(torch.cat([noisy, noisy]), torch.cat([sigmas, sigmas]))
    # the schedule answers in float32
    torch.testing.assert_close(one, torch.cat(two), rtol=1e-6, atol=1e-6)
    assert (two[0] - two[1]).abs().max() > 1e-4


@pytest.mark.parametrize("pose", [True, False])
@pytest.mark.parametrize("kind", [Full3DAttentionConditioner, ReferenceTokensConditioner])
def test_shape_without_an_encode_of_panels_and_references(make_model, make_batch, kind, pose):
    prompt = dict(type="NullPrompt", num_tokens=3, dim=16, pooled_dim=8)
    panel = kind is Full3DAttentionConditioner
    settings = dict(codec_factor=2, pose_panel=pose) if panel else {}
    conditioner, model = kind(prompt=prompt, **settings), make_model()
    check_blank(conditioner, make_batch(model), model.encode)


@pytest.mark.parametrize("case", GUIDED)
def test_shape_without_an_encode(make_batch, case):
    make, settings = GUIDED[case]
    model, batch = make(make_batch, **settings)
    check_blank(model.conditioner, batch, model.encode)


def check_blank(conditioner, batch, encode):
    blank = conditioner.blank(conditioner.prepare(batch, encode))
    target = conditioner.target(batch, encode)
    assert (blank.shape, blank.dtype) == (target.shape, target.dtype)


def test_drawing_encodes_what_is_shown_alone(make_batch):
    model, batch = concatenating(make_batch, reference="unet")
    encoded = []
    encode = model.codec.encode
    model.codec.encode = lambda pictures: encoded.append(len(pictures)) or encode(pictures)
    model.predict(batch)
    assert encoded == [2, 2]  # garments, agnostic people; not the photographs
