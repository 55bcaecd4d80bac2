"""Train the stages of a method one after another, each from the weights of the one before.

Finished stages are passed over and an unfinished one is resumed: give the same command again after
a stop. All configs are checked before the first stage starts.

Example:
    python tools/train_stages.py configs/leffa/unet_vitonhd_stage1.py \\
        configs/leffa/unet_vitonhd_stage2.py configs/leffa/unet_vitonhd.py \\
        --cfg-options data_root=DIR

Exit codes: 0 done, 1 stopped (a number was not finite, out of memory), 2 bad input,
143 / 130 stopped by SIGTERM / Ctrl-C after saving.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; importable without torch."""
    from vtonlab.engine.cli import add_cfg_options, add_safe

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="one for each stage, in order")
    parser.add_argument(
        "--work-dir", default="work_dirs", help="holds a folder for each stage, named as its config"
    )
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast, on CPU or GPU")
    parser.add_argument("--seed", type=int, help="replaces the configs' seed")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none")
    add_safe(parser)
    add_cfg_options(parser)
    parser.add_argument("--local-rank", "--local_rank", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def stage_config(path: str, args: argparse.Namespace):
    """One finished and checked config, writing into its own folder of ``--work-dir``."""
    from vtonlab.engine.config.check import check_config
    from vtonlab.engine.config.load import finalize, load_config, run_name

    config = load_config(path, dict(args.cfg_options), safe=args.safe)
    folder = str(Path(args.work_dir) / run_name(path))
    finalize(config, work_dir=folder, seed=args.seed, amp=args.amp, launcher=args.launcher)
    check_config(config)
    return config


def progress(config) -> int:
    """Iterations that a stage's newest valid checkpoint has behind it; 0 without one."""
    from vtonlab.engine.checkpoints.files import find_latest

    latest = find_latest(config.work_dir)
    return 0 if latest is None else int(latest.stem.split("_")[1])


def weights_of(config) -> Path:
    """What a finished stage leaves for the next one."""
    return Path(config.work_dir) / "model.safetensors"


def is_finished(config, done: int) -> bool:
    """Whether a stage trained to its end and wrote its weights then: one that was stopped between
    its last checkpoint and that has them still to write.
    """
    from vtonlab.engine.checkpoints.files import is_checkpoint, read_meta

    weights, wanted = weights_of(config), config.train_cfg.max_iters
    return done >= wanted and is_checkpoint(weights) and read_meta(weights)["iter"] >= wanted


def check_parts(config) -> None:
    """Refuse a stage of which nobody can tell what the stage before has trained."""
    parts = config.get("load_parts") or {}
    if len(parts) > 1:
        raise ValueError(
            f"{config.filename} loads {len(parts)} parts ({', '.join(parts)}): which of them the "
            "stage before trained is not known, use tools/train.py"
        )


def hand_over(config, weights: str) -> None:
    """Start from the weights of the stage before: all of them, or those of one part."""
    check_parts(config)
    parts = config.get("load_parts")
    if parts:
        config.load_parts = {name: weights for name in parts}
    else:
        config.load_from = weights


def main() -> None:
    args = parse_args()
    from vtonlab.engine.config.early import check_early

    for path in args.configs:
        check_early(path, args.cfg_options)
    from mmengine.dist import barrier

    from vtonlab.engine.config.load import run_name
    from vtonlab.engine.running.training import train

    names = [str(run_name(path)) for path in args.configs]
    if len(set(names)) < len(names):
        raise ValueError(f"two stages share a name and would share a folder: {', '.join(names)}")
    configs = [stage_config(path, args) for path in args.configs]
    for config in configs[1:]:
        check_parts(config)
    for number, (name, config) in enumerate(zip(names, configs, strict=True)):
        done, wanted = progress(config), config.train_cfg.max_iters
        print(f"stage {number + 1} of {len(configs)}, {name}: {done} of {wanted} iterations done")
        if is_finished(config, done):
            continue
        if done:
            config.resume, config.load_from = True, None
        elif number:
            hand_over(config, str(weights_of(configs[number - 1])))
        train(config)
        barrier()  # the next stage reads what the first process has still to write


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
