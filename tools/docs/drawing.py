"""What the pictures of the docs are drawn with: a page, panels, marks, attention."""

import argparse

PLACES = (
    (0.5, 0.435),
    (0.5, 0.635),
    (0.17, 0.475),
)  # of the garment: collar, rim of the disc, sleeve
COLOURS = ("#e4572e", "#2e86de", "#8e44ad")
INK, SOFT, FAINT = "#1f2430", "#5a6373", "#8a93a3"


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
