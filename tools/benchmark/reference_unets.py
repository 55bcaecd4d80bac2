"""What two UNets cost: memory of the flow loss in a training step, time saved by cached features.

`memory`: one training step (forward, backward, activation checkpointing, batch 1) of the spatial
concatenation with and without `AttentionFlowLoss` on its ten finest layers, at the widths of
SD-1.5; each a fresh process, its peak over the process before the step. By default the UNets have
the two finest of SD-1.5's four levels: all ten layers are there, the rest of the model is not.

`cache`: seconds of a sampling step with the reference UNet at one fixed timestep, run once for all
steps or at every step, in turns within one process.

Example:
    python tools/benchmark/reference_unets.py memory --latents 128 96
    python tools/benchmark/reference_unets.py cache --widths 320 640 1280 1280 --latents 32 24

Writes a JSON file per call into `--out` and prints one line per number. Exit code 0, or 2 for bad
input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

FINE_LAYERS = ["down_blocks.0.*.attn1", "down_blocks.1.*.attn1", "up_blocks.{}.*.attn1"]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("memory", "cache"))
    parser.add_argument(
        "--latents", type=at_least(1), nargs=2, default=(128, 96), metavar=("H", "W")
    )
    parser.add_argument(
        "--widths", type=at_least(1), nargs="+", default=[320, 640], help="of the levels"
    )
    parser.add_argument("--blocks", type=at_least(1), default=2, help="blocks of each level")
    parser.add_argument("--head-count", type=at_least(1), default=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=at_least(1), default=3, help="of a sampling step")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark/reference_unets"))
    parser.add_argument("--worker", choices=("with", "without"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def build(args: argparse.Namespace, **conditioner):
    """The two UNets with random weights; backbone and conditioner."""
    import torch

    from vtonlab.registry import BACKBONES, CONDITIONERS

    torch.manual_seed(0)
    attends = len(args.widths) - (len(args.widths) == 4)  # SD's coarsest level has no attention
    down = ["CrossAttnDownBlock2D"] * attends + ["DownBlock2D"] * (len(args.widths) - attends)
    up = [name.replace("Down", "Up") for name in reversed(down)]
    backbone = BACKBONES.build(
        dict(
            type="UNet2DConditionModel",
            in_channels=4,
            out_channels=4,
            block_out_channels=tuple(args.widths),
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            layers_per_block=args.blocks,
            attention_head_dim=args.head_count,
            cross_attention_dim=768,
            norm_num_groups=min(32, args.widths[0] // 4),
        )
    ).to(getattr(torch, args.dtype))
    built = CONDITIONERS.build(dict(type="SpatialConcatConditioner", **conditioner))
    built.attach(backbone)
    return backbone, built


def batch_of(args: argparse.Namespace) -> dict:
    """One random sample in pictures of eight pixels per latent."""
    import torch

    height, width = (8 * n for n in args.latents)
    person, garment, pose = torch.rand(3, 1, 3, height, width) * 2 - 1
    mask = torch.zeros(1, 1, height, width)
    mask[:, :, height // 4 : -height // 4, width // 4 : -width // 4] = 1
    agnostic = person * (1 - mask)
    return dict(
        person=person, garment=garment, pose=pose, agnostic=agnostic, mask=mask, worn_mask=mask
    )


def encode(pictures):
    """In place of the VAE: four channels at an eighth of the size."""
    from torch.nn import functional as F

    return F.avg_pool2d(pictures, 8)[:, [0, 1, 2, 0]]


def peak_of_a_step(args: argparse.Namespace, with_loss: bool) -> dict[str, float]:
    """Megabytes a training step takes at most, over the process before it."""
    import torch
    from attention_losses import resident_megabytes

    from vtonlab.losses import AttentionFlowLoss

    backbone, conditioner = build(args)
    backbone.enable_gradient_checkpointing()
    conditioner.enable_gradient_checkpointing()
    backbone.train(), conditioner.train()
    batch = batch_of(args)
    up = len(args.widths)
    layers = [*FINE_LAYERS[:2], *(FINE_LAYERS[2].format(n) for n in (up - 2, up - 1))]
    loss = AttentionFlowLoss(layers=layers, weight=1e-3)
    conditions, clean = conditioner.prepare(batch, encode), conditioner.target(batch, encode)
    before = resident_megabytes("cpu", peak=False)
    start = time.process_time()
    level = torch.full((1,), 0.3)
    prediction = conditioner(
        backbone, torch.randn_like(clean), level, conditions, layers if with_loss else ()
    )
    total = prediction.sample.square().mean()
    if with_loss:
        total = total + loss(prediction.records, batch, timesteps=1000 * level, step=0)["loss"]
    total.backward()
    tokens = [record.query.shape[2] for record in prediction.records]
    return dict(
        megabytes=resident_megabytes("cpu", peak=True) - before,
        cpu_seconds=time.process_time() - start,
        layers=len(tokens),
        map_megabytes=sum(args.head_count * n * n * 4 / 2**20 for n in tokens),
        parameters=sum(p.numel() for m in (backbone, conditioner) for p in m.parameters()),
    )


def memory(args: argparse.Namespace) -> dict:
    """Both steps, each in a process of its own, and their difference."""
    results = {}
    for way in ("without", "with"):
        command = [sys.executable, __file__, *sys.argv[1:], "--worker", way]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"the step {way} the loss failed: {done.stderr.strip()[-300:]}")
        results[way] = json.loads(done.stdout.splitlines()[-1])
    results["extra_megabytes"] = results["with"]["megabytes"] - results["without"]["megabytes"]
    return results


def cache(args: argparse.Namespace) -> dict:
    """Median seconds of a sampling step, and how many times faster with kept features."""
    import torch

    backbone, conditioner = build(args, reference_timestep=500)
    backbone.eval(), conditioner.eval()
    dtype = getattr(torch, args.dtype)
    batch = batch_of(args)
    clean = conditioner.target(batch, encode).to(dtype)
    fresh = {k: v.to(dtype) for k, v in conditioner.prepare(batch, encode).items()}
    kept, seconds, answers = dict(fresh), {"kept": [], "again": []}, {}
    with torch.no_grad():
        for _ in range(args.repeats + 1):
            for way, conditions in (("kept", kept), ("again", dict(fresh))):
                start = time.process_time()
                level = torch.full((1,), 0.5, dtype=dtype)
                answers[way] = conditioner(backbone, clean, level, conditions).sample
                seconds[way].append(time.process_time() - start)
    medians = {way: statistics.median(values[1:]) for way, values in seconds.items()}
    return dict(
        seconds=medians,
        times_faster=medians["again"] / medians["kept"],
        same_answer=bool(torch.equal(answers["kept"], answers["again"])),
        parameters=sum(p.numel() for m in (backbone, conditioner) for p in m.parameters()),
    )


def main() -> int:
    args = parse_args()
    if args.worker:
        print(json.dumps(peak_of_a_step(args, args.worker == "with")))
        return 0
    results = memory(args) if args.what == "memory" else cache(args)
    settings = {k: v for k, v in vars(args).items() if k not in ("out", "worker")}
    args.out.mkdir(parents=True, exist_ok=True)
    name = f"{args.what}_{'x'.join(map(str, args.latents))}_{'-'.join(map(str, args.widths))}.json"
    (args.out / name).write_text(json.dumps(settings | results, indent=2) + "\n")
    for key, value in (settings | results).items():
        print(f"{key:>16}: {value}")
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
