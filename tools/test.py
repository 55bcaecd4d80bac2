"""Test a checkpoint: draw the pictures of a config's test data, score them, write a results folder.

A killed test goes on where it stopped when the same command is given again: each pair draws from a
seed of its own, so number of processes and restarts change nothing, and the batch size
(`test_dataloader.batch_size`) nothing but the rounding of sums.

Example:
    python tools/test.py configs/coral/dit_synthetic.py work_dirs/coral/dit_synthetic/iter_1200.pth
    python tools/test.py configs/coral/dit_tiny_vitonhd.py iter_900.pth \
        --protocol vtonlab --size 128x96 --setting both --cfg-options data_root=data/vitonhd
    python tools/test.py --model coral_synthetic        # shipped weights; compares with their card
    python tools/test.py --model DIR        # a folder of tools/export.py, or a work directory

A checkpoint that tools/convert/ made from published weights is tested as its authors' program
samples (the config's table `released`); --cfg-options as_released=False takes the config as it is.
Without --protocol the config's own metrics are computed. With --setting both, --out gets a folder
each. Exit codes: 0 done, 1 done but some metric could not be computed (it says why), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from pathlib import Path

PROTOCOLS = Path(__file__).parents[1] / "configs/_base_/protocols"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, add_safe, at_least, parse
    from vtonlab.evaluation.options import add_protocol_options

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", help="the config that the checkpoint was trained with")
    parser.add_argument(
        "checkpoint", nargs="?", help="iter_*.pth or model.safetensors; averaged weights"
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="weights in the box (vtonlab/zoo), or a folder with config and weights, in place of "
        "both",
    )
    parser.add_argument("--out", help="results folder; default work_dirs/<method>/<config>/test")
    parser.add_argument(
        "--setting", choices=("paired", "unpaired", "both"), help="default: as the config says"
    )
    add_protocol_options(parser, PROTOCOLS)
    parser.add_argument(
        "--save-attention",
        type=at_least(0),
        default=12,
        metavar="N",
        help="attention maps of the first N pairs, for tools/report.py (default 12)",
    )
    parser.add_argument("--restart", action="store_true", help="draw anew what --out holds")
    parser.add_argument("--launcher", default="none", choices=("none", "pytorch", "slurm"))
    add_safe(parser)
    add_cfg_options(parser)
    args = parse(parser, argv)
    if args.model and args.config:
        parser.error("--model brings its config and its weights: leave CONFIG and CHECKPOINT out")
    if not args.model and not args.checkpoint:
        parser.error("give CONFIG and CHECKPOINT, or --model NAME")
    return args


def card_lines(model: str, split: str, metrics: dict) -> list[str]:
    """What the card says of each score on people of ``split``, and what was found here."""
    from vtonlab.zoo import card

    known = card(model)
    scores = known.scores_on(split)
    if not scores:
        return [f"the card of {model} has no scores on people of {split!r}"]
    lines = [f"card of {model} (people of {split}; {known.scored_on}):"]
    for name, value in scores.items():
        found = metrics.get(name)
        shown = "not computed" if found is None else f"{found:.4f}"
        lines.append(f"  {name}: {value:.4f}, here {shown}")
    return lines


def main() -> int:
    args = parse_args()
    options = args.cfg_options or {}
    exported = False
    if args.model:
        from vtonlab.apis.models import files_of
        from vtonlab.engine.checkpoints.exported import is_export

        exported = is_export(args.model)  # by strangers, maybe: its config is not run as a program
        args.config, args.checkpoint, own = files_of(args.model)
        options = own | options
    from mmengine.dist import is_main_process

    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.config.released import released_options
    from vtonlab.engine.testing.run import test
    from vtonlab.evaluation.evaluate import report_lines
    from vtonlab.evaluation.options import protocol_from
    from vtonlab.zoo import card

    options = released_options(options, checkpoint=args.checkpoint)
    in_box = bool(args.model) and not Path(args.model).is_dir()
    if in_box and card(args.model).split:  # the people that its card's scores are of
        options = {"test_dataloader.dataset.split": card(args.model).split} | options
        split = options["test_dataloader.dataset.split"]
        args.out = args.out or f"work_dirs/zoo/{args.model}/{split}"
    elif args.model and not in_box:
        args.out = args.out or str(Path("work_dirs/exported") / Path(args.model).name / "test")
    if options.get("as_released") and "as_released" not in (args.cfg_options or {}):
        print("as_released=True: these weights were converted from published ones", flush=True)
    protocol = protocol_from(args.protocol, args, PROTOCOLS) if args.protocol else None
    gaps = False
    for setting in ("paired", "unpaired") if args.setting == "both" else (args.setting,):
        safe = args.safe or exported
        config = load_config(args.config, options, safe=safe, inside=args.safe)
        finalize(config, launcher=args.launcher)
        out = Path(args.out) if args.out else Path(config.work_dir) / "test"
        out = out / setting if args.setting == "both" else out
        results = test(
            config,
            args.checkpoint,
            out,
            protocol=protocol,
            setting=setting,
            exclude=args.exclude,
            save_attention=args.save_attention,
            restart=args.restart,
        )
        if is_main_process():
            print("\n".join(report_lines(results)))
            if in_box:
                split = config.test_dataloader.dataset.split
                print("\n".join(card_lines(args.model, split, results["metrics"])))
            print(f"written to {out / 'results.json'}", flush=True)
        gaps = gaps or bool(results["not_computed"])
    return FINDINGS if gaps else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
