"""Where points of the person look in the garment: every layer, head or mean, models side by side.

Example:
    python tools/analysis/vis_attention.py configs/coral/dit_synthetic.py work_dirs/x/iter_1200.pth
    python tools/analysis/vis_attention.py CONFIG CHECKPOINT --against CONFIG2 CHECKPOINT2 \\
        --ids test_000003 --points 0.45,0.4 0.6,0.5 --layers transformer_blocks.1.attn --heads each

A point is X,Y in [0, 1] over the person; without --points some are chosen where the garment shows.
Each pair becomes a picture (a row a point; a cross marks the most attended cell, a black dot the
truth where the data knows it), a picture of everything at once (where each person cell looks, in
the colours of garment places, and the garment carried over by attention alone), and its numbers in
attention.json.

Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
from pathlib import Path

import numpy as np


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, at_least, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("checkpoint", help="iter_*.pth or model.safetensors")
    parser.add_argument(
        "--against", nargs=2, action="append", default=[], metavar=("CONFIG", "CHECKPOINT"),
        help="another model, on the same pairs; may be given again",
    )  # fmt: skip
    parser.add_argument("--names", nargs="+", help="of the models; default their configs'")
    parser.add_argument("--ids", nargs="+", help="people to draw; the first --number otherwise")
    parser.add_argument("--number", type=at_least(1), default=4)
    parser.add_argument("--points", nargs="+", type=point, metavar="X,Y")
    parser.add_argument("--layers", nargs="+", help="names or patterns; default the config's probe")
    parser.add_argument(
        "--heads", nargs="+", default=["mean"], help="mean (default), each, or numbers from 0"
    )
    parser.add_argument("--sigma", type=float, help="noise level; default the probe's")
    parser.add_argument("--out", default="work_dirs/vis_attention", help="folder of the pictures")
    parser.add_argument("--height", type=at_least(1), default=192, help="of each picture, pixels")
    add_cfg_options(parser)
    args = parse(parser, argv)
    wrong = [h for h in args.heads if h not in ("mean", "each") and not h.isdigit()]
    if wrong:
        parser.error(f"--heads {wrong[0]!r} is none of mean, each or a number")
    if args.names and len(args.names) != 1 + len(args.against):
        parser.error(f"--names has {len(args.names)} names for {1 + len(args.against)} models")
    return args


def point(text: str) -> tuple[float, float]:
    """``0.4,0.5`` as (x, y)."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no point: write X,Y such as 0.45,0.4"
        ) from None
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is outside the picture: X and Y are in [0, 1]")
    return x, y


