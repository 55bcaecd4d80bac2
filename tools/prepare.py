"""Make a data set of plain photographs: keypoints, poses, parses and masks, in VITON-HD's layout.

Example:
    python tools/get_estimators.py        # once: the small networks, 10 MB
    python tools/prepare.py photos --out data/mine
    python tools/check_dataset.py data/mine

PHOTOS holds ``person/`` (or ``image/``) and ``garment/`` (or ``cloth/``); a garment belongs to the
person whose name it has, and the test list gives everybody another's. Pictures are written as sRGB,
upright, at most ``--size`` pixels high and wide, PNG and JPEG; maps lie beside them, a picture of
all maps of each person in OUT/previews, and who was refused or is uncertain, and why, in
OUT/report.json. A run that was stopped goes on where it was.

Exit codes: 0 everybody prepared, 1 some were refused or are uncertain, 2 bad input.
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", metavar="PHOTOS", help="folder with person/ and garment/")
    parser.add_argument("--out", required=True, help="folder of the data set; made if absent")
    parser.add_argument("--layout", default="vitonhd", choices=("vitonhd",))
    parser.add_argument("--split", default="train", choices=("train", "test"))
    parser.add_argument(
        "--size", type=int, nargs=2, default=(1024, 768), metavar=("H", "W"), help="at most"
    )
    parser.add_argument(
        "--convention", default="full", help="of masks: full (default), vitonhd, dresscode, ..."
    )
    parser.add_argument("--no-previews", action="store_true", help="write no previews")
    return parser.parse_args(argv)


def main() -> int:
    args = parse_args()
    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.estimators import Preparation
    from vtonlab.estimators.folder import prepare_folder
    from vtonlab.utils.progress import Progress

    report = prepare_folder(
        Path(args.photos),
        Path(args.out),
        Preparation(convention=args.convention),
        split=args.split,
        size=tuple(args.size),
        previews=not args.no_previews,
        progress=Progress("people"),
    )
    for name, why in report["refused"].items():
        print(f"refused: {name}: {why}")
    for name, sentences in report["warnings"].items():
        print(f"uncertain: {name}: {'; '.join(sentences)}")
    print(
        f"written: {args.out}: {len(report['people'])} people prepared, {len(report['refused'])} "
        f"refused, {len(report['warnings'])} uncertain"
    )
    return FINDINGS if report["refused"] or report["warnings"] else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
