"""CORAL's released transformer to vtonlab's checkpoint and back.

Example:
    python tools/convert/coral.py CORAL_DIR/transformer checkpoints/coral_vitonhd.safetensors
    python tools/test.py configs/coral/dit_vitonhd_attn.py checkpoints/coral_vitonhd.safetensors \\
        --cfg-options pretrained=FLUX_DIR data_root=DIR
    python tools/convert/coral.py --back checkpoints/coral_vitonhd.safetensors again/transformer

The release is a whole ``FluxTransformer2DModel`` of FLUX.1-Fill in the diffusers layout, so our
names are its names below ``backbone.``; every key and shape is compared all the same. It also
serves as it is: ``model.backbone.path=CORAL_DIR`` in place of FLUX.1-Fill's own transformer.
``--base FLUX_DIR`` with ``--back`` gives the weights that a training checkpoint (of attention
alone) leaves out. The converted file says that its weights are published ones, so that
`tools/test.py` samples as the authors' program does; the network is called once on a few tokens,
and what came out is printed.

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
from typing import TYPE_CHECKING

from ldm_keys import to_ours, to_theirs
from zero_cross_attention import read

if TYPE_CHECKING:
    from torch import Tensor, nn

FLUX_FILL = dict(in_channels=384, out_channels=64, guidance_embeds=True)
CATEGORIES = {
    "vitonhd": ["upper_body"],
    "dresscode": ["upper_body", "lower_body", "dresses"],
}
_PREFIX = "backbone."


def build_backbone(overrides: Mapping | None = None) -> nn.Module:
    """FLUX.1-Fill's transformer without numbers (meta device).

    Args:
        overrides: arguments of ``FluxTransformer2DModel``, for other sizes.
    """
    import torch
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        return FluxTransformer2DModel(**(overrides or FLUX_FILL))


def names_of(backbone: nn.Module) -> dict[str, str]:
    """Our parameter name -> the release's."""
    return {_PREFIX + name: name for name, _ in backbone.named_parameters()}


def forward(theirs: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """The release's state dict to ours.

    Raises:
        ValueError: a key is missing, left over or of another shape; the sentence names it.
    """
    names = names_of(backbone)
    shapes = {_PREFIX + name: p.shape for name, p in backbone.named_parameters()}
    ours = to_ours(theirs, names, shapes)
    left = sorted(theirs.keys() - set(names.values()))
    if left:
        raise ValueError(
            f"{len(left)} keys have no place in FLUX.1-Fill's transformer, such as {left[0]!r}: is "
            "it CORAL's transformer/ folder?"
        )
    return ours


def backward(ours: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Ours to the release's state dict.

    Raises:
        ValueError: a weight is missing or left over.
    """
    names = names_of(backbone)
    left = [n for n in ours if n not in names and not n.startswith("attention_losses.")]
    lora = [name for name in left if ".lora_" in name]
    if lora:
        raise ValueError(
            f"{len(lora)} weights are of a LoRA, such as {lora[0]!r}: the run's export/ folder has "
            "it for `load_lora_weights`"
        )
    if left:
        raise ValueError(f"{len(left)} weights have no place in CORAL's file, such as {left[0]!r}")
    return to_theirs(ours, names)


def read_parts(path: Path) -> dict[str, Tensor]:
    """Tensors of one file, or of all shards of a ``transformer/`` folder.

    Raises:
        FileNotFoundError: no such file, or a folder without weights.
        ValueError: two shards hold one name.
    """
    if not path.is_dir():
        return read(path)
    folder = path if list(path.glob("*.safetensors")) else path / "transformer"
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise FileNotFoundError(f"no *.safetensors in {path}: give CORAL's transformer/ folder")
    state: dict[str, Tensor] = {}
    for shard in shards:
        part = read(shard)
        both = sorted(state.keys() & part.keys())
        if both:
            raise ValueError(f"{shard.name} repeats {both[0]!r} of another shard")
        state |= part
    return state


def try_out(ours: Mapping[str, Tensor], backbone: nn.Module) -> str:
    """One call on drawn tokens; one line about what came out. Fills ``backbone``.

    Raises:
        ValueError: it is not finite.
    """
    import torch

    theirs = {name: ours[_PREFIX + name] for name, _ in backbone.named_parameters()}
    backbone.load_state_dict(theirs, strict=True, assign=True)
    settings, dtype = backbone.config, next(iter(theirs.values())).dtype
    random = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random).to(dtype)

    with torch.no_grad():
        out = backbone.eval()(
            hidden_states=drawn(1, 4, settings.in_channels),
            encoder_hidden_states=drawn(1, 4, settings.joint_attention_dim),
            pooled_projections=drawn(1, settings.pooled_projection_dim),
            timestep=torch.full((1,), 0.5, dtype=dtype),
            img_ids=torch.tensor([[0.0, y, x] for y in range(2) for x in range(2)]),
            txt_ids=torch.zeros(4, 3),
            guidance=torch.full((1,), 30.0) if settings.guidance_embeds else None,
            return_dict=False,
        )[0].float()
    if not bool(torch.isfinite(out).all()):
        raise ValueError("the transformer with these weights gives values that are not finite")
    return (
        f"one call: velocity {out.min():.4g} to {out.max():.4g}, mean {out.mean():.4g}, "
        f"deviation {out.std():.4g}"
    )


def facts_of(categories: str) -> dict:
    """What the converted file says about its model, as ``TryOnDiffusion.checkpoint_meta``."""
    return dict(
        model="TryOnDiffusion",
        backbone="FluxTransformer2DModel",
        conditioner="Full3DAttentionConditioner",
        categories=CATEGORIES[categories],
        mask_polarity="1 = generate",
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="transformer/ folder, or a file")
    parser.add_argument("target", type=Path, help="the new file; with --back a new folder")
    parser.add_argument("--weights", choices=sorted(CATEGORIES), default="vitonhd")
    parser.add_argument("--back", action="store_true", help="from ours to a diffusers folder")
    parser.add_argument(
        "--base", type=Path, help="with --back: transformer/ that SOURCE was trained from"
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace, overrides: Mapping | None = None) -> str:
    """Read, convert, write; returns one line that says what was done."""
    backbone = build_backbone(overrides)
    state = read_parts(args.source)
    if args.back:
        base = read_parts(args.base) if args.base else {}
        result = backward({**{_PREFIX + k: v for k, v in base.items()}, **state}, backbone)
        backbone.load_state_dict(result, strict=True, assign=True)
        backbone.save_pretrained(args.target)
        return f"{len(state)} weights read, {len(result)} of the authors' keys in {args.target}"
    result = forward(state, backbone)
    tried = try_out(result, backbone)
    from vtonlab.engine.checkpoints.files import save_safetensors

    args.target.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(result, args.target, {"facts": facts_of(args.weights), "as_released": True})
    return f"{tried}\n{len(state)} keys read, {len(result)} weights in {args.target}"


def main() -> int:
    print(run(parse_args()))
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
