"""CatVTON's released attention weights to vtonlab's checkpoint and back.

Example:
    python tools/convert/catvton.py CATVTON_DIR/vitonhd-16k-512 checkpoints/catvton.safetensors
    python tools/test.py configs/catvton/unet_vitonhd.py checkpoints/catvton.safetensors \\
        --cfg-options pretrained=SD_INPAINTING_DIR model.codec.path=SD_VAE_FT_MSE_DIR data_root=DIR
    python tools/convert/catvton.py --back checkpoints/catvton.safetensors again.safetensors

The release trains self-attention alone and publishes it as numbered modules (``0.to_q.weight``):
folders ``mix-48k-1024`` and ``dresscode-16k-512`` (configs/catvton/unet_dresscode.py) and
``vitonhd-16k-512``, each with ``attention/model.safetensors``. A file has 192 names, each number
under two of them, or the 80 that accelerate's writer keeps of shared tensors; both are read. All
else is Stable Diffusion 1.5 inpainting with the MSE fine-tuned VAE (stabilityai/sd-vae-ft-mse).
The converted file says that its weights are published ones: testing it samples as the authors'
program does (``as_released``). The last lines are a self-check: each attention, called once.

Exit codes: 0 done, 2 bad input.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import re
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from self_check import statistics
from zero_cross_attention import read, write

from vtonlab.structures.categories import CATEGORIES

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDERS = {  # as published -> categories
    "mix-48k-1024": list(CATEGORIES),
    "vitonhd-16k-512": ["upper_body"],
    "dresscode-16k-512": list(CATEGORIES),
}
PARTS = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias")
# The numbering counts every module with "attn1" in its name: after the attention itself come its
# to_q, to_k, to_v, the list to_out and what is in it.
_ALIASES = {
    (1, "weight"): "to_q.weight",
    (2, "weight"): "to_k.weight",
    (3, "weight"): "to_v.weight",
    (4, "0.weight"): "to_out.0.weight",
    (4, "0.bias"): "to_out.0.bias",
    (5, "weight"): "to_out.0.weight",
    (5, "bias"): "to_out.0.bias",
}
_FIRST = ".to_q.weight"
_STEP = 8  # how many modules each attention counts for in the release
_PREFIX = "backbone."
SD15_UNET = dict(in_channels=9, cross_attention_dim=768, attention_head_dim=8)


def build_unet(overrides: Mapping | None = None) -> nn.Module:
    """SD-1.5 inpainting's UNet without numbers (meta device).

    Args:
        overrides: arguments of ``UNet2DConditionModel``, for other sizes.
    """
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return UNet2DConditionModel(**(overrides or SD15_UNET))


def attentions(unet: nn.Module) -> dict[str, nn.Module]:
    """Its self-attentions in the order that the release numbers them."""
    return {name: part for name, part in unet.named_modules() if name.endswith(".attn1")}


def forward(theirs: Mapping[str, Tensor], unet: nn.Module) -> dict[str, Tensor]:
    """The numbered tensors by their places: ``backbone.<attention>.to_q.weight`` and so on.

    Raises:
        ValueError: a key is unknown, missing, of another shape, or disagrees with its second name.
    """
    import torch

    known = attentions(unet)
    numbers = sorted(int(k.removesuffix(_FIRST)) for k in theirs if k.endswith(_FIRST))
    found: dict[str, Tensor] = {}
    for key in sorted(theirs):
        name = _place(key, numbers, list(known))
        if name in found and not torch.equal(found[name], theirs[key]):
            raise ValueError(f"{key!r} and another key are both {name!r}, with different numbers")
        found[name] = theirs[key]
    ours = {}
    for attention, module in known.items():
        for part in PARTS:
            name = f"{attention}.{part}"
            if name not in found:
                raise ValueError(f"the checkpoint lacks {name!r} ({len(theirs)} keys)")
            shape = tuple(module.get_parameter(part).shape)
            if tuple(found[name].shape) != shape:
                raise ValueError(f"{name!r} is {tuple(found[name].shape)}, the UNet's is {shape}")
            ours[_PREFIX + name] = found[name]
    return ours


def backward(ours: Mapping[str, Tensor], unet: nn.Module) -> dict[str, Tensor]:
    """Ours to the 80 names that the release's own writer keeps.

    Raises:
        ValueError: a weight is missing or left over.
    """
    theirs, used = {}, set()
    for number, attention in enumerate(attentions(unet)):
        for part in PARTS:
            name = f"{_PREFIX}{attention}.{part}"
            if name not in ours:
                raise ValueError(f"the weights lack {name!r}")
            theirs[f"{number * _STEP}.{part}"] = ours[name]
            used.add(name)
    left = sorted(n for n in ours.keys() - used if not n.startswith("attention_losses."))
    if left:
        raise ValueError(
            f"{len(left)} weights have no place in CatVTON's file, such as {left[0]!r}"
        )
    return theirs


def _place(key: str, numbers: list[int], known: list[str]) -> str:
    """``9.weight`` -> the second attention's ``to_q.weight``, where that is number 8."""
    found = re.fullmatch(r"(\d+)\.(.+)", key)
    if found:
        place = bisect_right(numbers, int(found[1])) - 1
        rest = int(found[1]) - numbers[place] if place >= 0 else -1
        part = found[2] if rest == 0 else _ALIASES.get((rest, found[2]))
        if 0 <= place < len(known) and part in PARTS:
            return f"{known[place]}.{part}"
    raise ValueError(
        f"{key!r} has no place among {len(known)} numbered self-attentions: is it CatVTON's "
        "attention/model.safetensors?"
    )


