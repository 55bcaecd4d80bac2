"""What each scale of a warping model costs: encoders, correlation and both refinement scales.

Builds the config's network and refinement with random weights and runs them forward and backward on
noise at the config's own size. Memory is what autograd keeps for the backward pass.

Example:
    python tools/benchmark/refinement_scales.py configs/gcl3d/warp_deepfashion.py

Exit codes: 0, or 2 for bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import time
from collections.abc import Callable


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; importable without torch."""
    from vtonlab.engine.cli import add_cfg_options, at_least, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="of a TryOnWarping")
    parser.add_argument("--batch-size", type=at_least(1), default=1)
    add_cfg_options(parser)
    return parse(parser, argv)


def measure(run: Callable) -> tuple[float, float, object]:
    """Seconds of forward and backward, MiB kept between them, and what ``run`` returned.

    ``run`` returns ``(tensors that are differentiated, result)``.
    """
    import torch

    kept: dict[int, int] = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    start = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs, result = run()
    torch.autograd.backward([output.sum() for output in outputs])
    return time.perf_counter() - start, sum(kept.values()) / 2**20, result


def parts(config, batch_size: int) -> list[tuple[str, float, float, int]]:
    """Name, seconds, MiB and parameters of each part."""
    import torch

    from vtonlab.ops.warp import resize_flow, token_flow
    from vtonlab.registry import BACKBONES

    torch.manual_seed(0)
    network = BACKBONES.build(config.model.network)
    refinement = BACKBONES.build(config.model.refinement)
    size = tuple(config.model.size)
    inputs = [torch.rand(batch_size, channels, *size) for channels in (3, 6)]

    def encode():
        features = network(*inputs)
        return features.person + features.garment, features

    def leaves(features):
        return [
            [f.detach().requires_grad_() for f in side]
            for side in (features.person, features.garment)
        ]

    rows = []
    seconds, kept, features = measure(encode)
    rows.append(("encoders", seconds, kept, count(network)))
    person, garment = leaves(features)
    pixels = torch.rand(person[0].shape[-2] * person[0].shape[-1], 4)

    def correlate():
        record = network.correlate(type(features)(person, garment))
        return [record.mean_of(pixels)], record

    seconds, kept, record = measure(correlate)
    rows.append(("correlation and its warp", seconds, kept, 0))
    flow = token_flow(record.argmax(), record.query_grid, record.key_grid, pixels)
    for scale, ours, theirs in zip(refinement.scales, person[1:], garment[1:], strict=True):
        start = resize_flow(flow.detach(), ours.shape[-2:], "nearest")

        def refine(scale=scale, start=start, ours=ours, theirs=theirs):
            found = scale(start, ours, theirs)
            return [found], found

        seconds, kept, flow = measure(refine)
        name = f"refinement at {ours.shape[-2]}x{ours.shape[-1]}"
        rows.append((name, seconds, kept, count(scale)))
    return rows


def count(module) -> int:
    """Parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def main() -> int:
    args = parse_args()
    from vtonlab.engine.config.load import load_config

    config = load_config(args.config, args.cfg_options)
    if config.model.type != "TryOnWarping" or config.model.get("refinement") is None:
        raise ValueError(f"{args.config} is no TryOnWarping with a refinement")
    rows = parts(config, args.batch_size)
    total = sum(seconds for _, seconds, _, _ in rows)
    for name, seconds, kept, parameters in rows:
        print(
            f"{name:26s} {seconds:7.2f} s {seconds / total:6.1%} {kept:8.0f} MiB "
            f"{parameters / 1e6:6.3f} M parameters"
        )
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
