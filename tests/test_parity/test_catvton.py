"""CatVTON's program at a tiny size: inputs, steps, pictures, its paste and its keys."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from parity_numbers import drawn_weights

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "tools/convert"))
import catvton as converter
from drawing import batch_of, difference, guided_pair, recorded_noise, tensors

from vtonlab.models import TryOnDiffusion
from vtonlab.ops.repaint import soft_mask

pytestmark = pytest.mark.parity
SYSTEM = "CatVTON"
# As Leffa's (see there): 80 eps of float32 for each value's scale; the VAE in float64.
LATENTS = 1e-5


def build(parity, guidance: float, **changes) -> TryOnDiffusion:
    """As ``configs/catvton`` builds it: base weights, then a converted attention file."""
    recipe = parity.facts("catvton/tiny_keys.json")
    unet, vae = recipe["unet"], recipe["vae"]
    model = TryOnDiffusion(
        size=(256, 192),
        backbone=dict(type="UNet2DConditionModel", **unet["config"]),
        codec=dict(type="AutoencoderKL", **vae["config"]),
        conditioner=dict(
            type="SpatialConcatConditioner",
            reference="self",
            inputs=["mask", "agnostic"],
            cross_attention="residual",
        ),
        trainable=["*.attn1.*"],
        condition_dropout=0.1,
        noise_schedule=dict(type="DDPMSchedule"),
        sampler=dict(type="DDIMSampler", num_steps=8, eta=1.0, guidance_scale=guidance),
        data_preprocessor=dict(type="TryOnDataPreprocessor", agnostic="masked_person"),
        **changes,
    )
    base = tensors(drawn_weights(unet))
    kept = {key: base[key] for key in model.backbone.state_dict()}  # attn2 is without use here
    model.backbone.load_state_dict(kept, strict=True)
    model.codec.load_state_dict(tensors(drawn_weights(vae)), strict=True)
    attention = tensors(drawn_weights(recipe["attention"]))
    converted = converter.forward(attention, converter.build_unet(unet["config"]))
    model.load_state_dict(converted, strict=True)  # a checkpoint holds what trains
    model.codec.double()
    return model.eval()


def drawn(parity, guidance: float, posterior: str, **changes):
    inputs = parity.arrays("catvton/inputs.npz")
    model = build(parity, guidance, posterior=posterior, repaint_blur=50, **changes)
    noise = [inputs["posterior_noise_garment"], inputs["posterior_noise_masked"]]
    given = dict(start=inputs["noise"], steps=inputs["step_noise"], posterior=noise)
    with recorded_noise(model, **given) as watched:
        (result,) = model.predict(model.data_preprocessor(batch_of(inputs), False))
    return result, watched


def test_every_step_and_the_picture(parity):
    result, watched = drawn(parity, 2.5, "sample")
    numbers = parity.arrays("catvton/tiny.npz")

    def compare(what, ours, theirs, tolerance, unit=""):
        parity.compare(SYSTEM, what, ours, numbers[f"sample/{theirs}"], tolerance, unit)

    first = guided_pair(watched.inputs)
    compare("network input at step 1", first, "step1_input", 1e-5)
    compare("network output at step 1", guided_pair(watched.outputs), "step1_output", 5e-5)
    for step in (1, 2, 4, 8):
        theirs = f"latents_after_{step}"
        scale = float(np.abs(numbers[f"sample/{theirs}"]).max())
        compare(f"latents after {step} steps", watched.latents[step - 1], theirs, LATENTS * scale)
    compare("picture", result["image"], "final", 1, "levels")
    compare("picture, photograph pasted back", result["repainted"], "repainted", 1, "levels")


@pytest.mark.slow
def test_guidance_of_one_or_less_is_none(parity):
    _, watched = drawn(parity, 0.5, "mode")
    theirs = parity.arrays("catvton/tiny.npz")["mode/guidance05_latents_final"]
    tolerance = LATENTS * float(np.abs(theirs).max())
    parity.compare(SYSTEM, "latents at guidance 0.5", watched.latents[-1], theirs, tolerance)
    assert len(watched.inputs) == 8  # one call a step


@pytest.mark.parametrize("height", [200, 256, 400, 512, 1024])
def test_soft_mask(parity, height):
    theirs = parity.arrays("catvton/repaint_canvas.npz")[f"soft_mask_{height}"]
    width = height * 3 // 4
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : 3 * height // 4, width // 3 : 3 * width // 4] = 1
    rows = slice(height // 4 + 40 - len(theirs), height // 4 + 40)
    ours = np.rint(soft_mask(mask, 50)[rows, width // 2] * 255)
    parity.compare(SYSTEM, f"paste's soft edge at height {height}", ours, theirs, 0, "levels")


def test_keys_both_ways(parity):
    recorded = parity.facts("catvton/keys_attention.json")
    unet = converter.build_unet()
    theirs = {k: torch.zeros(s) for k, s in recorded["keys"].items()}
    ours = converter.forward(theirs, unet)
    names = [k.removeprefix("backbone.") for k in ours]
    places = recorded["place_in_diffusers_unet"]
    wrong = set(names) ^ set(places.values())
    again = converter.backward(ours, unet)
    kept = {key for key in theirs if "to_" in key}
    wrong |= again.keys() ^ kept
    numbered = {key: torch.full((), float(n)) for n, key in enumerate(sorted(kept))}
    for key in kept:
        theirs[key] = numbered[key].expand(theirs[key].shape)
    moved = converter.forward({key: theirs[key] for key in kept}, unet)
    wrong |= {k for k in kept if not torch.equal(moved[f"backbone.{places[k]}"], theirs[k])}
    parity.record(SYSTEM, "attention keys without their place, both ways", len(wrong), 0)


def test_departures(parity):
    numbers, inputs = parity.arrays("catvton/tiny.npz"), parity.arrays("catvton/inputs.npz")
    from vtonlab.ops.repaint import repaint

    picture = numbers["sample/final"]
    ours = repaint(picture, inputs["person"], inputs["mask"])
    off = np.abs(ours.astype(int) - numbers["sample/repainted"])
    parity.departs(
        SYSTEM,
        "the paste's edge is blurred by height // 100; theirs by height // 50",
        effect=f"up to {off.max()} levels along the edge (256 rows)",
        switch="model.repaint_blur=50; as_released",
        reason="one paste for all systems that are compared",
        shown=off.max() > 1,
    )
    posterior = difference(numbers["mode/final"], picture)
    parity.departs(
        SYSTEM,
        "pictures are encoded as the mode of the VAE's posterior; theirs draws from it",
        effect=f"up to {posterior:.0f} levels on random weights",
        switch="model.posterior='sample'; as_released",
        reason="a condition without noise is the same at every run",
        shown=posterior > 0,
    )
    person = inputs["person"].astype(np.float32) / 127.5 - 1
    parity.departs(
        SYSTEM,
        "the hole is the data's grey 128; theirs is exactly 0",
        effect=f"{128 / 127.5 - 1:.4f} of [-1, 1] in the hole",
        switch="model.data_preprocessor.agnostic='masked_person'; as_released",
        reason="the data's own agnostic pictures, which hide more than the mask",
        shown=bool(np.abs(person).max() > 0),
    )
    canvas = parity.arrays("catvton/repaint_canvas.npz")
    size = canvas["canvas_person_out"].shape[:2]
    parity.departs(
        SYSTEM,
        "pictures of another shape are padded whole; theirs cuts person and mask to the centre",
        effect=f"as {canvas['canvas_person'].shape[:2]} to {size}; none for VITON-HD's shape",
        switch="none: cut the pictures before",
        reason="nothing of the person is lost; the padding is taken off again",
        shown=canvas["canvas_person"].shape[0] / canvas["canvas_person"].shape[1] != 64 / 48,
    )
