"""Training steps of FLUX.1-Fill's real geometry with random weights: time, tokens, memory, MFU.

Rows are LoRA and attention-only tuning, each supervised (the config's attention losses) and not.
Each row is a fresh process. Latents are drawn, as if cached: neither VAE nor text encoders are
loaded. MFU counts the transformer's matrix products, forward and backward, without recomputation.

Example:
    python tools/benchmark/flux_step.py --out work_dirs/flux_step
    python tools/benchmark/flux_step.py --size 512 384 --rows lora --peak-tflops 312

On a machine without a GPU `--tiny` runs the same path in seconds. Writes `table.md` and
`results.json`. Exit codes: 0 done, 1 done but a row failed (out of memory), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
import resource
import statistics
import subprocess
import time
from pathlib import Path

CONFIGS = {
    "lora": "configs/coral/dit_vitonhd.py",
    "attention": "configs/coral/dit_vitonhd_attn.py",
}
# Dense bfloat16 tera-operations a second, from the makers' data sheets.
PEAKS = {"A100": 312.0, "H100": 989.0, "H200": 989.0, "RTX 4090": 165.0, "RTX 3090": 71.0,
         "L40S": 362.0, "RTX 5090": 209.0}  # fmt: skip
TINY = dict(
    in_channels=384, out_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=16,
    num_attention_heads=2, joint_attention_dim=24, pooled_projection_dim=20,
    axes_dims_rope=(4, 6, 6), guidance_embeds=True,
)  # fmt: skip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size", nargs=2, type=at_least(1), default=(1024, 768), metavar=("H", "W")
    )
    parser.add_argument("--rows", nargs="+", choices=sorted(CONFIGS), default=sorted(CONFIGS))
    parser.add_argument("--batch", type=at_least(1), default=1)
    parser.add_argument("--warmup", type=at_least(0), default=2)
    parser.add_argument("--steps", type=at_least(1), default=5)
    parser.add_argument("--no-checkpointing", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="a network of a few thousand weights")
    parser.add_argument("--peak-tflops", type=float, help="of the device in bfloat16, for MFU")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/flux_step"))
    parser.add_argument("--cell", help=argparse.SUPPRESS)  # one row, in a process of its own
    return parser.parse_args(argv)


def build(row: str, supervised: bool, args: argparse.Namespace, **changes):
    """The shipped config's model with random weights, and a drawn batch.

    `changes` are keys of the model's config.
    """
    import torch

    from vtonlab.engine.config.load import load_config
    from vtonlab.engine.memory.published_shapes import PUBLISHED
    from vtonlab.registry import MODELS

    settings = load_config(CONFIGS[row]).model.to_dict()
    shapes = TINY if args.tiny else PUBLISHED["black-forest-labs/FLUX.1-Fill-dev", "transformer"]
    settings["backbone"] = dict(
        type="untrained", cls="FluxTransformer2DModel", config=shapes, dtype="bfloat16"
    )
    settings["codec"] = dict(type="SpaceToDepthCodec", factor=8)  # never called
    tokens = 16 if args.tiny else 512
    settings["conditioner"]["prompt"] = dict(
        type="NullPrompt",
        num_tokens=tokens,
        dim=shapes.get("joint_attention_dim", 4096),
        pooled_dim=shapes.get("pooled_projection_dim", 768),
    )
    settings.update(size=tuple(args.size), gradient_checkpointing=not args.no_checkpointing)
    settings.update(changes)
    losses = settings["attention_losses"] if supervised else {}
    for loss in losses.values():
        loss.update(t_max=None, start_iter=0, warmup_iters=0)
        if args.tiny:
            loss.update(layers=["transformer_blocks.1.attn"])
    settings["attention_losses"] = losses
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = MODELS.build(settings)
    model.to(device).train()
    model._encoder = lambda batch, stage: draw_latents
    return model, draw_batch(args.batch, args.size, device)


def draw_latents(pictures):
    """16 channels at an eighth of the size, as FLUX's VAE gives."""
    import torch

    height, width = (side // 8 for side in pictures.shape[-2:])
    return torch.randn(len(pictures), 16, height, width, device=pictures.device)


def draw_batch(count: int, size, device: str) -> dict:
    """Pictures of nothing, and 200 correspondences a sample."""
    import torch

    from vtonlab.structures import Correspondences

    batch = {n: torch.zeros(count, 3, *size, device=device)
             for n in ("person", "garment", "agnostic", "pose")}  # fmt: skip
    batch["mask"] = torch.ones(count, 1, *size, device=device)
    points = torch.rand(200, 2)
    batch["correspondences"] = [
        Correspondences(points, points.flip(0), torch.ones(200)) for _ in range(count)
    ]
    words = dict(category=["upper_body"] * count, id=["a"] * count, garment_id=["b"] * count)
    return {**batch, **words, "position": torch.arange(count)}


def step(model, optimiser, batch) -> None:
    """One training step, as the runner takes it."""
    losses = model.loss(batch, step=0)
    sum(v for k, v in losses.items() if k.startswith("loss_")).backward()
    optimiser.step()
    optimiser.zero_grad()


def measure(row: str, supervised: bool, args: argparse.Namespace) -> dict:
    """Seconds, tokens a second, peak GiB and operations of one row."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model, batch = build(row, supervised, args)
    cuda = torch.cuda.is_available()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-5)
    seconds = []
    for number in range(args.warmup + args.steps):
        torch.cuda.synchronize() if cuda else None
        start = time.perf_counter()
        step(model, optimiser, batch)
        torch.cuda.synchronize() if cuda else None
        if number >= args.warmup:
            seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if cuda else _resident()
    model.backbone.disable_gradient_checkpointing()  # recomputation is no useful work
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.loss(batch)
    forward = counter.get_total_flops()
    share = 2.0 if row == "lora" else 2.0 + _attention_share(trained, model)
    median = statistics.median(seconds)
    tokens = args.batch * (args.size[0] // 16) * (args.size[1] // 16) * 3
    return dict(
        row=row,
        supervised=supervised,
        seconds=median,
        tokens_per_second=tokens / median,
        peak_gib=peak / 2**30,
        useful_flops=forward * share,
        trained=sum(p.numel() for p in trained),
        device=torch.cuda.get_device_name() if cuda else "CPU",
        torch=torch.__version__,
    )


def _attention_share(trained, model) -> float:
    """Weight gradients are needed of the trained share alone; input gradients of all."""
    return sum(p.numel() for p in trained) / sum(p.numel() for p in model.backbone.parameters())


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_of(device: str, given: float | None) -> float | None:
    """Tera-operations a second that MFU is a share of; None where not known."""
    if given is not None:
        return given
    return next((value for name, value in PEAKS.items() if name in device), None)


def table(results: list[dict], peak_tflops: float | None) -> str:
    """Markdown."""
    lines = [
        "| trains | attention losses | s / step | tokens / s | peak GiB | MFU |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for r in results:
        name = f"| {r['row']} | {'yes' if r['supervised'] else 'no'} |"
        if "error" in r:
            lines.append(f"{name} {r['error']} | | | |")
            continue
        peak = peak_of(r["device"], peak_tflops)
        mfu = f"{r['useful_flops'] / r['seconds'] / (peak * 1e12):.1%}" if peak else ""
        lines.append(
            f"{name} {r['seconds']:.3f} | {r['tokens_per_second']:,.0f} | {r['peak_gib']:.2f} "
            f"| {mfu} |"
        )
    return "\n".join(lines) + "\n"


def run_cell(row: str, supervised: bool, argv: list[str]) -> dict:
    """`measure` in a fresh process; ``error`` where it failed."""
    cell = f"{row},{int(supervised)}"
    command = [sys.executable, __file__, *argv, "--cell", cell]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
        return dict(row=row, supervised=supervised, error=reason)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    from vtonlab.engine.cli import FINDINGS, OK

    if args.cell:
        row, supervised = args.cell.split(",")
        print(json.dumps(measure(row, bool(int(supervised)), args)))
        return OK
    results = []
    for row in args.rows:
        for supervised in (False, True):
            results.append(run_cell(row, supervised, argv))
            print(table(results[-1:], args.peak_tflops).splitlines()[-1], flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "table.md").write_text(table(results, args.peak_tflops))
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    return FINDINGS if any("error" in r for r in results) else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
