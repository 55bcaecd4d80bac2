"""Train a model.

Example:
    python tools/train.py configs/coral/dit_synthetic.py --seed 1
    python tools/train.py configs/coral/dit_synthetic.py --resume
    python tools/train.py configs/coral/dit_vitonhd.py --estimate 40
    python tools/train.py configs/coral/dit_vitonhd_full.py --estimate 80 --gpus 8
    torchrun --nproc-per-node 2 tools/train.py configs/coral/dit_synthetic.py --launcher pytorch

Exit codes: 0 done, 1 stopped (a number was not finite, out of memory) or --estimate does not fit,
2 bad input,
143 / 130 stopped by SIGTERM / Ctrl-C after saving.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import os
import shlex
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; importable without torch."""
    from vtonlab.engine.cli import add_cfg_options, add_safe, at_least, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a config file, such as configs/coral/dit_synthetic.py")
    parser.add_argument(
        "--work-dir", help="logs and checkpoints; default work_dirs/<method>/<name>"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CKPT",
        help="continue from CKPT, or from the newest valid checkpoint of the work directory",
    )
    parser.add_argument(
        "--new-schedule",
        action="store_true",
        help="with --resume: rates and schedules of the config, the optimiser's state as saved",
    )
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast, on CPU or GPU")
    parser.add_argument("--seed", type=int, help="replaces the config's seed")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="deterministic CUDA kernels only, where torch has them; slower",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="learning rate x samples per iteration / the config's auto_scale_lr.base_batch_size",
    )
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, run one step and a pretend save, print the peak memory",
    )
    parser.add_argument(
        "--estimate",
        nargs="?",
        const=0.0,
        type=float,
        metavar="GIB",
        help="print the expected peak memory of each part, and whether it fits in GIB (default: "
        "the GPU's memory); needs no weights and no data. With --dry-run the measured peak follows",
    )
    parser.add_argument(
        "--fit",
        type=gibibytes,
        metavar="80GB",
        help="recompute no more in the backward pass than a card of this size asks for, by the "
        "estimate: sets model.gradient_checkpointing",
    )
    parser.add_argument(
        "--gpus",
        type=at_least(1),
        metavar="N",
        help="of --estimate and --fit: processes that share out what the config's `sharding` says "
        "(default: those of torchrun)",
    )
    add_safe(parser)
    add_cfg_options(parser)
    parser.add_argument("--local-rank", "--local_rank", type=int, help=argparse.SUPPRESS)
    return parse(parser, argv)


def gibibytes(text: str) -> float:
    """``80``, ``80GB`` or ``80GiB`` as a number: vendors call 2^30 bytes of a card a GB."""
    number = text.strip().lower().removesuffix("b").removesuffix("i").removesuffix("g")
    if not number.strip().replace(".", "", 1).isdigit() or float(number) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of a card, such as 80GB")
    return float(number)


def remember_command(work_dir: str) -> None:
    """Add this start to ``commands.txt`` of the work directory; reports show it."""
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) != "0":
        return
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    with open(Path(work_dir) / "commands.txt", "a", encoding="utf-8") as file:
        file.write(shlex.join(["python", *sys.argv]) + "\n")


def fit(config, gib: float, gpus: int | None) -> bool:
    """Set the fastest recomputation that fits into a card and say it; whether any does."""
    from vtonlab.engine.memory.estimate import GIB, report
    from vtonlab.engine.memory.fitting import choose_recomputation

    gpus = gpus or int(os.environ.get("WORLD_SIZE", 1))
    chosen, parts = choose_recomputation(config, int(gib * GIB), gpus)
    text, fits = report(parts, int(gib * GIB))
    config.model.gradient_checkpointing = chosen
    print(f"model.gradient_checkpointing={chosen}, {text.splitlines()[-1]}")
    return fits


def show_estimate(config, gib: float, gpus: int | None) -> bool:
    """Print what a step will need; whether it fits (True where that is not known)."""
    gpus = gpus or int(os.environ.get("WORLD_SIZE", 1))
    if gpus < 2 and config.get("sharding"):
        print("on one card; on N that share parameters: --gpus N")
    elif gpus > 1 and not config.get("sharding"):
        print(f"the config has no `sharding`: each of {gpus} cards holds all of this")
    import torch

    from vtonlab.engine.memory.estimate import GIB, estimate_memory, report

    available, device = int(gib * GIB) or None, "cuda"
    if torch.cuda.is_available():
        available = available or torch.cuda.get_device_properties(0).total_memory
    elif available is None:
        device = "cpu"
    text, fits = report(estimate_memory(config, device, gpus), available)
    print(text)
    return fits


def main() -> int:
    args = parse_args()
    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.running.training import dry_run, train

    config = load_config(args.config, args.cfg_options, safe=args.safe)
    finalize(
        config,
        work_dir=args.work_dir,
        seed=args.seed,
        amp=args.amp,
        launcher=args.launcher,
        deterministic=args.deterministic,
        auto_scale_lr=args.auto_scale_lr,
    )
    if args.resume:
        config.resume = True
        config.load_from = None if args.resume == "auto" else args.resume
    if args.new_schedule:
        if not args.resume:
            raise ValueError("--new-schedule is for --resume: without it all schedules are new")
        config.new_schedule = True
    fits = True
    if args.fit is not None and not fit(config, args.fit, args.gpus):
        print("see docs/memory.md for what takes less")
        return FINDINGS
    if args.estimate is not None:
        fits = show_estimate(config, args.estimate, args.gpus)
        if not args.dry_run:
            return OK if fits else FINDINGS
    if not args.dry_run:
        remember_command(config.work_dir)
        train(config)
        return OK
    for name, value in dry_run(config).items():
        shown = f"{value / 2**20:.0f} MiB" if name.endswith("bytes") else f"{value:,.4g}"
        print(f"{name.removesuffix('_bytes').replace('_', ' '):>20}: {shown}")
    return OK if fits else FINDINGS


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
