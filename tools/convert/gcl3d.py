"""3D-GCL's published weights to vtonlab's checkpoints and back, both stages.

Example:
    python tools/convert/gcl3d.py net_Corr.pth checkpoints/gcl3d_warp.safetensors
    python tools/convert/gcl3d.py latest_net_G_ema_copy.pth checkpoints/gcl3d_tryon.safetensors \\
        --warping net_Corr.pth
    python tools/test.py configs/gcl3d/tryon_deepfashion.py checkpoints/gcl3d_tryon.safetensors \\
        --cfg-options data_root=DIR --setting unpaired
    python tools/convert/gcl3d.py --back checkpoints/gcl3d_warp.safetensors again.pth

Which stage a file is of its keys say. Checkpoints of the second stage hold the first too, which
``--warping`` gives. The authors published no discriminator; ``--discriminator`` takes one that
their code trained. Every key is accounted for, and each network is run once on drawn inputs: what
came out is printed.

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
from typing import TYPE_CHECKING

from gcl3d_keys import (
    discriminator_source,
    generator_kernels,
    generator_source,
    to_ours,
    to_theirs,
    warping_source,
)
from zero_cross_attention import read

if TYPE_CHECKING:
    from torch import Tensor, nn

ARITHMETIC = dict(
    corners=True, row_fraction=True, outside="zeros", shrinking="points", region="correlation"
)
WARPING = dict(
    type="TryOnWarping",
    categories=["upper_body"],
    network=dict(type="CorrespondenceNetwork", norm="batch"),
    refinement=dict(type="FlowRefinement", smoothing="replace", compare_slope=0.1),
    label_scale=10.0,
    arithmetic=ARITHMETIC,
)
GENERATOR = dict(type="TwoBranchStyleGenerator")
DISCRIMINATOR = dict(type="ResidualDiscriminator", stem=1, stddev_group=1)
SIZE = (512, 512)
SMALL = (128, 128)  # of the pictures that a network is tried on
_NAMES = {"GACRM.": "warping", "appearance_encoder.": "generator", "final_linear.": "discriminator"}
_FILES = dict(
    warping="net_Corr.pth", generator="latest_net_G_ema_copy.pth", discriminator="a net_D file"
)
_PARTS = dict(
    warping=warping_source, generator=generator_source, discriminator=discriminator_source
)


def stage_of(keys) -> str:
    """``"warping"``, ``"generator"`` or ``"discriminator"``.

    Raises:
        ValueError: none of 3D-GCL's networks.
    """
    for start, stage in _NAMES.items():
        if any(key.startswith(start) for key in keys):
            return stage
    raise ValueError(
        "the file holds none of 3D-GCL's networks (net_Corr.pth, latest_net_G_ema_copy.pth): its "
        f"keys begin with {min(keys, default='nothing')!r}"
    )


def build(stage: str, overrides: Mapping | None = None) -> nn.Module:
    """The published network of a stage, in evaluation mode.

    Args:
        overrides: ``network``, ``refinement``, ``generator`` and ``discriminator`` arguments and
            ``size``, for other sizes.
    """
    from vtonlab.registry import BACKBONES, MODELS

    sizes = dict(overrides or {})
    size = sizes.get("size", SIZE)
    if stage == "warping":
        parts = {k: WARPING[k] | sizes.get(k, {}) for k in ("network", "refinement")}
        return MODELS.build(WARPING | parts | dict(size=SMALL)).eval()
    if stage == "generator":
        return BACKBONES.build(GENERATOR | sizes.get("generator", {})).eval()
    return BACKBONES.build(DISCRIMINATOR | dict(size=size) | sizes.get("discriminator", {})).eval()


def forward(theirs: Mapping[str, Tensor], stage: str, network: nn.Module) -> dict[str, Tensor]:
    """The authors' state dict to that of ``network``, which is filled.

    Raises:
        ValueError: another stage's file; a key is missing, left over or of another shape.
    """
    found = stage_of(theirs)
    if found != stage:
        raise ValueError(
            f"this is {_FILES[found]}, the {found}'s; the {stage} is in {_FILES[stage]}"
        )
    state = network.state_dict()
    sources = {name: _PARTS[stage](name) for name in state}
    ours = to_ours(theirs, sources, {name: value.shape for name, value in state.items()})
    network.load_state_dict(ours)
    return ours


def backward(ours: Mapping[str, Tensor], stage: str, network: nn.Module) -> dict[str, Tensor]:
    """Inverse of :func:`forward`.

    Raises:
        ValueError: a weight is missing.
    """
    sources = {name: _PARTS[stage](name) for name in network.state_dict()}
    kernels = generator_kernels(network.scales) if stage == "generator" else []
    if stage == "discriminator":
        steps = range(1, len(network.pyramid.downs) + 1)
        kernels = [f"convs.{n}.{part}.0.kernel" for n in steps for part in ("conv2", "skip")]
    return to_theirs(ours, sources, kernels)


def try_out(stage: str, network: nn.Module, overrides: Mapping | None = None) -> str:
    """One call on drawn pictures; one line about what came out.

    Raises:
        ValueError: it is not finite.
    """
    import torch

    random = torch.Generator().manual_seed(0)

    def drawn(channels: int, size=SMALL) -> Tensor:
        return torch.rand(1, channels, *size, generator=random)

    with torch.no_grad():
        if stage == "warping":
            out = _tried_warp(network, drawn)
        elif stage == "generator":
            noise = [2 * drawn(1, side) - 1 for side in network.noise_sizes(SMALL)]
            flow = drawn(2).permute(0, 2, 3, 1)
            pictures = [2 * drawn(3) - 1 for _ in range(2)]
            out = network(pictures[0], flow, drawn(1), pictures[1], 2 * drawn(3) - 1, noise)
        else:
            size = (overrides or {}).get("size", SIZE)
            out = network(2 * drawn(3, size) - 1, 2 * drawn(3, size) - 1)
    if not bool(torch.isfinite(out).all()):
        raise ValueError(f"the {stage} with these weights gives values that are not finite")
    spread = out.std(unbiased=False)
    what = dict(warping="flow (of 1)", generator="colours", discriminator="score")[stage]
    low, high = out.min(), out.max()
    return f"{stage}: {what} {low:.4g} to {high:.4g}, mean {out.mean():.4g}, deviation {spread:.4g}"


def _tried_warp(network: nn.Module, drawn) -> Tensor:
    import torch

    levels = torch.tensor([24.0, 255.0, 255.0]).reshape(1, 3, 1, 1)
    maps = {key: (drawn(3) * levels).round().byte() for key in ("iuv", "garment_iuv")}
    mask = torch.zeros(1, 1, *SMALL)
    mask[..., 32:96, 32:96] = 1
    return network.warp(dict(maps, garment=2 * drawn(3) - 1, garment_mask=mask)).flow


def facts_of(model: str, backbone: str, **more: str) -> dict:
    """What the converted file says about its model; the published weights are of no one size."""
    return dict(
        model=model,
        backbone=backbone,
        categories=["upper_body"],
        mask_polarity="1 = generate",
        **more,
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="net_Corr.pth or latest_net_G_ema_copy.pth")
    parser.add_argument("target", type=Path, help="the new file")
    parser.add_argument("--warping", type=Path, help="net_Corr.pth, for the second stage")
    parser.add_argument("--discriminator", type=Path, help="the second stage's, where there is one")
    parser.add_argument(
        "--back",
        choices=tuple(_PARTS),
        nargs="?",
        const="warping",
        help="from ours to the authors' keys, of this network (the warping, if none is named)",
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace, overrides: Mapping | None = None) -> str:
    """Read, convert, try, write; returns lines that say what was done.

    Raises:
        ValueError, FileNotFoundError: one sentence.
    """
    state = read(args.source)
    if args.back:
        return _back(state, args, overrides)
    stage = stage_of(state)
    files = {stage: state}
    if stage == "generator":
        if args.warping is None:
            raise ValueError("the second stage's checkpoint holds the first: give --warping FILE")
        files["warping"] = read(args.warping)
        if args.discriminator is not None:
            files["discriminator"] = read(args.discriminator)
    elif args.warping or args.discriminator:
        raise ValueError(f"{args.source} is of the {stage}: --warping and --discriminator are not")
    result, lines = {}, []
    for part, theirs in files.items():
        network = build(part, overrides)
        ours = forward(theirs, part, network)
        lines.append(try_out(part, network, overrides))
        prefix = "" if stage == part == "warping" else f"{part}."
        result |= {prefix + name: value for name, value in ours.items()}
    facts = facts_of("TryOnWarping", "CorrespondenceNetwork", start="correlation")
    if stage == "generator":
        facts = facts_of("TryOnSynthesis", "TwoBranchStyleGenerator", warping="TryOnWarping")
    from vtonlab.engine.checkpoints.files import save_safetensors

    args.target.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(result, args.target, {"facts": facts, "as_released": True})
    count = sum(map(len, files.values()))
    return "\n".join([*lines, f"{count} keys read, {len(result)} weights in {args.target}"])


def _back(state: Mapping[str, Tensor], args: argparse.Namespace, overrides) -> str:
    import torch

    prefix = f"{args.back}."
    if any(name.startswith("generator.") for name in state):
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    result = backward(state, args.back, build(args.back, overrides))
    torch.save(result, args.target)
    return f"{len(state)} weights read, {len(result)} of the authors' keys in {args.target}"


def main() -> int:
    print(run(parse_args()))
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