def main() -> None:
    args = parse_args()
    import torch

    from vtonlab.visualization import save_png
    from vtonlab.visualization.points import choose_points

    models = {}
    for (config, checkpoint), name in zip(
        [(args.config, args.checkpoint), *args.against], names_of(args), strict=True
    ):
        models[name] = model_to_read(config, checkpoint, args)
    samples = samples_of(args)
    out, summary = Path(args.out), []
    for sample in samples:
        points, truth = choose_points(sample, args.points)
        with torch.no_grad():
            pages, numbers = look(models, sample, points, truth, args)
        stem = f"{sample['id']}__{sample['garment_id']}".replace("/", "_")
        for kind, page in pages.items():
            save_png(out / f"{stem}_{kind}.png", page)
        print(f"{out / stem}_points.png")
        for row in numbers:
            print("   " + describe(row))
        summary.append(dict(id=sample["id"], garment_id=sample["garment_id"], attention=numbers))
    (out / "attention.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def names_of(args: argparse.Namespace) -> list[str]:
    """A name for each model: the configs' stems, with the checkpoint's folder where these agree."""
    if args.names:
        return args.names
    pairs = [(args.config, args.checkpoint), *args.against]
    stems = [Path(config).stem for config, _ in pairs]
    if len(set(stems)) == len(stems):
        return stems
    return [str(Path(checkpoint).with_suffix("")) for _, checkpoint in pairs]


def model_to_read(config_file: str, checkpoint: str, args: argparse.Namespace):
    """The config's model with the checkpoint's weights, and its noise level and layers to read."""
    from vtonlab.engine.checkpoints.models import load_model, test_config

    model = load_model(test_config(config_file, args.cfg_options), checkpoint)
    probe = getattr(model, "probe", None) or {}  # of models that read attention
    layers = args.layers or probe.get("layers")
    if not hasattr(model, "attention_records") or layers is None:
        raise ValueError(f"{config_file} has no probe: name the layers to read with --layers")
    sigma = probe.get("sigma", 0.5) if args.sigma is None else args.sigma
    return model, sigma, list(layers)


def samples_of(args: argparse.Namespace) -> list[dict]:
    """The wanted pairs of the first config's test data."""
    from vtonlab.engine.checkpoints.models import test_config
    from vtonlab.registry import DATASETS

    config = test_config(args.config, args.cfg_options)
    if config.get("test_dataloader") is None:
        raise ValueError(f"{args.config} has no test_dataloader: there is nobody to look at")
    dataset = DATASETS.build(config.test_dataloader.dataset.to_dict())
    if not args.ids:
        return [dataset[index] for index in range(min(args.number, len(dataset)))]
    wanted, found = set(args.ids), {}
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample["id"] in wanted:
            found[sample["id"]] = sample
        if len(found) == len(wanted):
            break
    if len(found) < len(wanted):
        raise ValueError(
            f"the test data of {args.config} has no {', '.join(sorted(wanted - set(found)))}"
        )
    return [found[name] for name in args.ids]


def look(models: dict, sample: dict, points: np.ndarray, truth: np.ndarray, args) -> tuple:
    """Pictures of one pair by kind, and one row of numbers per point and view."""
    from vtonlab.structures.sample import collate
    from vtonlab.visualization import draw_points_attention, position_chart, tile, titled_grid
    from vtonlab.visualization.points import cells_under, maps_of

    person, garment, height = sample["person"], sample["garment"], args.height
    views, notes, numbers = {}, {}, []
    wide = round(height * garment.shape[1] / garment.shape[0])
    titles = ["key"]
    looks = [tile(position_chart(*garment.shape[:2]), "places", height, wide)]
    carries = [tile(garment, "garment", height, wide)]
    for name, (model, sigma, layers) in models.items():
        batch = model.data_preprocessor(collate([sample]), False)
        for record in model.attention_records(batch, sigma, layers):
            cells = cells_under(points, record.query_grid)
            maps, mass = maps_of(record, cells, args.heads), record.garment_mass()[0].float()
            for head, found in maps.items():
                share = (mass.mean(0) if head == "mean" else mass[int(head)])[cells].numpy()
                title = f"{name}\n{record.name}" + ("" if head == "mean" else f"\nhead {head}")
                views[title] = found
                rows = [
                    dict(model=name, layer=record.name, head=head, point=points[p].tolist())
                    | measured(views[title][p], truth[p], share[p])
                    for p in range(len(points))
                ]
                notes[title] = [note(row) for row in rows]
                numbers += rows
            titles.append(f"{name}\n{record.name}")
            flow, warp = at_once(record, sample)
            looks.append(tile(flow, "looks at", height, wide))
            carries.append(tile(warp, "carries over", height, wide))
    page = draw_points_attention(
        person, garment, points, views, truth=truth, notes=notes, height=height
    )
    return dict(points=page, everything=titled_grid(titles, looks + carries)), numbers


def at_once(record, sample: dict) -> tuple[np.ndarray, np.ndarray]:
    """Where every query looks, as colours of garment places (dark outside the mask), and the
    garment as attention alone carries it over.
    """
    import cv2

    from vtonlab.visualization import attention_warp, draw_attention_flow

    probs = record.mean_map()[0].float().numpy()
    (height, width), best = record.key_grid, probs.argmax(1)
    places = np.stack([(best % width + 0.5) / width, (best // width + 0.5) / height], 1)
    size = record.query_grid[::-1]
    mask = cv2.resize(sample["mask"].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    flow = draw_attention_flow(places, record.query_grid, mask.reshape(-1) >= 0.5)
    warp = attention_warp(sample["garment"], probs, record.query_grid, record.key_grid)
    warp[mask < 0.5] = 40
    return flow, warp


def measured(heat: np.ndarray, truth: np.ndarray, mass: float) -> dict:
    """Numbers of one map (h, w): the most attended place, how much, how far from the truth."""
    height, width = heat.shape
    row, column = divmod(int(heat.argmax()), width)
    place = np.array([(column + 0.5) / width, (row + 0.5) / height])
    off = np.abs((place - truth) * (width, height)).max()
    return dict(
        looks_at=place.round(4).tolist(),
        highest=round(float(heat.max()), 4),
        garment_mass=round(float(mass), 4),
        truth=None if np.isnan(off) else truth.round(4).tolist(),
        cells_off=None if np.isnan(off) else round(float(off), 2),
    )


def note(row: dict) -> str:
    """What stands under a picture."""
    off = "" if row["cells_off"] is None else f"{row['cells_off']:.1f} off, "
    return f"{off}mass {row['garment_mass']:.0%}"


def describe(row: dict) -> str:
    """One line of the terminal."""
    x, y = row["point"]
    head = "" if row["head"] == "mean" else f" head {row['head']}"
    off = "" if row["cells_off"] is None else f", {row['cells_off']:.1f} cells off"
    return (
        f"({x:.2f}, {y:.2f}) {row['model']} {row['layer']}{head}: looks at "
        f"({row['looks_at'][0]:.2f}, {row['looks_at'][1]:.2f}){off}, "
        f"{row['garment_mass']:.0%} of its attention on the garment"
    )


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
