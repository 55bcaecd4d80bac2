"""Make a data set of plain photographs: keypoints, poses, parses and masks, in a known layout.

Example:
    python tools/get_estimators.py        # once: the small networks, 10 MB
    python tools/prepare.py photos --out data/mine
    python tools/prepare.py photos --out data/mine --layout dresscode --category dresses
    python tools/prepare.py pairs.csv --out data/mine --layout pairs --preparation mine.py
    python tools/check_dataset.py data/mine

PHOTOS is a folder with ``person/`` (or ``image/``) and ``garment/`` (or ``cloth/``), where a
garment belongs to the person whose name it has; or these two below ``upper_body/``,
``lower_body/`` and ``dresses/``; or a table (CSV, JSON lines) with the columns person, garment and
maybe category.

Layouts are ``vitonhd`` (upper bodies), ``dresscode`` (all categories; ATR labels) and ``pairs``
(folders of maps with a ``pairs.csv`` that `PairListDataset` reads). Pictures are written as sRGB,
upright, at most ``--size`` pixels high and wide; the test lists also give everybody another's
garment. A picture of all maps of each person lies in OUT/previews, and who was refused or is
uncertain, and why, in OUT/report.json. A run that was stopped goes on where it was; whoever was
prepared from another photograph or with other settings is prepared anew.

``--preparation FILE`` names a config with ``preparation = dict(type="Preparation", ...)``: your own
human parser, pose network or DensePose files (docs/how_to/estimator.md).

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
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", metavar="PHOTOS", help="folder, or table of pairs")
    parser.add_argument("--out", required=True, help="folder of the data set; made if absent")
    parser.add_argument("--layout", default="vitonhd", choices=("vitonhd", "dresscode", "pairs"))
    parser.add_argument(
        "--category",
        default="upper_body",
        choices=("upper_body", "lower_body", "dresses"),
        help="of garments of which neither folder nor table says it (default upper_body)",
    )
    parser.add_argument("--split", default="train", choices=("train", "test"))
    parser.add_argument(
        "--size", type=at_least(1), nargs=2, default=(1024, 768), metavar=("H", "W"), help="at most"
    )
    parser.add_argument("--convention", help="of masks: full (default), vitonhd, dresscode, ...")
    parser.add_argument("--preparation", metavar="FILE", help="config of the estimators")
    parser.add_argument("--no-previews", action="store_true", help="write no previews")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from vtonlab.apis import prepare_folder, read_preparation
    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.utils.progress import Progress

    report = prepare_folder(
        args.photos,
        args.out,
        read_preparation(args.preparation, args.convention),
        layout=args.layout,
        category=args.category,
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