def source_file(path: Path) -> tuple[Path, list[str] | None]:
    """The file with the weights, and their categories where a published folder's name says them.

    Raises:
        FileNotFoundError: a folder without one; lists the published folders that it holds.
        ValueError: a folder that holds several.
    """
    categories = next((FOLDERS[name] for name in path.parts if name in FOLDERS), None)
    if not path.is_dir():
        return path, categories
    inside = [name for name in FOLDERS if (path / name).is_dir()]
    if inside:
        raise ValueError(f"{path} holds {', '.join(inside)}: give one of them")
    for place in ("attention/model.safetensors", "model.safetensors"):
        if (path / place).is_file():
            return path / place, categories
    raise FileNotFoundError(
        f"no attention/model.safetensors in {path}: give one of the published folders "
        f"({', '.join(FOLDERS)})"
    )


def check(ours: Mapping[str, Tensor], unet: nn.Module) -> list[str]:
    """Each attention called once on noise; lines of the first, the middle and the last.

    Raises:
        ValueError: an answer is not finite.
    """
    import torch

    generator, lines = torch.Generator().manual_seed(0), []
    known = attentions(unet)
    for number, (name, module) in enumerate(known.items()):
        prefix = f"{_PREFIX}{name}."
        own = {k.removeprefix(prefix): v.float() for k, v in ours.items() if k.startswith(prefix)}
        module.load_state_dict(own, strict=True, assign=True)
        tokens = torch.randn(1, 12, own["to_q.weight"].shape[1], generator=generator)
        with torch.no_grad():
            line = statistics(name, module(tokens))
        if number in (0, len(known) // 2, len(known) - 1):
            lines.append(line)
    return lines


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a published folder, or a file")
    parser.add_argument("target", type=Path, help="the new file")
    parser.add_argument("--back", action="store_true", help="from ours to the authors' keys")
    return parser.parse_args(argv)


def run(args: argparse.Namespace, overrides: Mapping | None = None) -> str:
    """Read, convert, check, write; returns lines that say what was done."""
    unet = build_unet(overrides)
    if args.back:
        state = read(args.source)
        write(backward(state, unet), args.target)
        return f"{len(state)} weights read, as many of the authors' keys in {args.target}"
    path, categories = source_file(args.source)
    state = read(path)
    ours = forward(state, unet)
    checked = check(ours, unet)
    facts = dict(
        model="TryOnDiffusion",
        backbone="UNet2DConditionModel",
        conditioner="SpatialConcatConditioner",
        mask_polarity="1 = generate",
    )
    if categories is not None:
        facts["categories"] = categories
    write(ours, args.target, facts, as_released=True)
    return "\n".join([f"{len(state)} keys read, {len(ours)} weights in {args.target}", *checked])


def main() -> int:
    print(run(parse_args()))
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
