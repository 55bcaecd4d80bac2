"""Score a folder of try-on pictures, anybody's, under named protocols.

Names of the pictures: <person>.png, <person>_<garment>.png or <person>__<garment>.png (JPEG and
WebP too). They are checked one to one against the list before anything is computed.

Example:
    python tools/evaluate.py --pred results/my_model --data data/vitonhd --protocol vtonlab
    python tools/evaluate.py --pred results/my_model --data data/vitonhd --setting unpaired \
        --protocol sift_vton ladi leffa

Writes results.json and per_image.csv into --out, one folder per protocol where there are several.
Exit codes: 0 done, 1 done but some metric could not be computed (it says why), 2 bad input.
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
    from vtonlab.evaluation.options import add_protocol_options

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pred", required=True, help="folder of pictures, one per pair")
    parser.add_argument("--data", required=True, help="root of the data set")
    parser.add_argument("--dataset", help="its reader, such as VITONHDDataset; else recognised")
    parser.add_argument("--split", default="test", help="default: test")
    parser.add_argument("--pairs", help="pair list instead of the data set's own")
    parser.add_argument("--setting", default="paired", choices=("paired", "unpaired"))
    parser.add_argument("--repaint", action="store_true", help="paste the photograph back first")
    parser.add_argument("--name", help="of the system; default: the folder's")
    parser.add_argument("--out", help="results folder; default: <pred>_scores")
    add_protocol_options(parser, PROTOCOLS, several=True)
    return parser.parse_args(argv)


def main() -> int:
    args = parse_args()
    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.evaluation.evaluate import evaluate_folder, report_lines
    from vtonlab.evaluation.options import protocol_from
    from vtonlab.evaluation.truth import recognise
    from vtonlab.utils.progress import Progress

    protocols = [protocol_from(name, args, PROTOCOLS) for name in args.protocol]
    data = {"type": args.dataset or recognise(args.data), "data_root": args.data}
    data |= {"split": args.split} | ({"pairs": args.pairs} if args.pairs else {})
    base = Path(args.out) if args.out else Path(f"{Path(args.pred)}_scores")
    gaps = False
    for protocol in protocols:
        out = base if len(protocols) == 1 else base / protocol.name
        results = evaluate_folder(
            args.pred,
            data,
            protocol,
            args.setting,
            out,
            name=args.name,
            paste=args.repaint,
            exclude=args.exclude,
            progress=Progress("pairs"),
        )
        print("\n".join(report_lines(results)))
        print(f"written to {out / 'results.json'}", flush=True)
        gaps = gaps or bool(results["not_computed"])
    return FINDINGS if gaps else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
