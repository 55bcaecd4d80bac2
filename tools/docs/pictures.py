"""Draw the pictures of README and docs from rendered people and the models that ship.

Example:
    python tools/docs/pictures.py                       # all, into docs/pictures
    python tools/docs/pictures.py --only hero --model coral_synthetic --before base_dit

Nothing is drawn by hand: after other weights were shipped, run it again. Exit codes: 0 done, 2 bad
input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from pathlib import Path

from tools.docs.diagrams import conditioners, losses
from tools.docs.drawing import (
    COLOURS,
    FAINT,
    INK,
    attention,
    figure,
    glow,
    maps_at,
    pale,
    panel,
    points_of,
    ring,
)

PERSON = 14  # of the test people: a print whose parts can be told apart


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these pictures alone")
    parser.add_argument("--model", default="coral_synthetic", help="shipped, with the losses")
    parser.add_argument("--before", default="baseline_synthetic", help="shipped, without them")
    parser.add_argument("--person", type=int, default=PERSON, help="of the model's test data")
    parser.add_argument("--layer", default="single_transformer_blocks.2.attn")
    return parser.parse_args(argv)


def person(args: argparse.Namespace, size: tuple[int, int]) -> dict:
    """A person of the model's test data, at any size."""
    from vtonlab.engine.checkpoints.models import test_config
    from vtonlab.registry import DATASETS
    from vtonlab.zoo import card

    data = test_config(card(args.model).config).test_dataloader.dataset.to_dict()
    return DATASETS.build(data | dict(size=size, cache_dir=None, maps=None))[args.person]


def hero(args: argparse.Namespace, large: dict, small: dict, columns: int = 4):
    """Three points of a person, and where two models look for them."""
    rows = 4 // columns
    width = 9.2 * columns / 4
    page = figure(width, 3.1 * rows)
    wide, high = 2.0976 / width, 2.7962 / (3.1 * rows)
    points, truth = points_of(large)
    boxes = [
        (
            (0.05 + 0.95 * 2.41 * (i % columns) + 0.06) / width,
            (rows - 1 - i // columns + 0.02) / rows,
        )
        for i in range(4)
    ]
    boxes = [(*corner, wide, high) for corner in boxes]
    axes = panel(page, boxes[0], large["person"], "three points of a person")
    for (x, y), colour in zip(points, COLOURS, strict=True):
        ring(axes, x, y, colour, filled=True, size=70)
    axes = panel(page, boxes[1], large["garment"], "where they belong")
    for (x, y), colour in zip(truth, COLOURS, strict=True):
        ring(axes, x, y, colour)
    titles = ("where attention looks", "taught by correspondence")
    for box, weights, title in zip(boxes[2:], (args.before, args.model), titles, strict=True):
        maps = maps_at(attention(weights, args, small), points)
        axes = panel(page, box, glow(pale(large["garment"]), maps, COLOURS), title)
        for (x, y), colour in zip(truth, COLOURS, strict=True):
            ring(axes, x, y, colour)
    return page


def hero_narrow(args: argparse.Namespace, large: dict, small: dict):
    """The same, for a phone."""
    return hero(args, large, small, columns=2)


def attention_record(args: argparse.Namespace, large: dict, small: dict):
    """One row of the map, and the questions that a record answers about it."""
    import numpy as np

    from vtonlab.structures.correspondences import cell_centres

    record = attention(args.model, args, small)
    page = figure(9.2, 3.25)
    points, truth = points_of(large)
    point, colour = points[:1], COLOURS[:1]
    from vtonlab.visualization.points import cells_under

    cell = int(cells_under(np.array(point), record.query_grid)[0])
    box = (0.012, 0.02, 0.233, 0.88)
    axes = panel(page, box, large["person"], f"query: one of {record.query.shape[2]} person tokens")
    rows, columns = record.query_grid
    left, top = cell % columns / columns, cell // columns / rows
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((left, top), 1 / columns, 1 / rows, fill=False, ec="white", lw=3.5))
    axes.add_patch(Rectangle((left, top), 1 / columns, 1 / rows, fill=False, ec=colour[0], lw=1.9))
    box = (0.27, 0.02, 0.233, 0.88)
    title = f"keys: {record.key.shape[2]} garment tokens"
    axes = panel(page, box, glow(pale(large["garment"]), maps_at(record, point), colour), title)
    looked = record.mean_of(cell_centres(record.key_grid)).mean(1)[0, cell].numpy()
    axes.scatter(*looked, marker="x", s=90, c="white", linewidths=4, zorder=6)
    axes.scatter(*looked, marker="x", s=90, c=INK, linewidths=2, zorder=7)
    ring(axes, *truth[0], colour[0])
    words = panel(page, (0.54, 0.02, 0.445, 0.9))
    entropy = float(record.mean_map_entropy()[0, cell])
    mass = float(record.garment_mass().mean(1)[0, cell])
    lines = (
        (
            "mean_of(points)",
            f"({looked[0]:.2f}, {looked[1]:.2f})",
            "where it looks on average: the cross",
        ),
        (
            "mean_map_entropy()",
            f"{entropy:.2f} nats",
            f"as if over {np.exp(entropy):.0f} of {record.key.shape[2]} cells",
        ),
        ("log_prob(...)", "at any sparse places", "how sure it is of a match: the ring"),
        ("garment_mass()", f"{mass:.0%}", "of its whole attention falls on the garment"),
        ("mean_of(pixels)", "a colour", "the garment drawn by attention alone"),
    )
    for place, (name, value, meaning) in enumerate(lines):
        y = 0.06 + 0.195 * place
        words.text(0, y, name, family="DejaVu Sans Mono", fontsize=9.5, weight="bold", va="top")
        words.text(1, y, value, fontsize=9.5, va="top", ha="right", color=COLOURS[0])
        words.text(0, y + 0.075, meaning, fontsize=8.6, va="top", color="#5a6373")
    return page


