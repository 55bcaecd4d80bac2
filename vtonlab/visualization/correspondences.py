"""Pictures of correspondences and flows."""

import cv2
import numpy as np

from vtonlab.structures import Correspondences, FlowField
from vtonlab.visualization.colors import (
    distinct_colors,
    flow_colors,
    flow_wheel,
    position_chart,
    position_colors,
)
from vtonlab.visualization.pages import PAPER, fit, to_picture

_MOST_DOTS = 500


def draw_correspondences(
    person: np.ndarray,
    garment: np.ndarray,
    matches: Correspondences,
    *,
    lines: int = 24,
    height: int = 384,
) -> np.ndarray:
    """Person and garment side by side, matches as dots and some joined by lines.

    A dot has the colour of its place in the garment picture on both sides, so that a wrong match
    stands out even without its line. Of more than 500 matches every n-th is drawn.

    Args:
        person, garment: RGB uint8 pictures of any two sizes.
        matches: The correspondences to draw; may be empty.
        lines: How many matches get a line, chosen far apart.
        height: Height of the result in pixels.

    Returns:
        uint8 RGB (height, W, 3).
    """
    sides = [_scaled(to_picture(image), height) for image in (person, garment)]
    gap = max(8, height // 32)
    left, right = sides[0].shape[1], sides[1].shape[1]
    page = np.full((height, left + gap + right, 3), PAPER, np.uint8)
    page[:, :left], page[:, left + gap :] = sides
    if not len(matches):
        return page
    matches = matches.subset(slice(None, None, -(-len(matches) // _MOST_DOTS)))
    start = matches.person_points.numpy() * (left, height)
    end = matches.garment_points.numpy() * (right, height) + (left + gap, 0)
    colors = position_colors(matches.garment_points.numpy())
    radius = 1 if len(matches) > 200 else max(2, height // 120)
    for a, b, color in zip(start, end, colors.tolist(), strict=True):
        for point in (a, b):
            _dot(page, point, radius, color)
    chosen = spread(matches.person_points.numpy(), lines)
    for i, color in zip(chosen, distinct_colors(len(chosen)).tolist(), strict=True):
        _line(page, start[i], end[i], color)
        for point in (start[i], end[i]):
            _dot(page, point, max(2, height // 110), (255, 255, 255))
            _dot(page, point, max(1, height // 160), color)
    return page


def draw_flow(flow: FlowField, person: np.ndarray | None = None) -> np.ndarray:
    """The flow as colours of garment places, (h, w, 3); unknown pixels are grey, or the person's.

    Args:
        person: Picture of the flow's size to show faintly where the flow is unknown.
    """
    visible = flow.visible.numpy()
    page = np.full((*visible.shape, 3), 40, np.uint8)
    if person is not None:
        page = (to_picture(person).mean(-1, keepdims=True) * 0.35 + 30).astype(np.uint8)
        page = np.repeat(page, 3, 2)
    page[visible] = position_colors(flow.flow.numpy()[visible])
    return page


def draw_flow_offsets(flow: FlowField, *, largest: float | None = None) -> np.ndarray:
    """How far and which way each person pixel must look, on the colour wheel, with the wheel.

    Args:
        largest: Length of full strength, in picture sides; by default the longest one, at least
            a pixel.

    Returns:
        uint8 RGB (h, w, 3); unknown pixels are grey, the wheel stands in the lower right corner of
        pictures from 30 pixels.
    """
    height, width = flow.size
    y, x = np.indices((height, width)) + 0.5
    offset = flow.flow.numpy().astype(np.float64) - np.stack([x / width, y / height], -1)
    offset[~flow.visible.numpy()] = np.nan
    if largest is None:
        longest = np.nan_to_num(np.hypot(offset[..., 0], offset[..., 1])).max(initial=0.0)
        largest = max(longest, 1 / max(height, width))
    page = flow_colors(offset, largest)
    size = min(page.shape[:2]) // 5
    if size < 6:
        return page  # too small for a key
    inside = np.hypot(*(np.indices((size, size)) + 0.5 - size / 2)) <= size / 2
    page[-size:, -size:][inside] = flow_wheel(size)[inside]
    return page


def draw_places(garment: np.ndarray, garment_mask: np.ndarray | None = None) -> np.ndarray:
    """The garment picture in the colours :func:`draw_flow` uses: what the person side looks up."""
    garment = to_picture(garment)
    chart = position_chart(*garment.shape[:2])
    if garment_mask is not None:
        chart[np.asarray(garment_mask) == 0] = 40
    return chart


def warp_garment(garment: np.ndarray, flow: FlowField, person: np.ndarray) -> np.ndarray:
    """The garment's pixels carried onto the person by the flow; the person stays elsewhere."""
    garment, page = to_picture(garment), to_picture(person).copy()
    height, width = garment.shape[:2]
    where = flow.flow.numpy() * np.array([width, height], np.float32) - np.float32(0.5)
    if garment.shape[0] > 2 * page.shape[0]:  # shrinking: average first
        garment = cv2.blur(garment, (garment.shape[0] // page.shape[0],) * 2)
    warped = cv2.remap(
        garment, where.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    visible = flow.visible.numpy()
    page[visible] = warped[visible]
    return page


def _scaled(image: np.ndarray, height: int) -> np.ndarray:
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return fit(image, height, width)


def spread(points: np.ndarray, count: int) -> list[int]:
    """Indices of at most ``count`` points, each the farthest from those before it."""
    if not len(points) or count < 1:
        return []
    chosen = [int(np.argmin(((points - points.mean(0)) ** 2).sum(1)))]
    near = np.full(len(points), np.inf)
    for _ in range(min(count, len(points)) - 1):
        near = np.minimum(near, ((points - points[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(near.argmax()))
    return chosen


def _dot(page: np.ndarray, point: np.ndarray, radius: int, color) -> None:
    """A filled circle at a continuous place (pixel centres at + 0.5)."""
    x, y = (np.asarray(point) * 16 - 8).round().astype(int)
    cv2.circle(page, (int(x), int(y)), radius * 16, color, -1, cv2.LINE_AA, 4)


def _line(page: np.ndarray, start: np.ndarray, end: np.ndarray, color) -> None:
    a, b = (tuple((p * 16 - 8).round().astype(int).tolist()) for p in (start, end))
    cv2.line(page, a, b, color, 1, cv2.LINE_AA, 4)
