"""Draw samples of a config's data set, with every map and their correspondences, as PNG pages.

Example:
    python tools/analysis/browse_dataset.py configs/coral/dit_synthetic.py --count 6
    python tools/analysis/browse_dataset.py configs/coral/dit_vitonhd.py --loader test \\
        --cfg-options data_root=DIR

Samples come as the model gets them, joint transforms included, spread evenly over the set. Look at
"garment through flow": it is the garment carried onto the person by the correspondence, and must
match the person's picture.

Exit codes: 0 done, 1 some samples could not be read (they are named), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from collections.abc import Iterable
from pathlib import Path

OVERVIEW = ("person", "garment", "agnostic", "mask", "pose", "parse", "flow")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a config file, such as configs/coral/dit_synthetic.py")
    parser.add_argument(
        "--loader", choices=("train", "val", "test"), default="train", help="whose data set"
    )
    parser.add_argument("--count", type=int, default=8, help="samples to draw (default 8)")
    parser.add_argument("--index", type=int, nargs="+", metavar="I", help="these samples instead")
    parser.add_argument("--height", type=int, default=256, help="of one map in pixels")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder of the pages; default work_dirs/<config>/browse_<loader>",
    )
    add_cfg_options(parser)
    return parse(parser, argv)


def build_dataset(config_path: str, loader: str, options: dict):
    """The data set behind a config's loader.

    Raises:
        ValueError: the config has no such loader.
    """
    from vtonlab.engine.config.load import inject_data_root, load_config
    from vtonlab.registry import DATASETS

    config = load_config(config_path, options)
    inject_data_root(config)
    node = config.get(f"{loader}_dataloader")
    if not node:
        raise ValueError(f"{config_path} has no {loader}_dataloader; choose another --loader")
    return DATASETS.build(node["dataset"])


def chosen(length: int, count: int, indices: list[int] | None) -> list[int]:
    """Indices to draw: those asked for, or ``count`` spread evenly.

    Raises:
        ValueError: an index outside the data set, or a count below 1.
    """
    if indices is None:
        if count < 1:
            raise ValueError(f"--count must be at least 1, not {count}")
        count = min(count, length)
        return [i * length // count for i in range(count)]
    for index in indices:
        if not 0 <= index < length:
            raise ValueError(f"--index {index} is outside the data set, which has {length} samples")
    return indices


def draw_pages(dataset, indices: Iterable[int], out: Path, height: int) -> dict[int, str]:
    """Write a page for each sample, and ``overview.png``.

    Returns:
        Samples that could not be read: index -> why.
    """
    from vtonlab.engine.cli import sentence
    from vtonlab.utils.progress import Progress
    from vtonlab.visualization import contact_sheet, draw_sample, sample_tiles, save_png

    indices, failed, strips, progress = list(indices), {}, {}, Progress("samples")
    for number, index in enumerate(indices, 1):
        try:
            sample = dataset[index]
        except (ValueError, OSError) as error:
            failed[index] = sentence(error)
        else:
            name = "".join(c if c.isalnum() or c in "-_" else "_" for c in str(sample["id"]))
            save_png(out / f"{index:06d}_{name}.png", draw_sample(sample, height=height))
            shown = {text.split(" (")[0] for _, text in sample_tiles(sample)}
            keys = tuple(key for key in OVERVIEW if key in shown)
            strip = contact_sheet([sample], keys, height=max(64, height * 5 // 8))
            strips.setdefault(strip.shape, []).append(strip)
        progress(number, 0, len(indices))
    if strips:
        from vtonlab.visualization import grid, stack

        per_row = 2 if sum(map(len, strips.values())) > 3 else 1
        pages = [grid(same, per_row, gap=0) for same in strips.values()]
        save_png(out / "overview.png", stack(pages))
    return failed


def main() -> int:
    args = parse_args()
    if args.height < 32:
        raise ValueError(f"--height must be at least 32 pixels, not {args.height}")
    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.engine.config.load import run_name

    dataset = build_dataset(args.config, args.loader, args.cfg_options)
    indices = chosen(len(dataset), args.count, args.index)
    default = Path("work_dirs") / run_name(args.config) / f"browse_{args.loader}"
    out = Path(args.out or default)
    failed = draw_pages(dataset, indices, out, args.height)
    for index, reason in failed.items():
        print(f"sample {index} could not be read: {reason}", file=sys.stderr)
    drawn = len(indices) - len(failed)
    print(f"{drawn} of {len(dataset)} samples of {type(dataset).__name__} drawn in {out}/")
    return FINDINGS if failed else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