def correspondences(args: argparse.Namespace, large: dict, small: dict):
    """Sparse matches and a dense flow between the same two pictures."""
    import numpy as np

    from vtonlab.visualization import position_chart, position_colors
    from vtonlab.visualization.correspondences import spread

    page = figure(9.2, 2.95)
    axes = panel(page, (0.008, 0.02, 0.45, 0.877), title="Correspondences: points with scores")
    axes.imshow(large["person"], extent=(0, 0.46, 1, 0), aspect="auto")
    axes.imshow(large["garment"], extent=(0.54, 1, 1, 0), aspect="auto")
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    matches = large["correspondences"]
    ends = matches.person_points.numpy()
    for k in spread(ends, 26):
        (x, y), (u, v) = ends[k], matches.garment_points[k].numpy()
        colour = position_colors(np.array([[u, v]]))[0] / 255
        axes.plot([0.46 * x, 0.54 + 0.46 * u], [y, v], color=colour, lw=1.1, alpha=0.95)
        axes.scatter([0.46 * x, 0.54 + 0.46 * u], [y, v], s=10, color=[colour], zorder=4)
    flow = large["flow"]
    seen = flow.visible.numpy()
    where = pale(large["person"])
    colours = position_colors(flow.flow.numpy().reshape(-1, 2)).reshape(where.shape)
    where[seen] = colours[seen]
    tiles = (
        (where, "FlowField: where each pixel is from"),
        (position_chart(*large["garment"].shape[:2]), "the garment's places"),
    )
    for place, (image, title) in enumerate(tiles):
        panel(page, (0.5 + 0.252 * place, 0.02, 0.2115, 0.88), image, title, size=8.6)
    return page


