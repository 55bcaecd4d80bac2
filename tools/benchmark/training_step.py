"""What one training step of a config costs at its own picture size, with random weights and noise.

Builds the config's model, the optimisers and one batch of noise; takes one training step (of each
optimiser). No data and no weights are needed: a perceptual loss gets a VGG19 with random weights.

Example:
    python tools/benchmark/training_step.py configs/gcl3d/tryon_deepfashion.py \\
        --cfg-options model.discriminator.stddev_group=1

Prints parameters, seconds and the process's peak memory; exit code 0, or 2 for bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import resource
import tempfile
import time
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; importable without torch."""
    from vtonlab.engine.cli import add_cfg_options, at_least, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--batch-size", type=at_least(1), default=1)
    parser.add_argument(
        "--steps", type=at_least(1), default=1, help="the last one's seconds are printed"
    )
    add_cfg_options(parser)
    return parse(parser, argv)


def noise_batch(size: tuple[int, int], batch_size: int) -> dict:
    """A collated batch as person-to-person readers give it, of noise."""
    import torch

    from vtonlab.structures import Correspondences, FlowField
    from vtonlab.structures.sample import MASKS

    draw = torch.Generator().manual_seed(0)
    pictures = ("person", "garment", "agnostic", "pose", "iuv", "garment_iuv")
    batch = {
        name: torch.randint(0, 25, (batch_size, 3, *size), generator=draw, dtype=torch.uint8)
        for name in pictures
    }
    middle = torch.zeros(batch_size, 1, *size, dtype=torch.uint8)
    middle[..., size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = 1
    batch |= {name: middle.clone() for name in MASKS}
    flow = torch.rand(*size, 2, generator=draw)
    field = FlowField(flow, middle[0, 0].bool())
    batch |= dict(
        flow=[field] * batch_size,
        correspondences=[Correspondences.empty()] * batch_size,
        position=torch.arange(batch_size),
        index=list(range(batch_size)),
        step=0,
    )
    names = [f"noise{n}" for n in range(batch_size)]
    return batch | dict(id=names, garment_id=names, category=["upper_body"] * batch_size)


def random_vgg(folder: Path) -> Path:
    """A file like torchvision's VGG19 weights, of what a perceptual loss reads."""
    import torch
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["E"], batch_norm=False)
    path = folder / "vgg19-dcbb9e9d.pth"
    torch.save({f"features.{key}": value for key, value in layers.state_dict().items()}, path)
    return path


def build(config, folder: Path):
    """The model in training mode, and what optimises it."""
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner

    from vtonlab.registry import MODELS

    for loss in (config.model.get("image_losses") or {}).values():
        if loss["type"] == "PerceptualLoss" and loss.get("path") is None:
            loss["path"] = str(random_vgg(folder))
    with DefaultScope.overwrite_default_scope("vtonlab"):
        model = MODELS.build(config.model).train()
        runner = Runner.__new__(Runner)  # its method reads the model alone
        runner.model = model
        return model, runner.build_optim_wrapper(config.optim_wrapper)


def main() -> int:
    args = parse_args()
    import torch

    from vtonlab.engine.cli import OK
    from vtonlab.engine.config.load import finalize, load_config

    config = finalize(load_config(args.config, args.cfg_options))
    with tempfile.TemporaryDirectory() as folder:
        model, optimisers = build(config, Path(folder))
    for name, part in model.named_children():
        count = sum(p.numel() for p in part.parameters())
        if count:
            trained = sum(p.numel() for p in part.parameters() if p.requires_grad)
            print(f"{name}: {count / 1e6:.2f} M parameters, {trained / 1e6:.2f} M trained")
    before = _peak()
    for step in range(args.steps):
        data = noise_batch(tuple(model.size), args.batch_size) | {"step": step}
        start, cpu = time.perf_counter(), time.process_time()
        losses = model.train_step(data, optimisers)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        shown = ", ".join(f"{name} {float(value):.4g}" for name, value in losses.items())
        print(f"step {step}: {seconds:.1f} s ({cpu:.1f} s of CPU); {shown}")
    size = f"{model.size[0]}x{model.size[1]}"
    print(
        f"{size}, batch {args.batch_size}, {torch.get_num_threads()} threads: peak memory "
        f"{_peak() / 2**30:.2f} GiB, {before / 2**30:.2f} GiB of it before the first step"
    )
    return OK


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
