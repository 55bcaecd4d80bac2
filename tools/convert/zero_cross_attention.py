"""StableVITON's and SIFT-VTON's checkpoints to ours and back: the part both converters share.

Every key is accounted for. Keys that stand for nothing here (the schedule's tables, an unused
convolution) are called ``released.<key>`` and kept in a file beside the converted one, so that
converting back gives the same file.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ldm_keys import to_ours, to_theirs, token_name, unet_name, vae_name
from self_check import check_try_on

if TYPE_CHECKING:
    from torch import Tensor, nn

KEPT = "released."
# Keys of the authors' files without a counterpart: tables that follow from the betas, constants,
# an unused 4x4 convolution, SIFT-VTON's buffer that its attention never reads.
WITHOUT_PLACE = re.compile(
    r"betas|alphas_cumprod|alphas_cumprod_prev|sqrt_alphas_cumprod|sqrt_one_minus_alphas_cumprod"
    r"|log_one_minus_alphas_cumprod|sqrt_recip_alphas_cumprod|sqrt_recipm1_alphas_cumprod"
    r"|posterior_variance|posterior_log_variance_clipped|posterior_mean_coef[12]|logvar|scale_factor"
    r"|lastzc\.(weight|bias)|model\.diffusion_model\.explicit_ratio"
    r"|cond_stage_model\.transformer\.vision_model\.embeddings\.position_ids"
)
_ENCODER = "conditioner.encoder."
_CROSS = "conditioner.cross.blocks."
_TOKEN = "conditioner.image_encoder."  # noqa: S105 - the start of keys of weights


def build_model(overrides: Mapping | None = None) -> nn.Module:
    """The published architecture without weights (meta device).

    Args:
        overrides: ``unet``, ``vae``, ``token`` and ``heads``, for other sizes.
    """
    import torch

    from vtonlab.models import TryOnDiffusion

    sizes = dict(overrides or {})
    with torch.device("meta"):
        return TryOnDiffusion(
            size=(512, 384),
            categories=["upper_body"],
            backbone=dict(type="UNet2DConditionModel", **(sizes.get("unet") or SD_UNET)),
            codec=dict(type="AutoencoderKL", **(sizes.get("vae") or SD_VAE)),
            conditioner=dict(
                type="ZeroCrossAttentionConditioner",
                num_heads=sizes.get("heads", 8),
                image_encoder=dict(type="GarmentTokenEncoder", **sizes.get("token", {})),
            ),
            noise_schedule=dict(type="DDPMSchedule"),
            sampler=dict(type="PLMSSampler"),
        )


SD_UNET = dict(cross_attention_dim=768, attention_head_dim=8, in_channels=9)
SD_VAE = dict(
    block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    layers_per_block=2,
    latent_channels=4,
)


def names_of(model: nn.Module) -> dict[str, str]:
    """Our parameter name -> the authors' key, for a whole model; a bijection.

    Raises:
        ValueError: two of ours would share a key.
    """
    layers = model.backbone.config.layers_per_block
    kinds = model.backbone.config.up_block_types
    levels = len(model.codec.config.block_out_channels)

    def unet(name: str) -> str:
        return unet_name(name, layers=layers, attends=lambda level: "CrossAttn" in kinds[level])

    names = {}
    for name, _ in [*model.named_parameters(), *_saved_buffers(model)]:
        part, _, rest = name.partition(".")
        if part == "backbone":
            names[name] = f"model.diffusion_model.{unet(rest)}"
        elif part == "codec":
            names[name] = f"first_stage_model.{vae_name(rest, levels=levels)}"
        elif name.startswith(_ENCODER):
            names[name] = f"control_model.{_encoder_name(name.removeprefix(_ENCODER), unet)}"
        elif name.startswith(_CROSS):
            names[name] = f"model.diffusion_model.{_cross_name(name.removeprefix(_CROSS))}"
        else:
            names[name] = token_name(name.removeprefix(_TOKEN))
    if len(set(names.values())) != len(names):
        raise ValueError("two parameters would share a key of the authors' checkpoint")
    return names


def _saved_buffers(model: nn.Module) -> list[tuple[str, Tensor]]:
    transient = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in module._non_persistent_buffers_set
    }
    return [item for item in model.named_buffers() if item[0] not in transient]


def _encoder_name(name: str, unet) -> str:
    if name.startswith("garment_conv."):
        return f"cond_first_block.0.{name.removeprefix('garment_conv.')}"
    return unet(name)


def _cross_name(name: str) -> str:
    place, _, rest = name.partition(".")
    if rest.startswith("zero_conv."):
        return f"warp_zero_convs.{place}.{rest.removeprefix('zero_conv.')}"
    return f"warp_flow_blks.{place}.{rest.removeprefix('transformer.')}"


def forward(theirs: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The authors' state dict to ours.

    Raises:
        ValueError: a key is missing, left over or of another shape; the sentence names it.
    """
    names = names_of(model)
    shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
    shapes |= {name: tensor.shape for name, tensor in _saved_buffers(model)}
    ours = to_ours(theirs, names, shapes)
    used = {place.partition("#")[0] for place in names.values()}
    for key in theirs.keys() - used:
        if not WITHOUT_PLACE.fullmatch(key):
            left = sorted(k for k in theirs.keys() - used if not WITHOUT_PLACE.fullmatch(k))
            raise ValueError(
                f"{len(left)} keys have no place in this model, such as {left[0]!r}: is it a "
                "checkpoint of another method or variant?"
            )
        ours[KEPT + key] = theirs[key]
    return ours


