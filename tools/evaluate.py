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

import argparse
from pathlib import Path

PROTOCOLS = Path(__file__).parents[1] / "configs/_base_/protocols"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
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
    add_protocol_options(parser, several=True)
    return parser.parse_args(argv)


def add_protocol_options(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """``--protocol``, ``--size``, ``--exclude`` and ``--weights``, shared with tools/test.py."""
    names = ", ".join(sorted(path.stem for path in PROTOCOLS.glob("*.py")))
    parser.add_argument(
        "--protocol",
        nargs="+" if several else None,
        required=several,
        metavar="NAME",
        help=f"one of {names}, or a config file",
    )
    parser.add_argument("--size", metavar="HxW", help="compare at this size, not the protocol's")
    parser.add_argument(
        "--exclude", metavar="FILE", help="leave these people out: a list of leaks and duplicates"
    )
    parser.add_argument(
        "--weights", metavar="DIR", help="folder of metric weights; else torch hub's cache"
    )


def protocol_from(name: str, args: argparse.Namespace):
    """The protocol that the shared options ask for.

    Raises:
        FileNotFoundError, ValueError: no such protocol or weights folder, or no size.
    """
    from vtonlab.evaluation.evaluate import at_size
    from vtonlab.evaluation.protocol import load_protocol
    from vtonlab.evaluation.weights import set_weights_folder

    if args.weights is not None:
        set_weights_folder(args.weights)
    size = None
    if args.size is not None:
        try:
            height, width = (int(part) for part in args.size.lower().split("x"))
        except ValueError:
            raise ValueError(f"--size {args.size} is no HEIGHTxWIDTH such as 512x384") from None
        size = (height, width)
    return at_size(load_protocol(name, PROTOCOLS), size)


def main() -> int:
    args = parse_args()
    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.evaluation.evaluate import evaluate_folder, report_lines
    from vtonlab.evaluation.truth import recognise
    from vtonlab.utils.progress import Progress

    protocols = [protocol_from(name, args) for name in args.protocol]
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
