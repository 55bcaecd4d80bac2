"""Procedural cloth over a garment's flat layout, from plain jersey to prints.

The numbers of a design do not depend on the size and live in units of the cloth's width, so that
one generator gives one design at every size. Graphic designs do not repeat: at 64x48 pixels the
colours around a place still say where on the garment it lies: correspondence is learnt from that.
"""

from collections.abc import Callable

import numpy as np

from vtonlab.synthetic import prints
from vtonlab.synthetic.bold_prints import BOLD_KINDS, BOLD_PAINTERS, draw_contrast
from vtonlab.synthetic.cloth_canvas import Canvas, disk, star
from vtonlab.synthetic.palettes import SPLITS, Palette, draw_palette

Painter = Callable[[np.random.Generator, Canvas, Palette], None]


def draw_cloth(
    rng: np.random.Generator, height: int, width: int, kind: str | None = None, split: str = "train"
) -> np.ndarray:
    """Draw one cloth.

    Args:
        rng: Source of the design; exactly one integer is drawn from it, whatever the kind and size.
        height, width: Size of the picture in pixels; one generator state gives one design at every
            size of one aspect.
        kind: One of ``TEXTURE_KINDS`` or ``BOLD_KINDS``; None draws one of the first.
        split: of the data; their colours and words are disjoint, so no cloth is shared.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ValueError: Unknown kind or split.
    """
    if kind is not None and kind not in _PAINTERS and kind not in BOLD_PAINTERS:
        known = ", ".join((*TEXTURE_KINDS, *BOLD_KINDS))
        raise ValueError(f"Unknown cloth '{kind}'; use one of {known}.")
    if split not in SPLITS:
        raise ValueError(f"Unknown split '{split}' for cloth; use one of {', '.join(SPLITS)}.")
    own = np.random.default_rng([int(rng.integers(2**62)), SPLITS.index(split)])
    drawn = TEXTURE_KINDS[int(own.choice(len(TEXTURE_KINDS), p=_CHANCES))]
    palette = draw_palette(own, split)
    kind = kind or drawn
    if kind in BOLD_PAINTERS:
        palette = draw_contrast(own, split)
    canvas = Canvas(height, width, palette.ground)
    (BOLD_PAINTERS | _PAINTERS)[kind](own, canvas, palette)
    if kind not in ("knit", "denim"):
        _jersey(own, canvas)
    return canvas.finish()