def backward(ours: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Ours to the authors' state dict; what :func:`forward` kept is given back.

    Raises:
        ValueError: a weight is missing or left over.
    """
    names = names_of(model)
    kept = {key.removeprefix(KEPT): value for key, value in ours.items() if key.startswith(KEPT)}
    surplus = sorted(key for key in ours if key not in names and not key.startswith(KEPT))
    surplus = [key for key in surplus if not key.startswith("attention_losses.")]
    if surplus:
        raise ValueError(
            f"{len(surplus)} weights have no place in the authors' file, such as {surplus[0]!r}"
        )
    return to_theirs(ours, names) | kept


def read(path: str | Path) -> dict[str, Tensor]:
    """Tensors of ``.safetensors``, ``.ckpt`` or ``.pth``; pickles without running code.

    What :func:`write` put into a file beside it is read too.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a pickle that holds more than tensors and plain values, which says what to do,
            or no state dict.
    """
    from vtonlab.utils.bounded import PickledClassesError, read_tensors, read_torch

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if path.suffix == ".safetensors":
        beside = beside_of(path)
        kept = read_tensors(beside) if beside.is_file() else {}
        return read_tensors(path) | {KEPT + key: value for key, value in kept.items()}
    try:
        content = read_torch(path)
    except PickledClassesError as error:
        raise ValueError(
            f"{path} is a pickle that holds more than tensors (a Lightning checkpoint often keeps "
            f"its callbacks and arguments), and reading those would run code: if you know where it "
            f"comes from, make it safe once with `python tools/convert/pickle_checkpoint.py {path} "
            f"NEW.safetensors --i-trust-this-file`, and convert NEW.safetensors"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a state dict of tensors")
    others = [key for key, value in state.items() if not hasattr(value, "shape")]
    if others:
        raise ValueError(
            f"{path} is no state dict of tensors: its {others[0]!r} is a "
            f"{type(state[others[0]]).__name__}; save the weights alone, or as `state_dict`"
        )
    return state


def beside_of(path: Path) -> Path:
    """Where keys without a place here are kept for the way back."""
    return path.with_name(f"{path.stem}.released.safetensors")


def write(
    state: Mapping[str, Tensor],
    path: Path,
    facts: dict | None = None,
    *,
    as_released: bool = False,
) -> None:
    """``.safetensors`` that training and testing load, or the authors' ``.ckpt``.

    Args:
        facts: what a checkpoint says about its model; none for the authors' files.
        as_released: the weights are published ones: `tools/test.py` then samples as the authors'
            program does.
    """
    from vtonlab.engine.checkpoints.files import manifest_path, save_safetensors

    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the new file")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".safetensors":
        import torch

        torch.save({"state_dict": {k: v.contiguous() for k, v in state.items()}}, path)
        return
    kept = {key.removeprefix(KEPT): v for key, v in state.items() if key.startswith(KEPT)}
    weights = {key: v for key, v in state.items() if not key.startswith(KEPT)}
    meta = {"facts": facts} if facts else {}
    save_safetensors(weights, path, meta | ({"as_released": True} if as_released else {}))
    for stale in (beside_of(path), manifest_path(beside_of(path))):  # of an earlier conversion
        stale.unlink(missing_ok=True)
    if kept:
        save_safetensors(kept, beside_of(path), {})


def write_folder(state: Mapping[str, Tensor], model: nn.Module, folder: Path) -> None:
    """``unet/``, ``vae/`` and ``image_encoder/`` in the diffusers layout, for ``pretrained``."""

    def fill(module: nn.Module, prefix: str) -> nn.Module:
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        module.load_state_dict(part, strict=True, assign=True)
        return module

    from vtonlab.engine.config.released import mark_folder

    fill(model.backbone, "backbone.").save_pretrained(folder / "unet")
    fill(model.codec, "codec.").save_pretrained(folder / "vae")
    fill(model.conditioner.image_encoder, _TOKEN).save_pretrained(folder / "image_encoder")
    mark_folder(folder)


def refuse_by_name(path: Path, others: Mapping[str, str]) -> None:
    """Say what a published file is that this converter cannot take.

    Args:
        others: name of a published file -> what it is, and what to give instead.

    Raises:
        ValueError: ``path`` has one of those names.
    """
    if path.name in others:
        raise ValueError(f"{path.name} is {others[path.name]}")


def parse_args(doc: str, argv: list[str] | None = None) -> argparse.Namespace:
    """The command line of both converters."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the checkpoint to convert")
    parser.add_argument("target", type=Path, help="the new file")
    parser.add_argument("--back", action="store_true", help="from ours to the authors' keys")
    parser.add_argument(
        "--folder",
        type=Path,
        help="also write unet/, vae/ and image_encoder/ here, for a config's `pretrained`",
    )
    parser.add_argument(
        "--base",
        type=Path,
        help="with --back: a converted file with what SOURCE, a training checkpoint, leaves out",
    )
    return parser.parse_args(argv)


