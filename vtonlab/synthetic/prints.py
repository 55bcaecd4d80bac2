"""Prints on cloth: logos, lettering and large graphics that do not repeat."""

import cv2
import numpy as np

from vtonlab.synthetic.cloth_canvas import (
    Canvas,
    box,
    disk,
    lettering,
    mix,
    regular,
    star,
)
from vtonlab.synthetic.palettes import Palette

FACES = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)
_HEADS = {
    "train": "AL BRE CO DA EL FRO GRA HAL KI LU MO NA OR PE RI SO TRA VE".split(),
    "val": "BO CLE FI JU MAR QUI".split(),
    "test": "AS DRE HO LE PRI WA ZE".split(),
    "base": "BU CRE DU EN FA GLO HU IN JO KE PU RU SE TU UM VI YO".split(),
    "bench": "CY DOR FE GI NU OX PY".split(),
}
_TAILS = "DO LA MI NE RO SA TA VAN LEN MER RIS NOVA DELL TON LIA".split()


def draw_word(rng: np.random.Generator, split: str) -> str:
    """A word of a few syllables, sometimes with a number; words of two splits never meet."""
    word = rng.choice(_HEADS[split]) + "".join(rng.choice(_TAILS, int(rng.integers(1, 3))))
    style, number = rng.random(), int(rng.integers(10, 99))
    if style < 0.25:
        return f"{word} {number}"
    return word.capitalize() if style < 0.5 else word


