"""Leffa's released checkpoints to vtonlab's and back: try-on (SD-1.5) and pose transfer (SDXL).

Example:
    python tools/convert/leffa.py virtual_tryon.pth checkpoints/leffa_vitonhd.safetensors \\
        --folder checkpoints/leffa_vitonhd
    python tools/test.py configs/leffa/unet_vitonhd.py checkpoints/leffa_vitonhd.safetensors \\
        --cfg-options pretrained=checkpoints/leffa_vitonhd data_root=DIR
    python tools/convert/leffa.py --back checkpoints/leffa_vitonhd.safetensors again.pth \\
        --weights vitonhd

The file's published name says which weights it holds: ``virtual_tryon.pth`` (vitonhd),
``virtual_tryon_dc.pth`` (dresscode), ``pose_transfer.pth``; of a renamed one ``--weights`` does.
``--folder`` writes UNet and VAE where a config's ``pretrained`` finds them, so that the base model
is not needed. The authors' files hold no flow loss: nothing of it is lost or made up. The converted
weights say that they are published ones: testing them samples as the authors' program does
(``as_released``). The last lines are a self-check: the model, called once.

Exit codes: 0 done, 2 bad input.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ldm_keys import to_ours, to_theirs
from self_check import check_try_on
from zero_cross_attention import read, write

from vtonlab.structures.categories import CATEGORIES

if TYPE_CHECKING:
    from torch import Tensor, nn

PARTS = {  # ours -> theirs
    "backbone.": "unet.",
    "conditioner.reference_unet.": "unet_encoder.",
    "codec.": "vae.",
}
SD15_UNET = dict(in_channels=9, cross_attention_dim=768, attention_head_dim=8)
SDXL_UNET = dict(
    in_channels=9,
    block_out_channels=(320, 640, 1280),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    transformer_layers_per_block=(1, 2, 10),
    attention_head_dim=(5, 10, 20),
    cross_attention_dim=2048,
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)
SD15_VAE = dict(
    block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=2,
    latent_channels=4,
    scaling_factor=0.18215,
)
SDXL_VAE = {**SD15_VAE, "scaling_factor": 0.13025}


class Release(NamedTuple):
    """One published file: its name, its networks, and the categories it was trained for."""

    file: str
    unet: dict
    vae: dict
    categories: list[str]


WEIGHTS = {
    "vitonhd": Release("virtual_tryon.pth", SD15_UNET, SD15_VAE, ["upper_body"]),
    "dresscode": Release("virtual_tryon_dc.pth", SD15_UNET, SD15_VAE, list(CATEGORIES)),
    "pose_transfer": Release("pose_transfer.pth", SDXL_UNET, SDXL_VAE, list(CATEGORIES)),
}


def weights_of(path: Path, said: str | None) -> str:
    """The key of ``WEIGHTS`` for a file.

    Args:
        said: on the command line; None takes the file's published name.

    Raises:
        ValueError: the name is not a published one, or is another's than ``said``.
    """
    named = {release.file: key for key, release in WEIGHTS.items()}
    if said is None and path.name not in named:
        raise ValueError(
            f"{path.name} is none of Leffa's published files ({', '.join(named)}): say which it is "
            f"with --weights ({', '.join(WEIGHTS)})"
        )
    if said is not None and named.get(path.name, said) != said:
        raise ValueError(
            f"{path.name} holds the weights {named[path.name]}, not {said}: leave --weights out"
        )
    return said or named[path.name]


def build_model(weights: str, overrides: Mapping | None = None) -> nn.Module:
    """The published architecture without numbers (meta device).

    Args:
        weights: a key of ``WEIGHTS``.
        overrides: ``unet`` and ``vae`` arguments, for other sizes.
    """
    import torch

    from vtonlab.models import TryOnDiffusion

    release = WEIGHTS[weights]
    sizes = dict(overrides or {})
    scaling = release.vae["scaling_factor"]
    vae = dict(sizes.get("vae", release.vae), scaling_factor=scaling)
    with torch.device("meta"):
        return TryOnDiffusion(
            size=(1024, 768),
            categories=release.categories,
            backbone=dict(type="UNet2DConditionModel", **sizes.get("unet", release.unet)),
            codec=dict(type="AutoencoderKL", **vae),
            conditioner=dict(type="SpatialConcatConditioner", cross_attention="residual"),
            noise_schedule=dict(type="DDPMSchedule"),
            sampler=dict(type="DDPMSampler"),
        )


def names_of(model: nn.Module) -> dict[str, str]:
    """Our parameter name -> the authors' key: only the first part differs."""
    names = {}
    for name, _ in model.named_parameters():
        (part,) = (part for part in PARTS if name.startswith(part))
        names[name] = PARTS[part] + name.removeprefix(part)
    return names


