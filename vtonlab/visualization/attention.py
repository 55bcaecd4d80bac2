"""Pictures of attention: where in the garment a place on the person looks."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from vtonlab.structures import Correspondences
from vtonlab.visualization.colors import distinct_colors, heat_colors, position_colors
from vtonlab.visualization.pages import (
    fit,
    grid,
    tile,
    titled_grid,
    to_picture,
    write,
)


def overlay_heat(
    image: np.ndarray,
    heat: np.ndarray,
    *,
    alpha: float = 0.6,
    largest: float | None = None,
    smooth: bool = True,
) -> np.ndarray:
    """Amounts over a picture: nothing leaves it as it is, much paints it red.

    Args:
        image: RGB uint8 (H, W, 3).
        heat: (h, w) >= 0 on any grid over the picture.
        alpha: Opacity of the largest amount.
        largest: The amount painted fully; the largest one by default.
        smooth: Interpolate between cells; False shows the cells.

    Returns:
        uint8 RGB (H, W, 3).
    """
    image = to_picture(image)
    heat = np.nan_to_num(np.asarray(heat, np.float32))
    top = float(heat.max(initial=0.0)) if largest is None else largest
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    level = np.clip(heat / max(top, 1e-12), 0, 1)
    level = cv2.resize(level, (image.shape[1], image.shape[0]), interpolation=how)
    weight = (np.sqrt(level) * alpha)[..., None]
    mixed = image * (1 - weight) + heat_colors(level, 1.0) * weight
    return np.rint(mixed).astype(np.uint8)


def mark(image: np.ndarray, point: Sequence[float], color, shape: str = "ring") -> np.ndarray:
    """The picture with a ring, cross or dot at ``point``, (x, y) in [0, 1]; white-edged."""
    image = to_picture(image).copy()
    height, width = image.shape[:2]
    size = max(3, height // 40)
    x, y = (round((p * n - 0.5) * 16) for p, n in zip(point, (width, height), strict=True))
    color = tuple(int(c) for c in color)
    thick = max(1, size // 4)
    for paint, wide in (((255, 255, 255), thick + 2), (color, thick)):
        if shape == "ring":
            cv2.circle(image, (x, y), size * 16, paint, wide, cv2.LINE_AA, 4)
        elif shape == "dot":
            cv2.circle(image, (x, y), size * 4 + 8 * (wide - thick), paint, -1, cv2.LINE_AA, 4)
        elif shape == "cross":
            for a, b in (((-1, 0), (1, 0)), ((0, -1), (0, 1))):
                ends = [(x + size * 16 * u, y + size * 16 * v) for u, v in (a, b)]
                cv2.line(image, *ends, paint, wide, cv2.LINE_AA, 4)
        else:
            raise ValueError(f"a mark is a ring, dot or cross, not {shape!r}")
    return image


def draw_attention(
    person: np.ndarray,
    garment: np.ndarray,
    probs: np.ndarray,
    query_grid: tuple[int, int],
    key_grid: tuple[int, int],
    *,
    truth: Correspondences | None = None,
    queries: Sequence[int] | None = None,
    count: int = 6,
    height: int = 256,
) -> np.ndarray:
    """The person with numbered places, then for each the garment under its attention.

    A numbered ring marks the place asked about, a cross the most attended garment cell, a black
    dot the truth.

    Args:
        person, garment: RGB uint8 pictures.
        probs: (Nq, Nk) attention given the garment, rows summing to 1 (a head, or their mean).
        query_grid, key_grid: Token grids (rows, columns), Nq and Nk cells.
        truth: Known correspondences; places are chosen among them.
        queries: Token indices to show; by default ``count`` of those with a known truth, spread.
        height: Height of one picture.

    Returns:
        uint8 RGB page.

    Raises:
        ValueError: ``probs`` does not fit the grids.
    """
    probs = np.asarray(probs, np.float64)
    cells = (query_grid[0] * query_grid[1], key_grid[0] * key_grid[1])
    if probs.shape != cells:
        raise ValueError(f"attention {probs.shape} does not fit grids of {cells} cells")
    known = _targets(truth, query_grid)
    if queries is None:
        pool = np.array(sorted(known) or range(cells[0]))
        queries = pool[np.unique(np.linspace(0, len(pool) - 1, count).round().astype(int))]
    asked = fit(person, height, _width(person, height))
    views = []
    for number, (query, color) in enumerate(
        zip(queries, distinct_colors(len(queries)), strict=True), 1
    ):
        query = int(query)
        x, y = _centre(query, query_grid)
        asked = mark(asked, (x, y), color)
        write(asked, str(number), x * asked.shape[1] + 10, y * height, 11.0, color.tolist())
        heat = probs[query].reshape(key_grid)
        view = overlay_heat(fit(garment, height, _width(garment, height)), heat)
        if query in known:
            view = mark(view, known[query], (0, 0, 0), "dot")
        view = mark(view, _centre(int(probs[query].argmax()), key_grid), color, "cross")
        views.append((view, f"{number}: highest {probs[query].max():.2f}"))
    width = max(asked.shape[1], *(view.shape[1] for view, _ in views))
    tiles = [tile(asked, "places asked about", height, width)]
    tiles += [tile(view, caption, height, width) for view, caption in views]
    return grid(tiles, columns=min(len(tiles), 7))


def draw_points_attention(
    person: np.ndarray,
    garment: np.ndarray,
    points: np.ndarray,
    views: Mapping[str, np.ndarray],
    *,
    truth: np.ndarray | None = None,
    notes: Mapping[str, Sequence[str]] | None = None,
    height: int = 192,
) -> np.ndarray:
    """A row for each chosen point of the person, a column for each way to look at the garment.

    In each garment picture a cross marks the most attended cell and a black dot the truth.

    Args:
        person, garment: RGB uint8 pictures.
        points: (P, 2) places on the person, (x, y) in [0, 1].
        views: title (model, layer, head; lines) -> (P, h, w) attention on its garment grid.
        truth: (P, 2) true garment places, NaN where there is none.
        notes: title -> P short texts under its pictures.
        height: of one picture.

    Returns:
        uint8 RGB page.

    Raises:
        ValueError: a view has not one map per point.
    """
    rows = []
    sides = [fit(image, height, _width(image, height)) for image in (person, garment)]
    for number, (point, color) in enumerate(
        zip(points, distinct_colors(len(points)), strict=True), 1
    ):
        tiles = [tile(mark(sides[0], point, color), f"point {number}", height, sides[0].shape[1])]
        for title, maps in views.items():
            if len(maps) != len(points):
                raise ValueError(f"view {title!r} has {len(maps)} maps for {len(points)} points")
            heat = maps[number - 1]
            view = overlay_heat(sides[1], heat)
            if truth is not None and np.isfinite(truth[number - 1]).all():
                view = mark(view, truth[number - 1], (0, 0, 0), "dot")
            view = mark(view, _centre(int(heat.argmax()), heat.shape), color, "cross")
            text = notes[title][number - 1] if notes else ""
            tiles.append(tile(view, text, height, sides[1].shape[1]))
        rows += tiles
    return titled_grid(["person", *views], rows)


def attention_warp(
    garment: np.ndarray, probs: np.ndarray, query_grid: tuple[int, int], key_grid: tuple[int, int]
) -> np.ndarray:
    """What attention alone carries over: each query paints the garment's mean colour under it.

    Args:
        garment: RGB uint8 picture.
        probs: (Nq, Nk), rows summing to 1.

    Returns:
        uint8 RGB (*query_grid, 3).
    """
    cells = cv2.resize(to_picture(garment), key_grid[::-1], interpolation=cv2.INTER_AREA)
    painted = np.asarray(probs, np.float64) @ cells.reshape(-1, 3).astype(np.float64)
    return np.rint(painted).clip(0, 255).astype(np.uint8).reshape(*query_grid, 3)


def draw_attention_flow(
    points: np.ndarray, query_grid: tuple[int, int], mask: np.ndarray | None = None
) -> np.ndarray:
    """Where each person token looks on average, in colours of garment places, (rows, columns, 3).

    Args:
        points: (Nq, 2) mean garment position per query, (x, y) in [0, 1].
        mask: (Nq,) bool; others are dark.
    """
    colors = position_colors(np.asarray(points)).reshape(*query_grid, 3)
    if mask is not None:
        colors[~np.asarray(mask, bool).reshape(query_grid)] = 40
    return colors


def _targets(truth: Correspondences | None, query_grid: tuple[int, int]) -> dict[int, np.ndarray]:
    if truth is None or not len(truth):
        return {}
    index, points = truth.to_queries(query_grid)
    return dict(zip(index.tolist(), points.numpy(), strict=True))


def _centre(index: int, cells: tuple[int, int]) -> tuple[float, float]:
    row, column = divmod(index, cells[1])
    return (column + 0.5) / cells[1], (row + 0.5) / cells[0]


def _width(image: np.ndarray, height: int) -> int:
    return max(1, round(image.shape[1] * height / image.shape[0]))