OTHERS = {  # published beside the weights that are converted here
    "VITONHD_PBE_pose.ckpt": "StableVITON's starting point for training, which holds no trained "
    "zero cross-attention: give VITONHD.ckpt",
    "VITONHD_VAE_finetuning.ckpt": "the fine-tuned VAE alone, which VITONHD.ckpt holds too: give "
    "that",
}


def run(args: argparse.Namespace, overrides: Mapping | None = None) -> str:
    """Read, convert, call once, write; returns lines that say what was done.

    Raises:
        ValueError, FileNotFoundError: one sentence.
    """
    refuse_by_name(args.source, OTHERS)
    model = build_model(overrides)
    state = read(args.source)
    if args.back:
        base = read(args.base) if args.base else {}
        result = backward({**base, **state}, model)
        write(result, args.target)
        return f"{len(state)} weights read, {len(result)} of the authors' keys in {args.target}"
    result = forward(state, model)
    checked = check_try_on(model, result)
    write(result, args.target, model.checkpoint_meta(), as_released=True)
    if args.folder:
        write_folder(result, model, args.folder)
    kept = sum(key.startswith(KEPT) for key in result)
    done = (
        f"{len(state)} keys read, {len(result) - kept} weights in {args.target}, {kept} keys "
        f"without a use here kept beside it in {beside_of(args.target).name}"
    )
    return "\n".join([done, *checked])