def _plain(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """One colour, clean or melange, sometimes with a yoke or a chest pocket."""
    canvas.shade(
        canvas.noise(rng.standard_normal((192, 144))) * np.float32(rng.choice([0.0, 0.035]))
    )
    style, line = rng.random(), canvas.aspect * rng.uniform(0.16, 0.26)
    if style < 0.25:
        canvas.polygons([np.array([(0, -1), (1, -1), (1, line), (0, line)])], palette.accents[1])
    elif style < 0.45:
        x, y = 0.64, canvas.aspect * 0.3
        pocket = np.array([(-0.07, 0), (0.07, 0), (0.07, 0.13), (0, 0.16), (-0.07, 0.13)])
        pocket += (x, y)
        canvas.polygons([pocket], palette.accents[1])


def _stripes(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Horizontal, vertical or diagonal stripes; even, or a sequence of unequal bands."""
    angle = float(rng.choice([np.pi / 2, np.pi / 2, 0.0, np.pi / 4, -np.pi / 4, 1.1]))
    count, uneven = int(rng.integers(1, 4)), rng.random() < 0.5
    period = rng.uniform(0.22, 0.7) if uneven else rng.uniform(0.05, 0.2)
    bands = 2 * count if uneven else 2
    colors = np.stack(
        [palette.ground if i % 2 == 0 else palette.accents[i // 2] for i in range(bands)]
    )
    weight = rng.uniform(0.25, 1.0, 6)[:bands] if uneven else np.array([1.0, rng.uniform(0.3, 1.0)])
    canvas.profile(colors, weight / weight.sum() * period, angle, rng.uniform(0, 1))


def _checks(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Tartan: the mean of one sequence of bands along and across; or gingham."""
    period, gingham = rng.uniform(0.16, 0.45), rng.random() < 0.35
    weight = rng.uniform(0.3, 1.0, 5)
    order = np.stack(
        [palette.ground, palette.accents[0], palette.ground, palette.accents[1], palette.accents[2]]
    )
    if gingham:
        period, weight = period / 2, np.array([1.0, 1.0, 1e-6, 1e-6, 1e-6])
    else:
        weight[4] *= 0.25
    weight = weight / weight.sum() * period
    across = canvas.profile_image(order, weight, 0.0, 0.1)
    down = canvas.profile_image(order, weight, np.pi / 2, 0.1)
    canvas.image[:] = 0.5 * (across + down)
    canvas.waves(110.0, 110.0, 0.0, 0.05)


def _dots(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Polka dots or small stars in staggered rows, in one to three colours."""
    across, radius = int(rng.integers(5, 13)), rng.uniform(0.18, 0.34)
    colors, star_like, grow = int(rng.integers(1, 4)), rng.random() < 0.25, rng.uniform(-0.6, 0.6)
    cell = 1.0 / across
    rows = int(np.ceil(canvas.aspect * across)) + 1
    groups: list[list[np.ndarray]] = [[] for _ in range(colors)]
    mark = star(0, 0, 1.3, 0.6, 5) if star_like else disk(0, 0, 1, 20)
    for row in range(rows):
        size = radius * cell * (1 + grow * (row * cell / canvas.aspect - 0.5))
        for column in range(across + 1):
            place = ((column + 0.5 * (row % 2)) * cell, (row + 0.5) * cell)
            groups[(column + row // 2) % colors].append(mark * size + place)
    for group, color in zip(groups, palette.accents, strict=False):
        canvas.polygons(group, color, union=False)


def _gradient(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Four corner colours flowing into each other: every place has its own colour."""
    corners = rng.permutation(np.concatenate([palette.ground[None], palette.accents[:3]]))
    x, y = canvas.x[..., None], canvas.y[..., None] / np.float32(canvas.aspect)
    upper = corners[0] * (1 - x) + corners[1] * x
    lower = corners[2] * (1 - x) + corners[3] * x
    canvas.image[:] = upper * (1 - y) + lower * y


def _knit(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """A knitted jumper: V-shaped stitches, and patterned bands over the chest."""
    stitches, bands = rng.uniform(45, 80), int(rng.integers(0, 4))
    top = canvas.aspect * rng.uniform(0.2, 0.35)
    for i, height in zip(range(bands), rng.uniform(0.05, 0.12, 3), strict=False):
        canvas.polygons([box_band(top, top + height)], palette.accents[i])
        teeth = [
            star(x, top + height / 2, height * 0.4, height * 0.15, 4)
            for x in np.arange(0.05, 1, 0.1)
        ]
        canvas.polygons(teeth, palette.ground)
        top += height + 0.05
    slope = np.abs((canvas.x * np.float32(stitches)) % 1 - np.float32(0.5)) * 1.2
    canvas.shade(canvas.wave(slope, canvas.y * np.float32(stitches * 0.8), 0.1, stitches * 0.8))
    canvas.waves(stitches, 0.0, 0.25, 0.1)


def _denim(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Denim: twill lines, washed patches and stitching."""
    blue = palette.ground * np.float32(0.4) + np.array([52, 84, 128], np.float32) * np.float32(0.6)
    canvas.image[:] = blue
    canvas.shade(canvas.noise(rng.standard_normal((9, 7))) * np.float32(rng.uniform(0.03, 0.09)))
    canvas.shade(canvas.noise(rng.standard_normal((256, 24))) * np.float32(0.05))
    canvas.waves(90.0, 120.0, 0.0, 0.1)
    stitch = np.array([214, 160, 92], np.float32)
    for x in (rng.uniform(0.08, 0.16), rng.uniform(0.84, 0.92)):
        dashes = [box_at(x, y, 0.008, 0.02) for y in np.arange(0, canvas.aspect, 0.03)]
        canvas.polygons(dashes, stitch)


def _jersey(rng: np.random.Generator, canvas: Canvas) -> None:
    """The faint vertical ribs of fine jersey, and the unevenness of real dye."""
    canvas.waves(150.0, 0.0, 0.0, 0.03)
    canvas.shade(canvas.noise(rng.standard_normal((8, 6))) * np.float32(0.008))


def box_band(top: float, bottom: float) -> np.ndarray:
    """A band over the whole width."""
    return np.array([(0, top), (1, top), (1, bottom), (0, bottom)])


def box_at(x: float, y: float, width: float, height: float) -> np.ndarray:
    """A small rectangle from (x, y)."""
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])


_PAINTERS: dict[str, Painter] = {
    "plain": _plain,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "gradient": _gradient,
    "knit": _knit,
    "denim": _denim,
    "logo": prints.draw_logo,
    "text": prints.draw_text,
    "graphic": prints.draw_graphic,
    "blocks": prints.draw_blocks,
    "floral": prints.draw_floral,
    "abstract": prints.draw_abstract,
}
TEXTURE_KINDS = tuple(_PAINTERS)
_CHANCES = np.array([6, 8, 7, 6, 6, 5, 3, 9, 10, 20, 8, 6, 6]) / 100.0
