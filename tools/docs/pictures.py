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

PERSON = 14  # of the test people: a print whose parts can be told apart
PLACES = (
    (0.5, 0.435),
    (0.5, 0.635),
    (0.17, 0.475),
)  # of the garment: collar, rim of the disc, sleeve
COLOURS = ("#e4572e", "#2e86de", "#8e44ad")
INK, FAINT = "#1f2430", "#8a93a3"


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


def attention(weights: str, args: argparse.Namespace, sample: dict):
    """The record of the supervised layer while a shipped model looks at ``sample``."""
    import torch

    from vtonlab.engine.checkpoints.models import load_model, test_config
    from vtonlab.structures.sample import collate
    from vtonlab.zoo import card, weights_path

    config = test_config(card(args.model).config)
    model = load_model(config, weights_path(weights))
    batch = model.data_preprocessor(collate([sample]), False)
    with torch.no_grad():
        return model.attention_records(batch, model.probe.get("sigma", 0.5), [args.layer])[0]


def figure(width: float, height: float):
    """An empty page, in inches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK})
    page = plt.figure(figsize=(width, height), dpi=160)
    page.patch.set_facecolor("white")
    return page


def panel(page, box: tuple[float, float, float, float], image=None, title: str = "", **words):
    """Axes without lines at ``box`` (left, bottom, width, height) of the page, in [0, 1]."""
    axes = page.add_axes(box)
    axes.set_axis_off()
    if image is not None:
        way = words.get("interpolation", "antialiased")
        axes.imshow(image, extent=(0, 1, 1, 0), aspect="auto", interpolation=way)
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    if title:
        axes.set_title(title, fontsize=words.get("size", 9), color=INK, pad=5)
    return axes


def ring(axes, x: float, y: float, colour: str, *, size: float = 90, filled: bool = False) -> None:
    """A mark with a white edge."""
    face = colour if filled else "none"
    axes.scatter([x], [y], s=size, facecolors=face, edgecolors="white", linewidths=3.4, zorder=5)
    axes.scatter([x], [y], s=size, facecolors=face, edgecolors=colour, linewidths=1.8, zorder=6)


def pale(image, share: float = 0.72):
    """A picture turned grey and light, to paint on."""
    import numpy as np

    grey = (image.astype(float) @ [0.299, 0.587, 0.114])[..., None]
    return np.clip(255 - (255 - grey) * (1 - share), 0, 255).astype(np.uint8).repeat(3, -1)


def glow(image, maps, colours):
    """Attention maps (P, h, w) over a picture, each in a colour of its own."""
    import cv2
    import numpy as np
    from matplotlib.colors import to_rgb

    out = image.astype(float) / 255
    for one, colour in zip(maps, colours, strict=True):
        level = cv2.resize(one, image.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0)
        level = ((level / max(one.max(), 0.04)) ** 0.75 * 0.94).clip(0, 0.94)[..., None]
        out = out * (1 - level) + np.array(to_rgb(colour)) * level
    return (out * 255).round().astype(np.uint8)


def maps_at(record, points):
    """Attention of the queries under ``points`` given the garment, (P, h, w)."""
    import numpy as np

    from vtonlab.visualization.points import cells_under, maps_of

    return maps_of(record, cells_under(np.array(points), record.query_grid))["mean"]


def points_of(sample: dict):
    """Points of the person that show `PLACES`, and where exactly they belong, (P, 2) each."""
    import numpy as np

    flow, seen = sample["flow"].flow.numpy(), sample["flow"].visible.numpy()
    y, x = np.nonzero(seen)
    nearest = [np.abs(flow[seen] - place).sum(-1).argmin() for place in PLACES]
    points = np.stack([(x + 0.5) / seen.shape[1], (y + 0.5) / seen.shape[0]], 1)[nearest]
    return points, flow[seen][nearest]


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


def conditioners(args: argparse.Namespace, large: dict, small: dict):
    """Four ways for a garment into a network; the orange parts are what records are made of."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    page = figure(9.2, 5.5)
    pictures = {k: large[k] for k in ("garment", "agnostic", "pose")}

    def frame(place: int, title: str, sub: str):
        row, column = divmod(place, 2)
        axes = panel(page, (0.012 + 0.497 * column, 0.505 - 0.5 * row, 0.48, 0.475))
        axes.set_xlim(0, 10)
        axes.set_ylim(10, 0)
        axes.add_patch(FancyBboxPatch((0.1, 0.1), 9.8, 9.75, "round,pad=0,rounding_size=0.25",
                                      fc="#f7f8fa", ec="#dfe3ea", lw=1))  # fmt: skip
        axes.text(0.45, 0.95, title, fontsize=9.6, weight="bold", va="center")
        axes.text(0.45, 1.85, sub, fontsize=8, va="center", color="#5a6373")
        return axes

    def picture(axes, name: str, x: float, y: float, w: float = 1.35, edge: str = "#c9cfd8"):
        h = w * 4 / 3 * 4.416 / 2.6125
        axes.imshow(pictures[name], extent=(x, x + w, y + h, y), aspect="auto", zorder=3)
        axes.add_patch(FancyBboxPatch((x, y), w, h, "square,pad=0", fc="none", ec=edge, lw=1.6,
                                      zorder=4))  # fmt: skip
        axes.set_xlim(0, 10)
        axes.set_ylim(10, 0)

    def block(axes, x, y, w, h, text, colour="#ffffff", edge="#aab2bf"):
        axes.add_patch(FancyBboxPatch((x, y), w, h, "round,pad=0,rounding_size=0.18", fc=colour,
                                      ec=edge, lw=1.2, zorder=2))  # fmt: skip
        axes.text(x + w / 2, y + h / 2, text, fontsize=7.8, ha="center", va="center", zorder=5)

    def arrow(axes, a, b, colour=FAINT, style="-|>", bend=0.0):
        axes.add_patch(FancyArrowPatch(a, b, arrowstyle=style, mutation_scale=10, color=colour,
                                       lw=1.6, zorder=6,
                                       connectionstyle=f"arc3,rad={bend}"))  # fmt: skip

    hot, cool = COLOURS[0], COLOURS[1]
    axes = frame(0, "Full3DAttentionConditioner", "panels in one sequence of a transformer (CORAL)")
    for k, name in enumerate(("garment", "agnostic", "pose")):
        edge = (cool, hot, "#c9cfd8")[k]
        picture(axes, name, 0.7 + 1.62 * k, 2.9, 1.5, edge)
    arrow(axes, (3.0, 6.45), (1.5, 6.45), hot, bend=-0.5)
    block(axes, 6.3, 4.0, 3.2, 1.2, "joint attention", "#fdeee9", hot)
    arrow(axes, (5.55, 4.6), (6.25, 4.6))
    axes.text(5, 8.6, "record: person tokens (orange) ask garment tokens (blue);\n"
              "text, person and pose are the context of the same softmax", fontsize=7.8,
              ha="center",
              color="#5a6373")  # fmt: skip
    axes = frame(1, "ReferenceTokensConditioner", "clean reference tokens of an editing model")
    picture(axes, "agnostic", 0.6, 2.9, 1.45, hot)
    picture(axes, "garment", 2.7, 2.9, 1.45, cool)
    picture(axes, "pose", 4.27, 2.9, 1.45)
    arrow(axes, (2.1, 4.6), (2.66, 4.6), hot)
    block(axes, 6.5, 4.0, 3.0, 1.2, "joint attention", "#fdeee9", hot)
    arrow(axes, (5.76, 4.6), (6.45, 4.6))
    axes.text(5, 8.6, "any number of references, each with a size and positions of its own:\n"
              "FLUX.1-Kontext, FLUX.2, Qwen-Image-Edit, LongCat", fontsize=7.8, ha="center",
              color="#5a6373")  # fmt: skip
    for place, title, sub, networks, attends, words in (
        (2, "SpatialConcatConditioner", "two UNets (Leffa), or picture beside picture (CatVTON)",
         ("generative UNet", "reference UNet"), "self-attention",
         "record: generative queries on reference keys"),
        (3, "ZeroCrossAttentionConditioner", "a spatial encoder (StableVITON, SIFT-VTON)",
         ("UNet decoder", "spatial encoder"), "zero\ncross-attention",
         "record: decoder queries on garment features, nothing else"),
    ):  # fmt: skip
        axes = frame(place, title, sub)
        picture(axes, "agnostic", 0.7, 2.35, 1.2, hot)
        picture(axes, "garment", 0.7, 5.3, 1.2, cool)
        for y, network in zip((3.0, 6.05), networks, strict=True):
            block(axes, 3.0, y, 3.0, 1.1, network)
            arrow(axes, (2.0, y + 0.55), (2.95, y + 0.55))
        block(axes, 6.9, 2.9, 2.6, 1.35, attends, "#fdeee9", hot)
        arrow(axes, (6.05, 3.55), (6.85, 3.55))
        arrow(axes, (6.05, 6.6), (8.2, 4.3), cool, bend=0.25)
        axes.text(5, 9.05, words, fontsize=7.8, ha="center", color="#5a6373")
    return page


