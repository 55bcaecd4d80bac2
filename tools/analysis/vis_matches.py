"""Draw matches: those stored for a config's data set, or of any two photographs.

Example:
    python tools/analysis/vis_matches.py configs/coral/dit_tiny_vitonhd.py --ids 00000_00 00005_00
    python tools/analysis/vis_matches.py configs/coral/dit_tiny_vitonhd.py --explain --number 3
    python tools/analysis/vis_matches.py --photos person.jpg garment.jpg --explain

A dot and its line have the colour of their place in the garment, so that a wrong match stands out.
``--explain`` matches again and adds a picture of what each filter removed.

Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, at_least, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", help="a config whose data sets have `matches`")
    parser.add_argument(
        "--photos", nargs=2, metavar=("PERSON", "GARMENT"), help="two files instead"
    )
    parser.add_argument("--ids", nargs="+", help="people to draw; the first --number otherwise")
    parser.add_argument("--number", type=at_least(1), default=8)
    parser.add_argument("--explain", action="store_true", help="also what each filter removed")
    parser.add_argument("--out", default="work_dirs/vis_matches", help="folder of the pictures")
    parser.add_argument("--height", type=at_least(1), default=768, help="of each picture, pixels")
    add_cfg_options(parser)
    args = parse(parser, argv)
    if (args.config is None) == (args.photos is None):
        parser.error("give a config, or --photos PERSON GARMENT")
    return args


def pages_of_config(args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """``(name, {title: (person, garment, matches)})`` of the wanted pairs of a config."""
    from vtonlab.registry import MATCHERS

    tool = _extract_tool()
    for request in tool.requests_of(args.config, args.cfg_options):
        dataset = tool.build_for_extraction(request)
        store = None if args.explain else _store(request, dataset)
        matcher = MATCHERS.build(dict(request["matches"]["matcher"])) if args.explain else None
        people = [pair[0] for pair in dataset.pairs]
        unknown = set(args.ids or ()) - set(people)
        if unknown:
            raise ValueError(
                f"{type(dataset).__name__} {dataset.split} has no {', '.join(sorted(unknown))}"
            )
        for index in [people.index(i) for i in args.ids or people[: args.number]]:
            sample = dataset.load(index)
            photos = (sample["person"], sample["garment"])
            name = f"{dataset.split}_{'__'.join(dataset.pairs[index])}".replace("/", "_")
            if matcher is not None:
                yield name, panels(photos, matcher.explain(**tool.arguments_of(matcher, sample)))
            else:
                yield name, {"matches": (*photos, store.read(*dataset.pairs[index]))}


def _store(request: dict, dataset):
    from vtonlab.structures import open_store

    return open_store(request["matches"], dataset.data_root, dataset.split, dataset.map_settings)


def _extract_tool():
    import importlib.util

    path = Path(__file__).resolve().parents[1] / "extract_matches.py"
    spec = importlib.util.spec_from_file_location("extract_matches", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages_of_photos(args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """The same for two files, matched with SIFT-VTON's settings."""
    from vtonlab.registry import MATCHERS
    from vtonlab.utils.images import read_image

    photos = tuple(read_image(path) for path in args.photos)
    report = MATCHERS.build(dict(type="SIFTMatcher")).explain(*photos)
    shown = panels(photos, report)
    yield Path(args.photos[0]).stem, shown if args.explain else {"matches": shown["matches"]}


def panels(photos: tuple[np.ndarray, np.ndarray], report) -> dict:
    """What was kept, then what each filter removed, where it removed anything."""
    shown = {"matches": (*photos, report.matches)}
    for name, removed in report.removed.items():
        if len(removed):
            shown[f"removed by {name}"] = (*photos, removed)
    return shown


def page(shown: dict, height: int) -> np.ndarray:
    """One picture above the other, each with its title."""
    import cv2

    from vtonlab.visualization.correspondences import draw_correspondences

    rows = []
    for title, (person, garment, matches) in shown.items():
        row = draw_correspondences(person, garment, matches, lines=len(matches), height=height)
        head = np.full((28, row.shape[1], 3), 255, np.uint8)
        text = f"{title}: {len(matches)}"
        cv2.putText(head, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1)
        rows += [head, row]
    return np.vstack(rows)


def main() -> None:
    from PIL import Image

    args = parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, shown in (pages_of_config if args.config else pages_of_photos)(args):
        path = out / f"{name}.png"
        Image.fromarray(page(shown, args.height)).save(path)
        print(f"{path}: {', '.join(f'{title} {len(v[2])}' for title, v in shown.items())}")


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
