"""A tiny system of each family as a run leaves it, and its export: config, weights, folder."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "test_models"))
sys.path.insert(0, str(Path(__file__).parents[1] / "test_conditioners"))
sys.path.insert(0, str(Path(__file__).parents[2]))
from flux_folder import save_tiny_flux, save_tiny_klein, save_tiny_kontext, save_tiny_sd3
from small_unet import CLIP, UNET, VAE

from tools.export import main as export
from vtonlab.engine.checkpoints.files import save_checkpoint_file, save_safetensors
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.config.text import config_text
from vtonlab.models import TryOnDiffusion
from vtonlab.registry import BACKBONES, MODELS

STEPS = 2


class Family(NamedTuple):
    """A shipped config, the base it takes, the tiny size it is built at, and what else is small."""

    config: str
    base: str | None
    size: tuple[int, int]
    changes: dict = {}
    weights: str = "model.safetensors"


_FLOAT32 = {"model.backbone.dtype": "float32", "model.codec.dtype": "float32"}
_LORA = {"model.lora": dict(rank=4, alpha=6)}
_PROMPT = {
    "model.conditioner.prompt.max_length": 16,
    "model.conditioner.prompt.dtype": "float32",
}
_UNET_TOY = {
    "model.backbone.block_out_channels": (16, 16),
    "model.backbone.attention_head_dim": 2,
    "model.conditioner.inputs": ["pose_latents", "mask", "agnostic"],
    "model.noise_schedule.shift": 6.0,
    "model.sampler": dict(
        type="DDIMSampler", num_steps=STEPS, timestep_spacing="training", guidance_scale=2.0
    ),
}
FAMILIES = {
    "coral": Family("coral/dit_vitonhd", "flux", (64, 48), {**_FLOAT32, **_LORA, **_PROMPT}),
    "leffa": Family("leffa/unet_vitonhd", "sd", (32, 32)),
    "catvton": Family(
        *("catvton/unet_vitonhd", "sd", (32, 32)),
        {"model.codec.path": None, "model.codec.subfolder": "vae"},
        "iter_7.pth",
    ),
    "stableviton": Family(
        *("stableviton/unet_vitonhd", "sd", (32, 32)), {"model.conditioner.num_heads": 2}
    ),
    "sd3": Family("coral/sd3_vitonhd", "sd3", (64, 48), {**_FLOAT32, **_PROMPT}),
    "kontext": Family("kontext/dit_vitonhd", "kontext", (64, 48), {**_FLOAT32, **_LORA, **_PROMPT}),
    "klein": Family("coral/klein_vitonhd", "klein", (64, 48), {**_FLOAT32, **_LORA}),
    "coral_toy": Family(
        *("coral/dit_synthetic", None, (32, 24)), {"model.backbone.num_single_layers": 1}
    ),
    "catvton_toy": Family("catvton/unet_synthetic", None, (32, 32), _UNET_TOY),
}


class Exported(NamedTuple):
    """One system: the model as training left it, its config and weights, and the folder."""

    model: TryOnDiffusion
    config: Path
    weights: Path
    folder: Path


def save_base(kind: str, folder: Path) -> Path:
    """A tiny base in the layout of the real one."""
    transformers = dict(flux=save_tiny_flux, kontext=save_tiny_kontext, klein=save_tiny_klein)
    transformers["sd3"] = save_tiny_sd3
    if kind in transformers:
        return transformers[kind](folder)
    torch.manual_seed(0)
    two_levels = dict(
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
    )
    parts = (("unet", UNET | two_levels), ("vae", VAE), ("image_encoder", CLIP))
    for name, config in parts:
        BACKBONES.build(config).save_pretrained(folder / name)
    return folder


def small_config(name: str, base: Path | None, folder: Path, pose_panel: bool = True):
    """A shipped config with a tiny base."""
    family = FAMILIES[name]
    config = load_config(family.config, family.changes)
    if base is not None:
        config.pretrained = str(base)
    config.load_from = None
    config.model.update(size=family.size, probe=None, val_sigmas=None)
    config.model["attention_losses"] = {}
    config.model.sampler.num_steps = STEPS
    if family.base not in ("sd", None):
        config.model.conditioner.prompt.cache_dir = str(folder / "prompts")
    if not pose_panel:  # as the stock pipeline: its positions, its draws from the posterior
        config.model.conditioner.pose_panel = False
        config.model.posterior = "sample"
        preprocessor = dict(type="TryOnDataPreprocessor", agnostic="masked_person")
        config.model["data_preprocessor"] = preprocessor
    people = dict(type="SyntheticTryOn", size=family.size, categories=["upper_body"])
    people["cache_dir"] = str(folder / "people")
    for split in ("train", "test"):
        config[f"{split}_dataloader"].update(batch_size=2, num_workers=0, persistent_workers=False)
        config[f"{split}_dataloader"]["dataset"] = dict(people, split=split, length=4)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.custom_hooks, config.log_level = [], "ERROR"
    config.visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
    return config


def make(name: str, base: Path | None, folder: Path, pose_panel: bool = True) -> Exported:
    """Config and weights in ``folder``, and the tool's export of them."""
    config = small_config(name, base, folder, pose_panel)
    (folder / "config.py").write_text(config_text(config.to_dict()))
    torch.manual_seed(0)
    built = MODELS.build(finalize(config, work_dir=str(folder)).model.to_dict())
    generator = torch.Generator().manual_seed(1)
    for parameter in built.parameters():
        if parameter.requires_grad:  # as if it had been trained
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    meta = {"facts": built.checkpoint_meta(), "iter": 7, "averaged": True, "commit": "0123456"}
    weights, out = folder / FAMILIES[name].weights, folder / "export"
    if weights.suffix == ".pth":
        save_checkpoint_file({"state_dict": built.state_dict(), "meta": meta}, weights)
    else:
        save_safetensors(built.state_dict(), weights, meta)
    assert export([str(folder / "config.py"), str(weights), "--out", str(out)]) == 0
    return Exported(built.eval(), folder / "config.py", weights, out)


def pair(name: str) -> dict[str, np.ndarray]:
    """A person and what a pipeline is shown of them, uint8."""
    from vtonlab.synthetic import SyntheticTryOn

    size = FAMILIES[name].size
    sample = SyntheticTryOn(size=size, split="test", length=2, categories=["upper_body"])[0]
    found = {key: sample[key] for key in ("person", "garment", "mask", "pose")}
    return found | {"mask": sample["mask"] * np.uint8(255)}
