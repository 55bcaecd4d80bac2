"""Two diagrams of the docs: four ways for a garment into a network, and what each loss asks for."""

import argparse

from tools.docs.drawing import (
    COLOURS,
    FAINT,
    INK,
    SOFT,
    attention,
    figure,
    glow,
    maps_at,
    pale,
    panel,
    points_of,
    ring,
)

HOT, COOL, EDGE = COLOURS[0], COLOURS[1], "#c9cfd8"  # what asks, what is asked, what only stands by


# Conditioners -------------------------------------------------------------------------------------


class Frame:
    """One quarter of the page, ten units wide and high, with what is drawn in it.

    Args:
        place: 0 to 3, in rows.
        pictures: name -> picture that may be shown.
    """

    def __init__(self, page, place: int, title: str, sub: str, pictures: dict) -> None:
        from matplotlib.patches import FancyBboxPatch

        row, column = divmod(place, 2)
        self.axes = panel(page, (0.012 + 0.497 * column, 0.505 - 0.5 * row, 0.48, 0.475))
        self.pictures, self.box = pictures, FancyBboxPatch
        self._whole()
        self.axes.add_patch(self.box((0.1, 0.1), 9.8, 9.75, "round,pad=0,rounding_size=0.25",
                                     fc="#f7f8fa", ec="#dfe3ea", lw=1))  # fmt: skip
        self.axes.text(0.45, 0.95, title, fontsize=9.6, weight="bold", va="center")
        self.axes.text(0.45, 1.85, sub, fontsize=8, va="center", color=SOFT)

    def picture(self, name: str, x: float, y: float, w: float = 1.35, edge: str = EDGE) -> None:
        h = w * 4 / 3 * 4.416 / 2.6125
        extent = (x, x + w, y + h, y)
        self.axes.imshow(self.pictures[name], extent=extent, aspect="auto", zorder=3)
        self.axes.add_patch(self.box((x, y), w, h, "square,pad=0", fc="none", ec=edge, lw=1.6,
                                     zorder=4))  # fmt: skip
        self._whole()

    def block(self, x, y, w, h, text, colour="#ffffff", edge="#aab2bf") -> None:
        self.axes.add_patch(self.box((x, y), w, h, "round,pad=0,rounding_size=0.18", fc=colour,
                                     ec=edge, lw=1.2, zorder=2))  # fmt: skip
        middle = (x + w / 2, y + h / 2)
        self.axes.text(*middle, text, fontsize=7.8, ha="center", va="center", zorder=5)

    def attends(self, x, y, w, h, text) -> None:
        """The block that records are made of."""
        self.block(x, y, w, h, text, "#fdeee9", HOT)

    def arrow(self, a, b, colour=FAINT, bend=0.0) -> None:
        from matplotlib.patches import FancyArrowPatch

        self.axes.add_patch(FancyArrowPatch(a, b, arrowstyle="-|>", mutation_scale=10, color=colour,
                                            lw=1.6, zorder=6,
                                            connectionstyle=f"arc3,rad={bend}"))  # fmt: skip

    def say(self, y: float, words: str) -> None:
        self.axes.text(5, y, words, fontsize=7.8, ha="center", color=SOFT)

    def _whole(self) -> None:
        self.axes.set_xlim(0, 10)
        self.axes.set_ylim(10, 0)


def conditioners(args: argparse.Namespace, large: dict, small: dict):
    """Four ways for a garment into a network; the orange parts are what records are made of."""
    page = figure(9.2, 5.5)
    pictures = {k: large[k] for k in ("garment", "agnostic", "pose")}
    _joint(Frame(page, 0, "Full3DAttentionConditioner",
                 "panels in one sequence of a transformer (CORAL)", pictures))  # fmt: skip
    _references(Frame(page, 1, "ReferenceTokensConditioner",
                      "clean reference tokens of an editing model", pictures))  # fmt: skip
    frame = Frame(page, 2, "SpatialConcatConditioner",
                  "two UNets (Leffa), or person above garment (CatVTON)", pictures)  # fmt: skip
    _two_networks(frame, ("generative UNet", "reference UNet"), "self-attention")
    frame.say(9.05, "record: generative queries on reference keys")
    frame = Frame(page, 3, "ZeroCrossAttentionConditioner",
                  "a spatial encoder (StableVITON, SIFT-VTON)", pictures)  # fmt: skip
    _two_networks(frame, ("UNet decoder", "spatial encoder"), "zero\ncross-attention")
    frame.say(9.05, "record: decoder queries on garment features, nothing else")
    return page


def _joint(frame: Frame) -> None:
    for k, name in enumerate(("garment", "agnostic", "pose")):
        frame.picture(name, 0.7 + 1.62 * k, 2.9, 1.5, (COOL, HOT, EDGE)[k])
    frame.arrow((3.0, 6.45), (1.5, 6.45), HOT, bend=-0.5)
    frame.attends(6.3, 4.0, 3.2, 1.2, "joint attention")
    frame.arrow((5.55, 4.6), (6.25, 4.6))
    frame.say(8.6, "record: person tokens (orange) ask garment tokens (blue);\n"
                   "text, person and pose are the context of the same softmax")  # fmt: skip


