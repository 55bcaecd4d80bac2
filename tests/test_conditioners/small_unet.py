"""An SD-1.x UNet of a few thousand parameters, and a model around it, for several test files."""

import importlib.util
from pathlib import Path

import torch

from vtonlab.models import TryOnDiffusion
from vtonlab.registry import BACKBONES
from vtonlab.structures.sample import collate

UNET = dict(
    type="UNet2DConditionModel",
    in_channels=9,  # as an inpainting UNet: noisy, agnostic, mask
    out_channels=4,
    block_out_channels=(16, 32, 48, 48),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    layers_per_block=2,
    cross_attention_dim=8,
    attention_head_dim=2,
    norm_num_groups=8,
)
CLIP = dict(
    type="GarmentTokenEncoder",
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=5,
    num_attention_heads=2,
    image_size=28,
    patch_size=14,
    projection_dim=8,
)
VAE = dict(
    type="AutoencoderKL",
    block_out_channels=(4, 8),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    layers_per_block=1,
    norm_num_groups=2,
    latent_channels=4,
    scaling_factor=0.18215,
)
SIZE = (32, 32)  # latents 16x16; the lowest level has 2x2


def conditioner(**changes) -> dict:
    return dict(type="ZeroCrossAttentionConditioner", image_encoder=CLIP, num_heads=2) | changes


def make_model(**changes) -> TryOnDiffusion:
    torch.manual_seed(0)
    config = dict(
        size=SIZE,
        backbone=UNET,
        codec=VAE,
        conditioner=conditioner(),
        noise_schedule=dict(type="DDPMSchedule"),
        sampler=dict(type="PLMSSampler", num_steps=3),
    )
    return TryOnDiffusion(**(config | changes))


def make_batch(model: TryOnDiffusion, numbers=(0, 1)) -> dict:
    """Noise pictures with matches, from the models' tests."""
    source = Path(__file__).parents[1] / "test_models/conftest.py"
    spec = importlib.util.spec_from_file_location("samples_of_models", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return model.data_preprocessor(collate([module.sample(n, True, *SIZE) for n in numbers]))


def save_small_sd(folder: Path) -> Path:
    """unet/, vae/ and image_encoder/ in the layout of Paint-by-Example's folder."""
    torch.manual_seed(0)
    for name, config in (("unet", UNET), ("vae", VAE), ("image_encoder", CLIP)):
        BACKBONES.build(config).save_pretrained(folder / name)
    return folder


def wake(module: torch.nn.Module, seed: int = 0) -> None:
    """Random numbers in place of zero parameters, so that gradients pass."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if not parameter.any():
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
