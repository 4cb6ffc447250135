"""Charts as inline SVG, in the colours of the page, so that they are light or dark with it.

Every point carries a native tooltip; nothing here needs a script.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 380, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 34
DASHES = ("", "6 3", "2 3")  # for the second and third eight runs
COLOURS = 8
TOOLTIPS = 40  # points of a line that carry one


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
      label: in its tooltips.
      points: (x, y), finite.
      style: a CSS class, see `line_style`.
      dash: SVG's stroke-dasharray.
      filled: whether the area below is tinted: for the truth.
    """

    label: str
    points: Sequence[tuple[float, float]]
    style: str
    dash: str = ""
    filled: bool = False


def line_style(place: int) -> tuple[str, str]:
    """CSS class and dashes of the run at a place."""
    return f"run{place % COLOURS}", DASHES[place // COLOURS % len(DASHES)]


def line_chart(
    title: str, lines: Sequence[Line], *, x_label: str, hue_bar: bool = False, zero: bool = False
) -> str:
    """A figure with a caption: the lines on common axes.

    Args:
      title: above it.
      lines: at least one point among them.
      x_label: of the horizontal axis.
      hue_bar: draw the colours of 0 to 360 degrees of hue along that axis.
      zero: let the vertical axis begin at 0.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_range = (min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1)
    y_ticks = _ticks(0.0 if zero else min(ys), max(ys), 4)
    y_range = (y_ticks[0], y_ticks[-1])
    place = _Axes(x_range, y_range)
    parts = [_grid(place, y_ticks, x_label)]
    if hue_bar:
        parts.append(_hue_bar(place))
    parts += [_line(place, line) for line in lines]
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg></figure>"
    )


class _Axes(NamedTuple):
    """Where values lie in the drawing."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _grid(place: _Axes, y_ticks: Sequence[float], x_label: str) -> str:
    parts = []
    for tick in y_ticks:
        y = place.y(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:.6g}</text>'
        )
    low, high = place.x_range
    for tick in _ticks(low, high, min(5, max(math.ceil(high - low), 1))):
        if low <= tick <= high:
            parts.append(
                f'<text x="{place.x(tick):.1f}" y="{HEIGHT - BOTTOM + 15}" '
                f'text-anchor="middle">{tick:.6g}</text>'
            )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def _line(place: _Axes, line: Line) -> str:
    if not line.points:
        return ""
    points = [(place.x(x), place.y(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = []
    if line.filled:
        base = HEIGHT - BOTTOM
        ends = f"{points[-1][0]:.1f},{base} {points[0][0]:.1f},{base}"
        parts.append(f'<polygon class="area" points="{path} {ends}"/>')
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    label = escape(line.label)
    parts.append(f'<polyline class="line" points="{path}"{dash}><title>{label}</title></polyline>')
    every = math.ceil(len(points) / TOOLTIPS)
    shown = list(zip(points, line.points, strict=True))[::-1][::every]  # the last one always
    visible = " seen" if len(points) <= 1 else ""
    for (x, y), value in shown:
        parts.append(
            f'<circle class="dot{visible}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
            f"<title>{label}: {value[1]:.5g} at {value[0]:.4g}</title></circle>"
        )
    return f'<g class="{line.style}">{"".join(parts)}</g>'


def _hue_bar(place: _Axes) -> str:
    """Colours of equal lightness and chroma along the axis, as L*a*b* orders them."""
    parts = []
    for degrees in range(0, 360, 6):
        x, end = place.x(degrees), place.x(degrees + 6)
        parts.append(
            f'<rect x="{x:.1f}" y="{HEIGHT - BOTTOM}" width="{end - x + 0.3:.1f}" height="4" '
            f'fill="lch(65% 60 {degrees + 3})"/>'
        )
    return "".join(parts)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, about `count` steps of them."""
    if high - low < 1e-9 * max(abs(high), abs(low), 1e-9):
        low, high = low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(x * power for x in (1, 2, 2.5, 5, 10) if x * power >= rough * 0.999)
    first = math.floor(low / step + 1e-6)
    last = math.ceil(high / step - 1e-6)
    return [index * step for index in range(first, last + 1)]