def _references(frame: Frame) -> None:
    frame.picture("agnostic", 0.6, 2.9, 1.45, HOT)
    frame.picture("garment", 2.7, 2.9, 1.45, COOL)
    frame.picture("pose", 4.27, 2.9, 1.45)
    frame.arrow((2.1, 4.6), (2.66, 4.6), HOT)
    frame.attends(6.5, 4.0, 3.0, 1.2, "joint attention")
    frame.arrow((5.76, 4.6), (6.45, 4.6))
    frame.say(8.6, "any number of references, each with a size and positions of its own:\n"
                   "FLUX.1-Kontext, FLUX.2, Qwen-Image-Edit, LongCat")  # fmt: skip


def _two_networks(frame: Frame, networks: tuple[str, str], attends: str) -> None:
    frame.picture("agnostic", 0.7, 2.35, 1.2, HOT)
    frame.picture("garment", 0.7, 5.3, 1.2, COOL)
    for y, network in zip((3.0, 6.05), networks, strict=True):
        frame.block(3.0, y, 3.0, 1.1, network)
        frame.arrow((2.0, y + 0.55), (2.95, y + 0.55))
    frame.attends(6.9, 2.9, 2.6, 1.35, attends)
    frame.arrow((6.05, 3.55), (6.85, 3.55))
    frame.arrow((6.05, 6.6), (8.2, 4.3), COOL, bend=0.25)


# Losses -------------------------------------------------------------------------------------------


ASKED = (  # loss, paper, what it asks of the map of one query
    ("CorrespondenceDistillationLoss", "CORAL",
     "the mean place (or the\nwhole map) goes to\nthe match of a\nfoundation model"),
    ("AttentionEntropyLoss", "CORAL", "one place, not a haze\nwith the right mean"),
    ("KeypointAttentionLoss", "SIFT-VTON",
     "few exact matches:\nmost attention into\ntheir cells, where\nthere are any"),
    ("AttentionFlowLoss", "Leffa",
     "the garment, carried\nover by attention,\nlooks like the person;\nno matches needed"),
    ("AttentionTVLoss", "StableVITON",
     "neighbours on the\nperson look at\nneighbours on\nthe garment"),
    ("CorrelationRegularizationLoss", "3D-GCL",
     "there and back again:\nthe garment warped\nto the person and\nback is itself"),
)  # fmt: skip


def losses(args: argparse.Namespace, large: dict, small: dict):
    """What each attention loss asks of the map of one query."""
    import numpy as np

    from vtonlab.visualization import warp_garment
    from vtonlab.visualization.correspondences import spread

    record = attention(args.before, args, small)
    page = figure(9.2, 5.0)
    points, truth = points_of(large)
    target, garment, flow = truth[2], large["garment"], large["flow"]
    one, fair = maps_at(record, [points[2]]), pale(garment)
    hazy, (h, w) = glow(fair, one, [HOT]), record.key_grid
    centres = np.stack(np.meshgrid((np.arange(w) + 0.5) / w, (np.arange(h) + 0.5) / h), -1)

    axes = _asked(page, 0, hazy)
    looked = (one[0][..., None] * centres).sum((0, 1)) / one[0].sum()
    axes.annotate("", target, looked, arrowprops=dict(arrowstyle="-|>", color=INK, lw=2))
    ring(axes, *target, HOT)

    sharp = np.exp(-((centres - target) ** 2).sum(-1) / (2 * 0.045**2))[None]
    _asked(page, 1, glow(fair, sharp / sharp.sum(), [HOT]))

    axes, matched = _asked(page, 2, hazy), large["correspondences"].garment_points.numpy()
    for k in spread(matched, 12):
        ring(axes, *matched[k], COOL, size=34)

    _asked(page, 3, warp_garment(garment, flow, pale(large["person"])))
    _draw_lines(_asked(page, 4, fair), flow.flow.numpy(), flow.visible.numpy())
    _asked(page, 5, _carried_back(large["person"], flow, garment.shape))
    return page


def _asked(page, k: int, image):
    """One picture with the name of a loss above and what it asks beside it; its axes."""
    row, column = divmod(k, 3)
    left, bottom, w, h = 0.015 + 0.333 * column, 0.545 - 0.5 * row, 0.148, 0.363
    name, who, text = ASKED[k]
    axes = panel(page, (left, bottom, w, h), image)
    page.text(left, bottom + h + 0.03, name, fontsize=8.6, weight="bold")
    page.text(left + w + 0.012, bottom + h - 0.01, who, fontsize=7.8, va="top", color=HOT)
    page.text(left + w + 0.012, bottom + h - 0.06, text, fontsize=7.6, va="top", color=SOFT,
              linespacing=1.35)  # fmt: skip
    return axes


def _draw_lines(axes, field, seen) -> None:
    """The person's rows and columns where the flow puts them in the garment."""
    import numpy as np

    step, (h, w) = 5, seen.shape
    rows, columns = np.arange(0, h, h // 34), np.arange(0, w, w // 26)
    for lines, along in ((rows, True), (columns, False)):
        for k in lines:
            path = field[k, ::step] if along else field[::step, k]
            keep = seen[k, ::step] if along else seen[::step, k]
            path = np.where(keep[:, None], path, np.nan)
            axes.plot(path[:, 0], path[:, 1], color=COLOURS[2], lw=0.7, alpha=0.8)
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)


def _carried_back(person, flow, shape):
    """The person's picture on the garment, where the flow comes from."""
    import cv2

    maps = _backward(flow.flow.numpy(), flow.visible.numpy(), shape)
    return cv2.remap(person, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
                     borderValue=(247, 248, 250))  # fmt: skip


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