def losses(args: argparse.Namespace, large: dict, small: dict):
    """What each attention loss asks of the map of one query."""
    import cv2
    import numpy as np

    record = attention(args.before, args, small)
    page = figure(9.2, 5.0)
    points, truth = points_of(large)
    point, target, ink = points[2], truth[2], COLOURS[0]
    garment, flow = large["garment"], large["flow"]
    one = maps_at(record, [point])
    fair, wide, high = pale(garment), 0.148, 0.363

    def place(k: int):
        row, column = divmod(k, 3)
        return (0.015 + 0.333 * column, 0.545 - 0.5 * row, wide, high)

    def told(k: int, name: str, who: str, text: str):
        left, bottom, w, h = place(k)
        page.text(left, bottom + h + 0.03, name, fontsize=8.6, weight="bold")
        page.text(left + w + 0.012, bottom + h - 0.01, who, fontsize=7.8, va="top", color=ink)
        page.text(left + w + 0.012, bottom + h - 0.06, text, fontsize=7.6, va="top",
                  color="#5a6373", linespacing=1.35)  # fmt: skip

    hazy = glow(fair, one, [ink])
    grid = record.key_grid
    centres = np.stack(np.meshgrid((np.arange(grid[1]) + 0.5) / grid[1],
                                   (np.arange(grid[0]) + 0.5) / grid[0]), -1)  # fmt: skip
    looked = (one[0][..., None] * centres).sum((0, 1)) / one[0].sum()
    axes = panel(page, place(0), hazy)
    axes.annotate("", target, looked, arrowprops=dict(arrowstyle="-|>", color=INK, lw=2))
    ring(axes, *target, ink)
    told(
        0,
        "CorrespondenceDistillationLoss",
        "CORAL",
        "the mean place (or the\nwhole map) goes to\nthe match of a\nfoundation model",
    )
    sharp = np.exp(-((centres - target) ** 2).sum(-1) / (2 * 0.045**2))[None]
    axes = panel(page, place(1), glow(fair, sharp / sharp.sum(), [ink]))
    told(1, "AttentionEntropyLoss", "CORAL", "one place, not a haze\nwith the right mean")
    axes = panel(page, place(2), hazy)
    matches = large["correspondences"]
    from vtonlab.visualization.correspondences import spread

    for k in spread(matches.garment_points.numpy(), 12):
        ring(axes, *matches.garment_points[k].numpy(), COLOURS[1], size=34)
    told(
        2,
        "KeypointAttentionLoss",
        "SIFT-VTON",
        "few exact matches:\nmost attention into\ntheir cells, where\nthere are any",
    )
    from vtonlab.visualization import warp_garment

    axes = panel(page, place(3), warp_garment(garment, flow, pale(large["person"])))
    told(
        3,
        "AttentionFlowLoss",
        "Leffa",
        "the garment, carried\nover by attention,\nlooks like the person;\nno matches needed",
    )
    axes = panel(page, place(4), fair)
    step = 5
    field, seen = flow.flow.numpy(), flow.visible.numpy()
    h, w = seen.shape
    rows, columns = np.arange(0, h, h // 34), np.arange(0, w, w // 26)
    for lines, along in ((rows, True), (columns, False)):
        for k in lines:
            path = field[k, :: max(1, step)] if along else field[:: max(1, step), k]
            keep = seen[k, :: max(1, step)] if along else seen[:: max(1, step), k]
            path = np.where(keep[:, None], path, np.nan)
            axes.plot(path[:, 0], path[:, 1], color=COLOURS[2], lw=0.7, alpha=0.8)
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    told(
        4,
        "AttentionTVLoss",
        "StableVITON",
        "neighbours on the\nperson look at\nneighbours on\nthe garment",
    )
    back = cv2.remap(large["person"], *_backward(field, seen, garment.shape), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_CONSTANT, borderValue=(247, 248, 250))  # fmt: skip
    axes = panel(page, place(5), back)
    told(
        5,
        "CorrelationRegularizationLoss",
        "3D-GCL",
        "there and back again:\nthe garment warped\nto the person and\nback is itself",
    )
    return page


def _backward(field, seen, shape):
    """For each garment pixel the person pixel it shows at; far outside where it does not."""
    import numpy as np
    from scipy.interpolate import griddata

    height, width = shape[:2]
    y, x = np.nonzero(seen)
    places = field[seen] * [width, height]
    v, u = np.mgrid[:height, :width] + 0.5
    found = [griddata(places, value, (u, v), fill_value=-9) for value in (x, y)]
    return found[0].astype(np.float32), found[1].astype(np.float32)


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
    """The first test people of the demo, dressed by its two shipped models."""
    from tools.demo import NAMES, SHIPPED

    return side_by_side({NAMES[n].removesuffix(", shipped"): SHIPPED[n] for n in SHIPPED})


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
