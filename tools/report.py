"""One HTML page from test results: scores, pictures, attention and curves, side by side.

Example:
    python tools/report.py work_dirs/coral/dit_synthetic/test
    python tools/report.py baseline=work_dirs/demo/baseline CORAL=work_dirs/demo/coral
    python tools/report.py work_dirs/coral/* --out report.html --pictures folder

A WORK_DIR is a results folder of tools/test.py or tools/evaluate.py, or any folder above some.
NAME= calls what lies below by that name. The page needs no network and no server. Small sets of
pictures lie inside it; larger ones in <page>_files beside it: move both together.

Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dirs", nargs="+", metavar="[NAME=]WORK_DIR")
    parser.add_argument("--out", help="the page; default report.html in the first WORK_DIR")
    parser.add_argument("--title", default="Try-on report")
    parser.add_argument(
        "--pictures", choices=("auto", "embed", "folder"), default="auto",
        help="inside the page, beside it, or by size",
    )  # fmt: skip
    parser.add_argument(
        "--height", type=at_least(1), default=512, help="of the largest pictures, pixels"
    )
    parser.add_argument(
        "--study",
        nargs="+",
        default=[],
        help="study.json of tools/human_study.py, or its folder, beside those in the WORK_DIRs",
    )
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    from vtonlab.evaluation.report import Story, collect, find_studies, write_page
    from vtonlab.utils.progress import Progress

    groups = collect(args.work_dirs)
    first = args.work_dirs[0]
    folder = first if Path(first).exists() else first.partition("=")[2]
    out = Path(args.out) if args.out else Path(folder) / "report.html"
    bar = Progress("pictures")
    size = write_page(
        out,
        groups,
        Story(title=args.title, studies=find_studies(groups, args.study)),
        pictures=args.pictures,
        height=args.height,
        progress=lambda done, total: bar(done, 0, total),
    )
    for group in groups:
        names = ", ".join(system.name for system in group.systems)
        print(f"{group.name}: {names} ({len(group.systems[0].rows)} pairs)")
    print(f"open {out} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
