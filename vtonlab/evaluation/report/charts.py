"""Line charts as SVG text: small, sharp at any size, no script."""

import math
from collections.abc import Sequence
from html import escape

Series = Sequence[tuple[float, float]]  # (x, y) points
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 20, 34, 38  # room for labels


def line_chart(
    series: dict[str, Series],
    colours: dict[str, str],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    reference: tuple[str, float] | None = None,
    size: tuple[int, int] = (460, 240),
) -> str:
    """An SVG element with one line for each series.

    Args:
        series: name -> points; drawn in order.
        colours: name -> CSS colour.
        y_range: limits of the y axis; by default the data's own with 0, to round numbers.
        reference: name and value of a dashed horizontal line.
        size: width and height in pixels of its own.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return "<p>No curve was logged.</p>"
    width, height = size
    x_max = max(x for x, _ in points) or 1
    y_min, y_max = y_range or _round_range([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        share = (min(max(y, y_min), y_max) - y_min) / ((y_max - y_min) or 1)
        return (
            _LEFT + x / x_max * (width - _LEFT - _RIGHT),
            height - _BOTTOM - share * (height - _TOP - _BOTTOM),
        )

    parts = [_axes(place, x_max, y_min, y_max, width, height, x_label, y_label)]
    if reference:
        x, y = place(x_max, reference[1])
        parts.append(f'<line class="ref" x1="{_LEFT}" x2="{x:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{y - 4:.1f}" text-anchor="end">{escape(reference[0])}</text>'
        )
    for name, line in series.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        title = f"<title>{escape(name)}</title>"
        parts.append(f'<polyline points="{path}" style="stroke:{colours[name]}">{title}</polyline>')
    return f'<svg class="chart" viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def _round_range(values: Sequence[float]) -> tuple[float, float]:
    """From 0 (or a round number below all values) to a round number, in four equal steps."""
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    scale = 10.0 ** math.floor(math.log10(span / 4))
    step = next(k * scale for k in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if 4 * k * scale >= span)
    bottom = math.floor(low / step) * step
    return bottom, max(bottom + 4 * step, math.ceil(high / step) * step)


def _axes(place, x_max, y_min, y_max, width, height, x_label, y_label) -> str:
    parts = [f'<text x="2" y="14" class="ylabel">{escape(y_label)}</text>']
    for step in range(5):
        value = y_min + step / 4 * (y_max - y_min)
        _, y = place(0, value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for step in range(5):
        x, y = place(step / 4 * x_max, y_min)
        label = f"{step / 4 * x_max:.0f}"
        parts.append(f'<text x="{x:.1f}" y="{y + 17:.1f}" text-anchor="middle">{label}</text>')
    middle = (_LEFT + width - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{height - 5}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def smooth(points: Series, window: int = 5) -> list[tuple[float, float]]:
    """Trailing mean over ``window`` points."""
    result = []
    for place in range(len(points)):
        recent = [y for _, y in points[max(0, place - window + 1) : place + 1]]
        result.append((points[place][0], sum(recent) / len(recent)))
    return result
