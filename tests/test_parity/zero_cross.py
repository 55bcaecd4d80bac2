"""StableVITON and SIFT-VTON at their recorded size: both programs are one network."""

import sys
from pathlib import Path

import numpy as np
import torch
from parity_numbers import Parity, drawn_weights

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "tools/convert"))
import zero_cross_attention as converter
from drawing import batch_of, recorded_noise, tensors
from ldm_keys import to_ours

from vtonlab.models import TryOnDiffusion
from vtonlab.ops.agnostic import agnostic_picture
from vtonlab.samplers import PLMSSampler

UNET = dict(
    in_channels=9,
    cross_attention_dim=768,
    attention_head_dim=8,
    block_out_channels=(32, 64, 128, 128),
)
VAE = dict(
    block_out_channels=(32, 64, 128, 128),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=2,
    latent_channels=4,
)
# CLIP's weights are not part of the recording: a small one stands there and is not asked.
NETWORK = 2e-5  # 170 eps of float32 for some 60 layers in a row, of the output's scale
LATENTS = 1e-5
TOKEN = dict(hidden_size=1024, intermediate_size=8, num_hidden_layers=1, mapper_layers=1)


def build(
    parity: Parity, system: str, *, drops: list[str], recorded_latents: bool = True, **changes
):
    """(model with the recorded weights, its preprocessed batch).

    The recording shrinks the mask with antialiasing, also StableVITON's.
    """
    conditioner = dict(
        type="ZeroCrossAttentionConditioner",
        image_encoder=dict(type="GarmentTokenEncoder", **TOKEN),
        mask_shows="keep",
        drops=drops,
    )
    model = TryOnDiffusion(
        size=(512, 384),
        backbone=dict(type="UNet2DConditionModel", **UNET),
        codec=dict(type="AutoencoderKL", **VAE),
        conditioner=conditioner,
        condition_dropout=0.1,
        noise_schedule=dict(type="DDPMSchedule"),
        **changes,
    ).eval()
    theirs = tensors(drawn_weights(parity.facts(f"{system}/tiny_keys.json")))
    names = converter.names_of(model)
    recorded = {name: key for name, key in names.items() if key.partition("#")[0] in theirs}
    shapes = {name: p.shape for name, p in model.named_parameters()}
    left = theirs.keys() - {key.partition("#")[0] for key in recorded.values()}
    assert all(converter.WITHOUT_PLACE.fullmatch(key) for key in left), left
    model.load_state_dict(to_ours(theirs, recorded, shapes), strict=False)
    model.codec.double()
    inputs = parity.arrays(f"{system}/tiny_inputs.npz")
    token = torch.from_numpy(inputs["clip_token"])
    model.conditioner.image_encoder.features = lambda *_, **__: token
    agnostic = agnostic_picture(inputs["person"], inputs["mask"])
    batch = model.data_preprocessor(batch_of(inputs, agnostic=agnostic), False)
    if recorded_latents:
        model.encode = recorded_encoder(batch, parity.arrays(f"{system}/tiny.npz"))
    return model, batch


def recorded_encoder(batch: dict, numbers: dict[str, np.ndarray]):
    """Gives each picture's recorded latents: the VAE is a test of its own."""
    given = numbers["given_channels"]
    known = dict(agnostic=given[:, :4], pose=given[:, 5:])
    known |= dict(person=numbers["person_latents"], garment=numbers["hint_latents"])

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        (name,) = [name for name in known if torch.equal(batch[name], pictures)]
        return torch.from_numpy(np.ascontiguousarray(known[name]))

    return encode


def scale(value) -> float:
    return float(np.abs(np.asarray(value)).max())


def compare_network(
    parity: Parity, title: str, system: str, model, batch, layers=()
) -> tuple[dict, list]:
    """One call at t = 481; returns the conditions and the records of ``layers``."""
    numbers, inputs = (parity.arrays(f"{system}/{n}.npz") for n in ("tiny", "tiny_inputs"))
    conditions = model.conditioner.prepare(batch, model.encode)
    theirs = numbers["given_channels"]
    parity.compare(title, "what the network is given", conditions["given"], theirs, 1e-6)
    noise, sigmas = torch.from_numpy(inputs["noise"]), torch.tensor([0.481])
    noisy = model.noise_schedule.add_noise(model.encode(batch["person"]), noise, sigmas)
    parity.compare(title, "latents noised at t = 481", noisy, numbers["noisy_481"], 1e-6)
    with torch.no_grad():
        prediction = model._run(noisy, sigmas, conditions, layers)
    theirs = numbers["network_output"]
    parity.compare(title, "network output", prediction.sample, theirs, NETWORK * scale(theirs))
    return {**conditions, "noisy": noisy, "sigmas": sigmas}, prediction.records


