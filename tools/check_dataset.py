"""Look at a downloaded data set before training does: what it is, what is there, what is wrong.

Example:
    python tools/check_dataset.py data/vitonhd
    python tools/check_dataset.py data/vitonhd --deep --json report.json
    python tools/check_dataset.py data/vitonhd --known duplicates.json --fix-lists lists

Reads the header of every picture and the pixels of 200 people (``--people``); ``--deep`` decodes
everything. ``--fix-lists OUT`` writes pair lists of the people that are complete.

Exit codes: 0 usable, 1 usable with warnings, 2 not usable as it is, or no data set.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; importable without torch."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data_root", help="folder of the data set")
    parser.add_argument(
        "--type",
        metavar="NAME",
        help="vitonhd, dresscode, deepfashion, mpv or pair_list; found out by default",
    )
    parser.add_argument("--deep", action="store_true", help="decode every picture of everybody")
    parser.add_argument(
        "--people", type=int, default=200, help="whose pixels are looked at (default 200)"
    )
    parser.add_argument("--fix-lists", metavar="OUT", help="folder for clean pair lists")
    parser.add_argument(
        "--known", metavar="FILE", help="published list of duplicates and leaks, text or JSON"
    )
    parser.add_argument("--json", metavar="FILE", help="write the whole report there too")
    parser.add_argument(
        "--max-pixels", type=at_least(1), default=200_000_000, help="refuse larger pictures unread"
    )
    parser.add_argument(
        "--threads", type=at_least(0), default=0, help="that decode (default: by cores)"
    )
    return parser.parse_args(argv)


def main() -> int:
    args = parse_args()
    from vtonlab.doctor import diagnose, show
    from vtonlab.structures.pair_store import write_atomic

    for name in ("people", "max_pixels"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1")
    report = diagnose(
        args.data_root,
        kind=args.type,
        deep=args.deep,
        people=args.people,
        max_pixels=args.max_pixels,
        known=args.known,
        fix_lists=args.fix_lists,
        threads=args.threads,
        quiet=False,
    )
    print(show(report))
    for path, count in report.looked.get("lists", {}).items():
        print(f"written: {path} ({count} pairs); set the reader's pairs={str(path)!r}")
    if args.json:
        data = json.dumps(report.as_dict(), indent=1) + "\n"
        write_atomic(Path(args.json).absolute(), data.encode())
        print(f"written: {args.json}")
    return report.exit_code


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
