"""Write synthetic people and garments to disk in a real data set's layout.

Example:
    python tools/make_synthetic.py --layout vitonhd --out data/synthetic --count 64 --size 256x192
    python tools/make_synthetic.py --layout dresscode --out data/dc --count 90 --size 512x384 \\
        --workers 2

Run the same command again to resume; the files are the same whatever the workers and however often
it was stopped.

Exit codes: 0 written, 1 stopped before the end, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from collections import Counter

LAYOUTS = ("vitonhd", "dresscode", "deepfashion", "mpv")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; importable without torch."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layout", required=True, choices=LAYOUTS, help="whose folders and lists")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="root folder; new, or to resume"
    )
    parser.add_argument("--count", required=True, type=at_least(1), help="pairs altogether")
    parser.add_argument(
        "--size", required=True, type=picture_size, metavar="HxW", help="of all pictures: 256x192"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another set (default 0)")
    parser.add_argument(
        "--split",
        choices=("train", "test", "both"),
        default="both",
        help="both (default): a fifth of the pairs is test",
    )
    parser.add_argument(
        "--masks",
        choices=("png", "coco"),
        default="png",
        help="png (default): mask pictures as the data set ships them; coco: run-length JSON",
    )
    return parser.parse_args(argv)


def picture_size(text: str) -> tuple[int, int]:
    """``256x192`` -> (256, 192), height by width."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write height x width: 256x192")
    return int(height), int(width)


def main() -> int:
    args = parse_args()
    if args.workers < 1:
        raise ValueError(f"--workers must be at least 1, not {args.workers}")
    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.synthetic.writer import Settings, write_dataset
    from vtonlab.synthetic.writer_layouts import build_layout
    from vtonlab.utils.progress import Progress

    settings = Settings(args.layout, args.count, args.size, args.seed, args.split, args.masks)
    layout = build_layout(settings)
    try:
        done = write_dataset(
            layout, settings, args.out, workers=args.workers, progress=Progress("samples")
        )
    except ChildProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return FINDINGS
    counts = Counter(job.dataset.rpartition("/")[2] for job in layout.jobs())
    samples = " and ".join(f"{count} {split}" for split, count in counts.items())
    print(
        f"{args.out}: {samples} samples in the layout of {args.layout}; {done.written} written, "
        f"{done.found} were there, {done.seconds:.1f} s"
    )
    return OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