def noise_levels(args: argparse.Namespace, large: dict, small: dict):
    """The same person at five noise levels, how often training sees each, and two gates."""
    import numpy as np
    import torch

    from vtonlab.registry import NOISE_SCHEDULES

    page = figure(9.2, 4.3)
    clean = large["person"].astype(float) / 127.5 - 1
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    for k, sigma in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
        image = ((1 - sigma) * clean + sigma * noise) / np.hypot(1 - sigma, sigma * 0.8)
        image = ((image.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
        panel(page, (0.085 + 0.178 * k, 0.48, 0.142, 0.405), image, f"sigma {sigma}")
    axes = page.add_axes((0.055, 0.115, 0.925, 0.29))
    for shift, colour in ((1.0, FAINT), (3.0, COLOURS[1]), (6.0, COLOURS[2])):
        schedule = NOISE_SCHEDULES.build(dict(type="FlowMatchingSchedule", shift=shift))
        generator = torch.Generator().manual_seed(0)
        drawn = torch.stack([schedule.draw(generator) for _ in range(20000)]).numpy()
        height, edges = np.histogram(drawn, bins=60, range=(0, 1), density=True)
        axes.plot((edges[1:] + edges[:-1]) / 2, height, color=colour, lw=1.8,
                  label=f"FlowMatchingSchedule(shift={shift:g})")  # fmt: skip
    axes.set_ylim(0, axes.get_ylim()[1] * 1.15)
    for sigma, name in ((0.5, "t_max=500"), (0.617, "t_max=617 (CORAL)")):
        axes.axvline(sigma, color=COLOURS[0], lw=1.3, ls="--")
        axes.text(sigma - 0.006, axes.get_ylim()[1] * 0.97, name, rotation=90, fontsize=7.4,
                  ha="right", va="top", color=COLOURS[0],
                  bbox=dict(fc="white", ec="none", pad=0.6))  # fmt: skip
    axes.axvspan(0, 0.5, color=COLOURS[0], alpha=0.07, lw=0)
    axes.set(xlim=(0, 1), yticks=[], xlabel="noise level: 0 is the picture, 1 is noise")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return page


def dressed(args: argparse.Namespace, large: dict, small: dict):
    """The first test people of the demo, dressed by the best pair that ships."""
    return side_by_side({"baseline": "baseline_unet_synthetic", "CORAL": "coral_unet_synthetic"})


def taught(args: argparse.Namespace, large: dict, small: dict):
    """The same people by CatVTON's toy, which looks across only where it was taught to."""
    return side_by_side({"without": "catvton_synthetic", "with": "catvton_coral_synthetic"})


def side_by_side(models: dict[str, str]):
    """Three test people, their garments, what two models of the box draw, and the truth.

    Args:
        models: what stands above a column -> name in the box.
    """
    import torch

    from vtonlab.apis import init_model
    from vtonlab.engine.checkpoints.models import test_config
    from vtonlab.registry import DATASETS
    from vtonlab.structures.sample import collate
    from vtonlab.zoo import card

    data = test_config(card(next(iter(models.values()))).config).test_dataloader.dataset.to_dict()
    people = DATASETS.build(data | dict(cache_dir=None, maps=None))
    samples = [people[number] for number in range(3)]
    columns = {"person": [sample["agnostic"] for sample in samples]}
    columns["garment"] = [sample["garment"] for sample in samples]
    for name, weights in models.items():
        model = init_model(weights)
        with torch.no_grad():
            drawn = model.predict(model.data_preprocessor(collate(samples), False))
        columns[name] = [result["image"] for result in drawn]
    columns["the truth"] = [sample["person"] for sample in samples]
    page = figure(9.2, 7.45)
    for n, (name, shown) in enumerate(columns.items()):
        for row, image in enumerate(shown):
            box = (0.004 + 0.2 * n, 0.649 - 0.3225 * row, 0.192, 0.316)
            panel(page, box, image, "" if row else name, interpolation="bicubic")
    return page


DRAWN = (
    *(hero, hero_narrow, dressed, taught, attention_record, correspondences),
    *(conditioners, losses, noise_levels),
)


def save(page, path: Path) -> None:
    """WebP: small, without bands."""
    import io

    from matplotlib import pyplot as plt
    from PIL import Image

    buffer = io.BytesIO()
    page.savefig(buffer, format="png")
    plt.close(page)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(buffer).convert("RGB").save(path, quality=82, method=6)


def main() -> int:
    args = parse_args()
    known = {draw.__name__: draw for draw in DRAWN}
    unknown = sorted(set(args.only or ()) - set(known))
    if unknown:
        raise ValueError(f"--only {unknown[0]}: there are {', '.join(known)}")
    large, small = person(args, (512, 384)), person(args, (128, 96))
    for name in args.only or known:
        path = args.out / f"{name}.webp"
        save(known[name](args, large, small), path)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
