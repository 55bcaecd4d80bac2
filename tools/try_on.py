"""Dress people from photographs: one pair, folders, or a table.

Missing masks and poses are made (`python tools/get_estimators.py` fetches the small networks once).
A killed job goes on where it stopped when the same command is given again.

Example:
    python tools/try_on.py --person anna.jpg --garment shirt.jpg --out out      # with a shipped toy
    python tools/try_on.py --person anna.jpg --garment shirt.jpg --out out \\
        --config configs/coral/dit_synthetic.py --checkpoint model.safetensors
    python tools/try_on.py --person people/ --garment shop/ --out out --model work_dirs/my_run
    python tools/try_on.py --pairs pairs.csv --out out --model work_dirs/my_run --batch-size 4
    python tools/try_on.py --receipt receipt.json --out out      # what the studio drew, once more

Writes pictures/, masks/ (laid over the person), journal/ and contact_sheet.png. Exit codes: 0 done,
1 done but some pairs were refused (each says why), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse

SHIPPED = "coral_unet_synthetic"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least
    from vtonlab.structures.categories import CATEGORIES

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--person", nargs="+", default=[], help="pictures or folders of them")
    parser.add_argument("--garment", nargs="+", default=[], help="pictures or folders of them")
    parser.add_argument("--pairs", help="table with person, garment and maybe category, mask")
    parser.add_argument("--receipt", help="draw what this JSON file of the studio says, again")
    parser.add_argument("--mask", help="of the one person: white where the picture is generated")
    parser.add_argument("--category", choices=CATEGORIES, help="default: the model's, upper_body")
    parser.add_argument("--out", required=True)
    parser.add_argument("--model", help=f"a shipped model, or a folder of one (default {SHIPPED})")
    parser.add_argument("--config")
    parser.add_argument("--checkpoint")
    parser.add_argument("--preparation", metavar="FILE", help="config of the estimators")
    parser.add_argument("--device")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-steps", type=at_least(1))
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--batch-size", type=at_least(1), default=1)
    parser.add_argument("--no-repaint", action="store_true", help="keep all that is generated")
    parser.add_argument("--attention", action="store_true", help="save where the person looked")
    return parser.parse_args(argv)


def draw_receipt(args: argparse.Namespace) -> int:
    """One picture again; says whether its bits are those of the receipt."""
    from vtonlab.apis import TryOnInferencer
    from vtonlab.apis.receipts import identity, pixels_sha256, read_receipt, repeat
    from vtonlab.engine.cli import OK
    from vtonlab.evaluation.results import pair_name

    if args.person or args.garment or args.pairs:
        raise ValueError("a receipt holds its pictures: give no --person, --garment or --pairs")
    receipt = read_receipt(args.receipt)
    model = args.model or args.config or receipt.model["name"]
    if identity(model, args.checkpoint)["sha256"] != receipt.model["sha256"]:
        wanted = receipt.model["sha256"][:12]
        raise ValueError(
            f"{args.receipt} is of other weights ({wanted}) than {model} has: give --model or "
            "--checkpoint of the right ones"
        )
    inferencer = TryOnInferencer(model, args.checkpoint, device=args.device, dtype=args.dtype)
    result = repeat(inferencer, receipt)
    path = Path(args.out) / f"{pair_name(result.id, result.garment_id)}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    result.save(path)
    same = pixels_sha256(result.picture) == receipt.picture_sha256
    told = "the same bits" if same else "not the same bits: another processor or torch rounds so"
    print(f"written: {path} ({told})")
    return OK


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if args.receipt:
        return draw_receipt(args)
    from vtonlab.apis import TryOnInferencer, read_pairs, read_preparation, try_on_folder
    from vtonlab.apis.receipts import identity
    from vtonlab.engine.cli import FINDINGS, OK

    if args.model and args.config:
        raise ValueError("give either --model NAME or FOLDER, or --config with --checkpoint")
    if not (args.model or args.config):
        args.model = SHIPPED
        print(f"with {SHIPPED}, the toy that ships; your own: --model", file=sys.stderr)
    if bool(args.pairs) == bool(args.person or args.garment):
        raise ValueError("give either --person and --garment, or --pairs")
    pairs = read_pairs(
        args.person, args.garment, table=args.pairs, category=args.category, mask=args.mask
    )
    model, preparation = args.model or args.config, read_preparation(args.preparation)
    inferencer = TryOnInferencer(
        model, args.checkpoint, device=args.device, dtype=args.dtype, preparation=preparation
    )
    weights = identity(model, args.checkpoint)["sha256"]  # new weights of a name draw anew
    made = preparation.settings() if args.preparation else None
    settings = dict(model=str(model), weights=weights, preparation=made)
    entries = try_on_folder(
        inferencer,
        pairs,
        args.out,
        settings=settings,
        seed=args.seed,
        num_steps=args.num_steps,
        guidance_scale=args.guidance_scale,
        batch_size=args.batch_size,
        repaint=not args.no_repaint,
        attention=args.attention,
    )
    refused = [entry for entry in entries if entry["refused"]]
    for entry in entries:
        for sentence in [entry["refused"]] if entry["refused"] else entry["warnings"]:
            kind = "refused" if entry["refused"] else "warning"
            print(f"{kind}: {entry['person']}, {entry['garment']}: {sentence}")
    print(f"{len(entries) - len(refused)} of {len(entries)} pairs are in {args.out}")
    return FINDINGS if refused else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
