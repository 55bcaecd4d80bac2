"""Write a trained model as a folder that diffusers, the hub and vtonlab itself read.

Safetensors in diffusers' own layout (or a LoRA for load_lora_weights), a scheduler, a pipeline.py
for diffusers' DiffusionPipeline, a model card made from the run, and checksums. vtonlab reads the
folder back: tools/test.py --model DIR, TryOnInferencer(DIR), and load_from=DIR of a new training.

Example:
    python tools/export.py configs/coral/dit_synthetic.py \
        work_dirs/coral/dit_synthetic/iter_1200.pth --out exported/coral
    python tools/export.py --model coral_synthetic --out exported/toy    # of the box
    python tools/export.py --model work_dirs/my_run --out exported/mine --push me/my-try-on
    python tools/export.py --model exported/mine --push me/my-try-on     # an earlier export

Scores on the card are those of results folders of tools/test.py: --results, or what lies in the
checkpoint's folder and was drawn with it. --push needs `hf auth login` once. Exit codes: 0 done, 2
bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.checkpoints.exported import is_export
    from vtonlab.engine.cli import add_cfg_options, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", help="that it was trained with")
    parser.add_argument("checkpoint", nargs="?", help="iter_*.pth or model.safetensors")
    parser.add_argument(
        "--model", metavar="NAME", help="of the box, or a work directory, in place of both"
    )
    parser.add_argument("--out", help="a new folder, or an earlier export")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="of the weights in the files; default: as they were trained",
    )
    parser.add_argument(
        "--results", nargs="+", default=[], metavar="DIR", help="of tools/test.py, for the card"
    )
    parser.add_argument("--licence", help="of the weights, as the hub calls it (apache-2.0)")
    parser.add_argument("--commit", help="that it was trained at, where the checkpoint is silent")
    parser.add_argument("--push", metavar="REPO", help="upload to USER/NAME on the hub")
    parser.add_argument("--private", action="store_true", help="a new repository is private")
    add_cfg_options(parser)
    args = parse(parser, argv)
    if args.model and args.config:
        parser.error("--model brings its config and its weights: leave CONFIG and CHECKPOINT out")
    if not args.model and not args.checkpoint:
        parser.error("give CONFIG and CHECKPOINT, or --model NAME")
    done = bool(args.model) and is_export(args.model)
    if done and (args.out or not args.push):
        parser.error(f"--model {args.model} was exported already: --push REPO uploads it as it is")
    if not done and not args.out:
        parser.error("--out DIR is missing: the folder to write")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from vtonlab.apis.models import files_of
    from vtonlab.engine.cli import OK
    from vtonlab.exporting import export_model, push_folder
    from vtonlab.exporting.push import check_repo
    from vtonlab.exporting.run import paths_of_this_machine, run_of
    from vtonlab.zoo import card

    if args.push:
        check_repo(args.push)
    if not args.out:
        print(f"pushed: {push_folder(args.model, args.push, private=args.private)}", flush=True)
        return OK
    options, shipped = args.cfg_options or {}, None
    if args.model:
        args.config, args.checkpoint, own = files_of(args.model)
        options = own | options
        shipped = None if Path(args.model).is_dir() else card(args.model)
    run = run_of(
        args.config,
        args.checkpoint,
        options=options,
        results=args.results,
        shipped=shipped,
        licence=args.licence,
        commit=args.commit,
    )
    form = export_model(
        args.config,
        args.checkpoint,
        args.out,
        options=options,
        run=run,
        dtype=args.dtype,
        repo=args.push,
    )
    alone = "diffusers alone runs its pipeline.py"
    if not form.stands_alone:
        alone = f"its pipeline.py needs vtonlab, because {form.why}"
    print(f"written to {args.out}; {alone}; read README.md before you publish it")
    private = paths_of_this_machine(run.config)
    if private:
        print(f"note: config.py names folders of this machine: {', '.join(private)}")
    if args.push:
        print(f"pushed: {push_folder(args.out, args.push, private=args.private)}", flush=True)
    return OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