def compare_steps(parity: Parity, title: str, system: str, model, batch, guidance: str) -> None:
    """Five PLMS steps from the agnostic picture, the picture, and its hard paste."""
    numbers, inputs = (parity.arrays(f"{system}/{n}.npz") for n in ("tiny", "tiny_inputs"))
    with recorded_noise(model, start=inputs["noise"]) as watched:
        (result,) = model.predict(batch)
    for step in range(1, 6):  # PLMS asks twice at its first step
        theirs = numbers[f"plms/guidance{guidance}_after_{step}"]
        what = f"latents after {step} steps, guidance {guidance}"
        parity.compare(title, what, watched.latents[step], theirs, LATENTS * scale(theirs))
    theirs = numbers[f"plms/guidance{guidance}_picture"]
    parity.compare(title, f"picture, guidance {guidance}", result["image"], theirs, 1, "levels")
    theirs = numbers[f"plms/guidance{guidance}_hard_paste"]
    what = f"picture pasted hard, guidance {guidance}"
    parity.compare(title, what, result["repainted"], theirs, 1, "levels")


def compare_encodings(parity: Parity, title: str, system: str, model, batch) -> None:
    """The VAE in float64, as recorded, on two of the pictures."""
    numbers = parity.arrays(f"{system}/tiny.npz")
    for name, key in (("person", "person_latents"), ("garment", "hint_latents")):
        what = f"latents of the {name}, VAE in float64"
        parity.compare(title, what, model.encode(batch[name]), numbers[key], 1e-6)


def compare_shrinking(parity: Parity, title: str, system: str, model, batch, antialias: bool):
    """Mask channel and CLIP's picture, shrunk as this program's torchvision did."""
    numbers = parity.arrays(f"{system}/tiny.npz")
    name = "antialias" if antialias else "no_antialias"
    model.conditioner.antialias = antialias
    mask = model.conditioner._mask_channel(batch["mask"], torch.zeros(1, 4, 64, 48))
    what = f"mask channel, {name.replace('_', ' ')}"
    parity.compare(title, what, mask, numbers[f"mask_channel_{name}"], 1e-6)
    picture = model.conditioner.image_encoder.clip_picture(batch["garment"], antialias)
    theirs = numbers[f"clip_picture_{name}"]
    what = f"CLIP's picture, {name.replace('_', ' ')}"
    parity.compare(title, what, picture[..., ::7, ::7], theirs, 2e-6)


def compare_plms(parity: Parity, title: str, system: str, model, batch) -> None:
    """Timesteps of CompVis's strides, and both starts."""
    numbers, inputs = (parity.arrays(f"{system}/{n}.npz") for n in ("tiny", "tiny_inputs"))
    for steps in (5, 20, 30, 50):
        sampler = PLMSSampler(num_steps=steps, timestep_spacing="stride")
        sampler.fit(model.noise_schedule)
        ours = sampler.scheduler().timesteps
        assert ours[1] == ours[2] or steps == 1  # asked twice
        theirs = numbers[f"plms/timesteps_{steps}"]
        once = torch.cat([ours[:1], ours[2:]])
        once = once if theirs[0] > theirs[-1] else once.flip(0)
        parity.compare(title, f"timesteps of {steps} PLMS steps", once, theirs, 0)
    noise = torch.from_numpy(inputs["noise"])
    for start, key in (("photograph", "person"), ("agnostic", "agnostic")):
        model.sampler.start = start
        ours, theirs = model._noised_start(batch, noise), numbers[f"plms/start_from_{key}"]
        parity.compare(title, f"start from the {start}", ours, theirs, 1e-6)


def compare_keys(parity: Parity, title: str, system: str) -> None:
    """The state dict at full size, both ways."""
    recorded = dict(parity.facts(f"{system}/keys.json")["keys"])
    for key, shape in recorded.items():
        if key.startswith("model.diffusion_model.warp_"):  # recorded at a tenth of their width
            recorded[key] = [10 * n if n > 1 else n for n in shape]
    model = converter.build_model()
    theirs = {key: torch.empty(shape, device="meta") for key, shape in recorded.items()}
    again = converter.backward(converter.forward(theirs, model), model)
    wrong = again.keys() ^ theirs.keys()
    wrong |= {key for key in again if list(again[key].shape) != recorded[key]}
    parity.record(title, "keys without a place, both ways", len(wrong), 0)