def forward(theirs: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The authors' state dict to ours.

    Raises:
        ValueError: a key is missing, left over or of another shape; the sentence names it.
    """
    names = names_of(model)
    ours = to_ours(theirs, names, {name: p.shape for name, p in model.named_parameters()})
    left = sorted(theirs.keys() - set(names.values()))
    if left:
        raise ValueError(
            f"{len(left)} keys have no place in this model, such as {left[0]!r}: wrong --weights?"
        )
    return ours


def backward(ours: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Ours to the authors' state dict; the flow loss's sinks have no place there.

    Raises:
        ValueError: a weight is missing or left over.
    """
    names = names_of(model)
    left = [name for name in ours if name not in names]
    left = [name for name in left if not name.startswith("attention_losses.")]
    if left:
        raise ValueError(f"{len(left)} weights have no place in Leffa's file, such as {left[0]!r}")
    return to_theirs(ours, names)


def facts_of(model: nn.Module) -> dict:
    """What the converted file says about its model; the released weights are of no one size."""
    return {key: value for key, value in model.checkpoint_meta().items() if key != "size"}


def write_folder(state: Mapping[str, Tensor], model: nn.Module, folder: Path, text: str | None):
    """``unet/`` and ``vae/`` in the diffusers layout, for ``pretrained``.

    Args:
        text: ``addition_embed_type`` that the UNet had before text was taken out: its weights are
            in the file, so the written config must name it.
    """
    from vtonlab.engine.config.released import mark_folder

    model.backbone.register_to_config(addition_embed_type=text)
    for module, prefix, name in (
        (model.backbone, "backbone.", "unet"),
        (model.codec, "codec.", "vae"),
    ):
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        module.load_state_dict(part, strict=True, assign=True)
        module.save_pretrained(folder / name)
    mark_folder(folder)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the checkpoint to convert")
    parser.add_argument("target", type=Path, help="the new file")
    parser.add_argument(
        "--weights", choices=sorted(WEIGHTS), help="default: as SOURCE's published name says"
    )
    parser.add_argument("--back", action="store_true", help="from ours to the authors' keys")
    parser.add_argument(
        "--folder", type=Path, help="also write unet/ and vae/ here, for a config's `pretrained`"
    )
    parser.add_argument(
        "--base",
        type=Path,
        help="with --back: a converted file with what SOURCE, a training checkpoint, leaves out",
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace, overrides: Mapping | None = None) -> str:
    """Read, convert, call once, write; returns lines that say what was done."""
    weights = weights_of(args.target if args.back else args.source, args.weights)
    model = build_model(weights, overrides)
    state = read(args.source)
    if args.back:
        base = read(args.base) if args.base else {}
        result = backward({**base, **state}, model)
        write(result, args.target)
        return f"{len(state)} weights read, {len(result)} of the authors' keys in {args.target}"
    result = forward(state, model)
    checked = check_try_on(model, result)
    write(result, args.target, facts_of(model), as_released=True)
    if args.folder:
        unet = dict(overrides or {}).get("unet", WEIGHTS[weights].unet)
        write_folder(result, model, args.folder, unet.get("addition_embed_type"))
    return "\n".join([f"{len(state)} keys read, {len(result)} weights in {args.target}", *checked])


def main() -> int:
    print(run(parse_args()))
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