def draw_logo(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """A crest on the chest, large in the middle or small at one side, often with a name below."""
    large = rng.random() < 0.7
    x = 0.5 if large else 0.5 + rng.choice([-1, 1]) * rng.uniform(0.12, 0.16)
    size = rng.uniform(0.13, 0.2) if large else rng.uniform(0.05, 0.07)
    y = (0.42 if large else 0.37) * canvas.aspect
    _emblem(rng, canvas, palette.accents, x, y, size)
    word, named = draw_word(rng, palette.split), rng.random() < 0.6
    if named:
        letters = lettering(word, FACES[1], x, y + size * 1.45, size * 2.6, size * 0.42)
        _print(canvas, letters, palette.accents[0])


def draw_text(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """One to four lines of words, from a caption to letters over the whole chest."""
    lines, face = int(rng.integers(1, 5)), FACES[int(rng.integers(3))]
    words = [draw_word(rng, palette.split) for _ in range(4)]
    y = canvas.aspect * rng.uniform(0.32, 0.4)
    bar = rng.random() < 0.4
    for i in range(lines):
        tall = rng.uniform(0.06, 0.22 if lines < 3 else 0.13)
        wide = rng.uniform(0.34, 0.5)
        ink = palette.accents[0 if i % 2 == 0 else 1]
        if bar and i == lines - 1:
            canvas.polygons(
                [box(0.5 - wide / 2 - 0.04, y, 0.5 + wide / 2 + 0.04, y + tall * 1.5)], ink
            )
            ink = _readable_on(ink, palette)
        _print(canvas, lettering(words[i], face, 0.5, y + tall * 0.75, wide, tall), ink)
        y += tall * 1.6


def _readable_on(color: np.ndarray, palette: Palette) -> np.ndarray:
    """The colour of the palette that differs most from ``color`` in brightness."""
    every = np.concatenate([palette.ground[None], palette.accents])
    gap = np.abs((every - color) @ np.array([0.3, 0.59, 0.11], np.float32))
    return every[int(gap.argmax())]


def draw_graphic(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """One large print over most of the cloth, drawn from the pictures below."""
    painters = (_landscape, _monogram, _shapes, _waves, _sunburst, _poster)
    painters[int(rng.integers(len(painters)))](rng, canvas, palette)


def draw_blocks(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Colour blocking: the cloth in four oblique quarters, with a band or a panel over them."""
    across, tilt = canvas.aspect * rng.uniform(0.38, 0.58), rng.uniform(-0.18, 0.18)
    upper, lower = rng.uniform(0.35, 0.65, 2)
    lean, far = rng.uniform(-0.15, 0.15), 3.0
    left, right = across - tilt, across + tilt
    colors = rng.permutation(np.concatenate([palette.ground[None], palette.accents]))
    canvas.polygons([np.array([(0, -1), (1, -1), (1, right), (0, left)])], colors[0])
    canvas.polygons([np.array([(0, left), (1, right), (1, far), (0, far)])], colors[1])
    top = across + tilt * (2 * upper - 1)
    canvas.polygons([np.array([(upper + lean, -1), (1, -1), (1, right), (upper, top)])], colors[2])
    low = across + tilt * (2 * lower - 1)
    canvas.polygons(
        [np.array([(lower, low), (1, right), (1, far), (lower + lean, far)])], colors[3]
    )
    style, wide = rng.random(), rng.uniform(0.03, 0.09)
    if style < 0.4:
        band = [(0, left - wide), (1, right - wide), (1, right + wide), (0, left + wide)]
        canvas.polygons([np.array(band)], colors[4])
    elif style < 0.7:
        canvas.polygons([disk(0.5, across, 2 * wide + 0.06)], colors[4])


def draw_floral(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Scattered flowers and leaves of all sizes and colours; no two places alike."""
    across = int(rng.integers(4, 8))
    cell, petals = 1.0 / across, int(rng.integers(5, 8))
    down = 2 * across  # always enough rows: the stream must not depend on the aspect
    places = rng.uniform(-0.32, 0.32, (down, across, 2))
    sizes = rng.uniform(0.24, 0.62, (down, across)) * cell
    turns, colors = rng.uniform(0, 6.28, (down, across)), rng.integers(0, 4, (down, across))
    rows = min(down, int(np.ceil(canvas.aspect * across)) + 1)
    leaves: list[np.ndarray] = []
    flowers: list[list[np.ndarray]] = [[], [], [], []]
    hearts: list[np.ndarray] = []
    flower, leaf, heart = _flower(petals), _petal(0, 0, 1.5, 0.5, 0.0), disk(0, 0, 0.26, 12)
    for row in range(rows):
        for column in range(across):
            x = (column + 0.5 + places[row, column, 0] + 0.5 * (row % 2) - 0.25) * cell
            y = (row + 0.5 + places[row, column, 1]) * cell
            at, size, turn = np.array([x, y]), sizes[row, column], turns[row, column]
            leaves += [leaf @ _turned(turn + k) * size + at for k in (0.4, 2.3)]
            flowers[colors[row, column]].append(flower @ _turned(turn) * size + at)
            hearts.append(heart * size + at)
    canvas.polygons(leaves, palette.accents[4])
    for color, group in enumerate(flowers):
        if group:
            canvas.polygons(group, palette.accents[color])
    canvas.polygons(hearts, palette.ground)


def draw_abstract(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Soft clouds of colour: tie-dye when smooth, camouflage when cut hard."""
    nodes = int(rng.integers(4, 8))
    fields = rng.standard_normal((4, 2 * nodes, nodes))
    rows = int(np.clip(round(nodes * canvas.aspect), 2, 2 * nodes))
    hard = rng.random() < 0.5
    softness = canvas.width * 0.9 / nodes if hard else rng.uniform(1.0, 2.0)
    for field, color in zip(fields, palette.accents, strict=False):
        height = canvas.noise(field[:rows]) - np.float32(0.35)
        mix(canvas.image, np.clip(height * np.float32(softness) + 0.5, 0, 1), color)


def _landscape(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """A framed picture: sky, sun, two ridges and water, with its name under it."""
    wide, tall = rng.uniform(0.28, 0.36), rng.uniform(0.26, 0.34) * canvas.aspect
    x, y = 0.5, 0.45 * canvas.aspect
    colors = palette.accents
    frame = canvas.clipped(x - wide, y - tall, x + wide, y + tall)
    frame.polygons([box(-1, -1, 2, 3)], colors[1])
    side = rng.choice([-1, 1])
    frame.polygons([disk(x + side * wide * 0.45, y - tall * 0.4, wide * 0.3)], colors[0])
    for depth, color in ((0.05, colors[2]), (0.4, colors[3])):
        peaks = rng.uniform(-0.5, 0.25, 6)
        steps = x + wide * np.linspace(-1.2, 1.2, 6)
        ridge = np.stack([steps, y + tall * (depth + peaks)], -1)
        frame.polygons([np.concatenate([ridge, [(x + wide * 2, 3), (x - wide * 2, 3)]])], color)
    for k in range(3):
        line = y + tall * (0.78 + 0.08 * k)
        frame.polygons(
            [
                box(
                    x - wide * (0.2 + 0.2 * k),
                    line,
                    x + side * wide * 0.3 + wide * 0.3,
                    line + 0.012,
                )
            ],
            colors[0],
        )
    word = draw_word(rng, palette.split)
    _print(canvas, lettering(word, FACES[1], x, y + tall + 0.07, 1.6 * wide, 0.07), colors[0])


def _monogram(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """A giant letter with a second one laid over it, and a bar across."""
    first, second = (draw_word(rng, palette.split)[0].upper() for _ in range(2))
    y = 0.45 * canvas.aspect
    slant = rng.uniform(-0.2, 0.2)
    stripe = y + rng.uniform(-0.15, 0.2)
    canvas.polygons(
        [
            np.array(
                [(0, stripe - slant), (1, stripe), (1, stripe + 0.1), (0, stripe + 0.14 - slant)]
            )
        ],
        palette.accents[2],
    )
    _print(canvas, lettering(first, FACES[1], 0.4, y - 0.04, 0.6, 0.62), palette.accents[0])
    _print(canvas, lettering(second, FACES[0], 0.64, y + 0.14, 0.45, 0.42), palette.accents[1])


def _shapes(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Twelve large different shapes, each in its own place and colour."""
    order, size = rng.permutation(12), rng.uniform(0.09, 0.14, 12)
    shift, turn = rng.uniform(-0.05, 0.05, (12, 2)), rng.uniform(0, 6.28, 12)
    colors = rng.permutation(np.arange(12) % 5)
    for i in range(12):
        x = (i % 3 + 0.5) / 3 + shift[i, 0]
        y = ((i // 3 + 0.5) / 4) * canvas.aspect + shift[i, 1]
        _shape(canvas, int(order[i]), x, y, size[i], turn[i], palette.accents[colors[i]])


def _waves(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Seventies waves: bands of unequal width over the whole cloth, and a sun."""
    x = np.linspace(-0.05, 1.05, 60)
    swing, phase, slope = rng.uniform(0.04, 0.1), rng.uniform(0, 6.28), rng.uniform(-0.25, 0.25)
    curve = swing * np.sin(2 * np.pi * rng.uniform(0.7, 1.3) * x + phase) + slope * (x - 0.5)
    place, sun = rng.uniform(0.3, 0.7), rng.uniform(0.13, 0.18)
    canvas.polygons([disk(place, canvas.aspect * 0.3, sun)], palette.accents[4])
    level = canvas.aspect * 0.36
    for color, width in zip(
        palette.accents[[0, 1, 2, 3, 4]], rng.uniform(0.08, 0.17, 5), strict=True
    ):
        top = np.stack([x, level + curve], -1)
        bottom = np.stack([x, level + curve + width * canvas.aspect], -1)[::-1]
        canvas.polygons([np.concatenate([top, bottom])], color)
        level += width * canvas.aspect


def _sunburst(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Rays of unequal width from a point off the middle, in changing colours, under a disk."""
    x, y = rng.uniform(0.35, 0.65), canvas.aspect * rng.uniform(0.35, 0.55)
    cuts = (
        rng.uniform(0, 6.28)
        + np.concatenate([[0], np.cumsum(rng.uniform(0.5, 1.2, 11))]) * 2 * np.pi / 9
    )
    ring, colors = rng.uniform(0.1, 0.17), np.arange(12) % 4
    for i, color in zip(range(0, 10), colors, strict=False):
        fan = np.linspace(cuts[i], cuts[i + 1], 6)
        rim = np.stack([x + 3 * np.cos(fan), y + 3 * np.sin(fan)], -1)
        canvas.polygons([np.concatenate([[(x, y)], rim])], palette.accents[color])
    canvas.polygons([disk(x, y, ring * 1.3)], palette.ground)
    canvas.polygons([disk(x, y, ring)], palette.accents[4])


def _poster(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """A poster on the chest: tiles of colour with shapes, a tall word down one side."""
    wide, rows = rng.uniform(0.3, 0.36), 4
    tall = 0.33 * canvas.aspect
    colors, kinds = rng.integers(0, 5, (rows, 3)), rng.permutation(12)
    step_x, step_y = 2 * wide / 3, 2 * tall / rows
    for row in range(rows):
        for column in range(3):
            left, top = 0.5 - wide + column * step_x, 0.46 * canvas.aspect - tall + row * step_y
            back = palette.accents[(colors[row, column] + column + 2 * row) % 5]
            front = palette.accents[(colors[row, column] + column + 2 * row + 1 + row % 3) % 5]
            canvas.polygons([box(left, top, left + step_x, top + step_y)], back)
            middle = (left + step_x / 2, top + step_y / 2)
            _shape(
                canvas,
                int(kinds[3 * row + column]),
                *middle,
                min(step_x, step_y) * 0.42,
                0.0,
                front,
            )


def _emblem(
    rng: np.random.Generator, canvas: Canvas, colors: np.ndarray, x: float, y: float, size: float
) -> None:
    """A crest: a field, a ring or none, and a figure in the middle."""
    field, figure = int(rng.integers(5)), int(rng.integers(12))
    turn, filled = rng.choice([0.0, np.pi]), rng.random() < 0.7
    outlines = (
        disk(x, y, size),
        regular(x, y, size * 1.1, 6),
        regular(x, y, size * 1.2, 3, turn),
        box(x - size, y - size * 0.8, x + size, y + size * 0.8, slant=size * 0.25),
        _shield(x, y, size),
    )
    outline = outlines[field]
    inner = (outline - (x, y)) * 0.82 + (x, y)
    if filled:
        canvas.polygons([outline], colors[0])
        canvas.polygons([outline * 0.9 + np.array([x, y]) * 0.1, inner], colors[1], union=False)
    else:
        canvas.polygons([outline, inner], colors[0], union=False)
    _shape(canvas, figure, x, y, size * 0.5, 0.0, colors[2] if filled else colors[0])


def _shape(
    canvas: Canvas, kind: int, x: float, y: float, size: float, turn: float, color: np.ndarray
) -> None:
    """One of twelve figures around (x, y)."""
    here = np.array([x, y])
    figures = (
        lambda: [disk(0, 0, 1)],
        lambda: [disk(0, 0, 1), disk(0, 0, 0.55)],
        lambda: [star(0, 0, 1.1, 0.45, 5)],
        lambda: [regular(0, 0, 1.1, 3)],
        lambda: [box(-0.85, -0.85, 0.85, 0.85)],
        lambda: [_chevron(-0.75), _chevron(-0.05), _chevron(0.65)],
        lambda: [star(0, 0, 1.1, 0.75, 12)],
        lambda: [disk(0, 0, 1), disk(0.4, -0.1, 0.78)],
        lambda: [box(-0.32, -1, 0.32, 1), box(-1, -0.32, 1, 0.32)],
        lambda: [box(-1, -0.9 + 0.5 * k, 1, -0.62 + 0.5 * k, 0.3) for k in range(4)],
        lambda: [_petal(0, 0, 1.15, 0.45, k * np.pi / 3) for k in range(6)],
        lambda: [_shield(0, 0, 1)],
    )
    shapes = [points @ _turned(turn) * size + here for points in figures[kind]()]
    canvas.polygons(shapes, color, union=kind not in (1, 7))


def _chevron(y: float) -> np.ndarray:
    return np.array([(-1, y), (0, y - 0.6), (1, y), (1, y + 0.38), (0, y - 0.22), (-1, y + 0.38)])


def _shield(x: float, y: float, size: float) -> np.ndarray:
    angle = np.linspace(0, np.pi, 17)
    low = np.stack([np.cos(angle), 0.1 + 1.05 * np.sin(angle) ** 0.8], -1)
    return np.concatenate([[(-1, -0.9), (0, -1.05), (1, -0.9)], low]) * size + (x, y)


def _turned(angle: float) -> np.ndarray:
    """Rotation for row vectors."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


def _flower(petals: int) -> np.ndarray:
    """A flower with round petals, of radius 1."""
    angle = np.linspace(0, 2 * np.pi, 8 * petals, endpoint=False)
    radius = 0.45 + 0.55 * np.abs(np.sin(petals * angle / 2)) ** 0.7
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


def _petal(x: float, y: float, length: float, width: float, angle: float) -> np.ndarray:
    """A leaf shape from (x, y) outwards."""
    t = np.linspace(0, 1, 9)
    half = np.sin(np.pi * t**0.8) * width / 2
    along, across = np.concatenate([t, t[-2:0:-1]]) * length, np.concatenate([half, -half[-2:0:-1]])
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x + along * cos - across * sin, y + along * sin + across * cos], -1)


def _print(canvas: Canvas, letters: list[np.ndarray], color: np.ndarray) -> None:
    if letters:
        canvas.polygons(letters, color, union=False)
