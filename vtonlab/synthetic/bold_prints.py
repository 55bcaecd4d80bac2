"""Bold cloths: what a place looks like is decided by where on the garment it lies.

Every element is at least a token wide at 128x96 (a twelfth of the cloth), neighbours differ much in
lightness and nothing repeats, so that one colour for the garment explains little of a picture and a
print that was copied to the wrong place is seen.
"""

from collections.abc import Callable

import numpy as np

from vtonlab.synthetic.cloth_canvas import Canvas, box, disk, lettering, regular, star
from vtonlab.synthetic.palettes import JITTER, Palette, swatches
from vtonlab.synthetic.prints import FACES, draw_word

Painter = Callable[[np.random.Generator, Canvas, Palette], None]
_LUMA = np.array([0.3, 0.59, 0.11])


def draw_contrast(rng: np.random.Generator, split: str) -> Palette:
    """Three dark and three light colours of a split's pool, each channel pushed towards its nearer
    end; ``accents`` 0, 2 and 4 are light, the ground and 1 and 3 are dark.
    """
    share = swatches(split)[0] / 255
    rgb = 255 * share**2.5 / (share**2.5 + (1 - share) ** 2.5)
    order = np.argsort(rgb @ _LUMA)
    part = max(4, len(order) // 4)
    dark, light = (_spread(rng, rgb[few]) for few in (order[:part], order[-part:]))
    colors = np.stack([dark, light], 1).reshape(6, 3)  # dark, light, dark, light, ...
    colors = np.clip(colors + rng.integers(-JITTER, JITTER + 1, (6, 3)), 0, 255)
    return Palette(ground=colors[0].astype(np.float32), accents=colors[1:].astype(np.float32),
                   split=split)  # fmt: skip


def _spread(rng: np.random.Generator, pool: np.ndarray) -> np.ndarray:
    """Three colours (3, 3) of ``pool``, the second and third far from those before."""
    chosen = [int(rng.integers(len(pool)))]
    for _ in range(2):
        apart = np.abs(pool[:, None] - pool[chosen]).sum(-1).min(1) * rng.uniform(0.6, 1, len(pool))
        apart[chosen] = -1
        chosen.append(int(apart.argmax()))
    return pool[chosen]


def _dark(palette: Palette, place: int) -> np.ndarray:
    return np.stack([palette.ground, palette.accents[1], palette.accents[3]])[place % 3]


def _light(palette: Palette, place: int) -> np.ndarray:
    return palette.accents[2 * (place % 3)]


def _draw_bands(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Bands of unequal width across the whole cloth, light and dark in turn, in any direction."""
    angle = rng.integers(8) * np.pi / 8
    colors, widths = _sequence(rng, palette), rng.uniform(0.09, 0.24, 18)
    canvas.profile(colors, widths, angle, rng.uniform(1.0, 2.0))


def _sequence(rng: np.random.Generator, palette: Palette) -> np.ndarray:
    """(18, 3) colours, dark and light in turn."""
    picks = rng.integers(0, 3, 18)
    return np.stack([(_dark, _light)[i % 2](palette, pick) for i, pick in enumerate(picks)])


def _draw_patchwork(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """A grid of squares, turned by any angle: light and dark as on a chess board, each square in a
    colour of its own.
    """
    side, angle = rng.uniform(0.13, 0.24), rng.uniform(0, np.pi / 2)
    tall = rng.uniform(0.8, 1.3) * side
    picks, shift = rng.integers(0, 3, (40, 40)), rng.uniform(0, 1, 2)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    middle = np.array([0.5, 0.65])
    groups: dict[tuple[int, int], list[np.ndarray]] = {}
    for row in range(-14, 14):
        for column in range(-14, 14):
            left, top = (column + shift[0]) * side, (row + shift[1]) * tall
            square = box(left, top, left + side, top + tall) @ turn + middle
            kind = ((row + column) % 2, int(picks[row, column]))
            groups.setdefault(kind, []).append(square)
    for (light, pick), squares in sorted(groups.items()):
        canvas.polygons(squares, (_light if light else _dark)(palette, pick))


def _draw_panels(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Five to eight oblique panels, light and dark, one over the other."""
    canvas.image[:] = _dark(palette, 0)
    for i in range(int(rng.integers(5, 9))):
        angle = rng.uniform(0, 2 * np.pi)
        normal = np.array([np.cos(angle), np.sin(angle)])
        along = np.array([-normal[1], normal[0]])
        start = np.array([0.5, 0.65]) + normal * rng.uniform(-0.25, 0.3)
        wide = rng.uniform(0.12, 0.24)
        panel = [start - 3 * along, start + 3 * along, start + 3 * along + wide * normal,
                 start - 3 * along + wide * normal]  # fmt: skip
        pick = int(rng.integers(3))
        canvas.polygons([np.array(panel)], (_light if i % 2 == 0 else _dark)(palette, pick))


def _draw_zigzag(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Zigzag bands over the whole cloth, lying or standing."""
    colors, widths = _sequence(rng, palette), rng.uniform(0.1, 0.2, 18)
    teeth, swing, standing = rng.uniform(0.25, 0.55), rng.uniform(0.08, 0.2), rng.random() < 0.4
    steps = np.arange(-4, 12) * teeth + rng.uniform(0, teeth)
    edge = np.where(np.arange(16) % 2 == 0, -swing, swing)
    level = -0.4
    for color, width in zip(colors, widths, strict=True):
        top = np.stack([steps, level + edge], -1)
        bottom = np.stack([steps, level + width + edge], -1)[::-1]
        band = np.concatenate([top, bottom])
        canvas.polygons([band[:, ::-1] if standing else band], color)
        level += width


def _draw_letters(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Letters over the whole cloth, three rows of two or three, each light on its own dark tile or
    the other way round.
    """
    across = int(rng.integers(2, 4))
    letters = [draw_word(rng, palette.split)[0].upper() for _ in range(4 * across)]
    faces, picks = rng.integers(2, size=4 * across), rng.integers(0, 3, (2, 4 * across))
    flip = rng.integers(2)
    wide, tall = 1 / across, canvas.aspect / 4
    for place, letter in enumerate(letters):
        row, column = divmod(place, across)
        left, top = column * wide, row * tall
        back, front = _dark(palette, picks[0, place]), _light(palette, picks[1, place])
        if (row + column + flip) % 2:
            back, front = front, back
        canvas.polygons([box(left, top, left + wide, top + tall)], back)
        shape = lettering(letter, FACES[1 - faces[place]], left + wide / 2, top + tall / 2,
                          wide * 0.9, tall * 0.72)  # fmt: skip
        canvas.polygons(shape, front, union=False)


def _draw_figures(rng: np.random.Generator, canvas: Canvas, palette: Palette) -> None:
    """Big disks, stars, rings and blocks on two halves, light and dark in turn."""
    half = canvas.aspect * rng.uniform(0.4, 0.6)
    canvas.image[:] = _dark(palette, 0)
    lean = rng.uniform(-0.3, 0.3)
    lower = np.array([(-1, half - lean), (2, half + lean), (2, 3), (-1, 3)])
    canvas.polygons([lower], _light(palette, 0))
    shift, size = rng.uniform(-0.06, 0.06, (12, 2)), rng.uniform(0.12, 0.19, 12)
    kinds, picks = rng.integers(0, 5, 12), rng.integers(0, 3, 12)
    for i in range(12):
        x = (i % 3 + 0.5) / 3 + shift[i, 0]
        y = (i // 3 + 0.5) / 4 * canvas.aspect + shift[i, 1]
        light = y < half
        _figure(
            canvas, int(kinds[i]), x, y, size[i], (_light if light else _dark)(palette, picks[i])
        )
        if i % 2:
            other = (_dark if light else _light)(palette, picks[i] + 1)
            _figure(canvas, 0, x, y, size[i] * 0.45, other)


def _figure(canvas: Canvas, kind: int, x: float, y: float, size: float, color: np.ndarray) -> None:
    shapes = (
        disk(x, y, size),
        star(x, y, size * 1.2, size * 0.55, 5),
        box(x - size * 0.85, y - size * 0.85, x + size * 0.85, y + size * 0.85),
        regular(x, y, size * 1.2, 3),
        regular(x, y, size * 1.1, 6),
    )
    canvas.polygons([shapes[kind]], color)


BOLD_PAINTERS: dict[str, Painter] = {
    "bands": _draw_bands,
    "patchwork": _draw_patchwork,
    "panels": _draw_panels,
    "zigzag": _draw_zigzag,
    "letters": _draw_letters,
    "figures": _draw_figures,
}
BOLD_KINDS = tuple(BOLD_PAINTERS)
