"""Small charts as inline SVG: curves, and an interval on a common scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from paceline.api.html import join

# Told apart with any colour vision (Okabe and Ito 2008), after which they begin again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Pixels: the drawing, and the margin that holds its labels.
WIDTH, HEIGHT, MARGIN = 560, 240, 56
BAR_WIDTH, BAR_HEIGHT = 160, 14


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve; `x` and `y` have the same length.

    A point that is not finite is left out. `dotted`: its points are drawn, a dashed line between them. One
    without a name is not in the legend.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    dotted: bool = False

    @property
    def points(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y in zip(self.x, self.y, strict=True) if math.isfinite(x) and math.isfinite(y)]


def line_chart(lines: Sequence[Line], x_label: str, y_label: str) -> Markup:
    """The lines over common axes, with a legend; a sentence where there is nothing to draw."""
    points = [point for line in lines for point in line.points]
    if not points:
        return Markup("<p>nothing is logged yet</p>")
    (left, right), (low, high) = (_range([point[axis] for point in points]) for axis in (0, 1))

    def place(x: float, y: float) -> tuple[str, str]:
        across = MARGIN + (x - left) / (right - left) * (WIDTH - 2 * MARGIN)
        down = HEIGHT - MARGIN + (low - y) / (high - low) * (HEIGHT - 2 * MARGIN)
        return f"{across:.1f}", f"{down:.1f}"

    drawn = join(_curve(line, [place(x, y) for x, y in line.points]) for line in lines)
    labels = join(
        [
            _text(MARGIN, HEIGHT - MARGIN + 18, f"{left:g}"),
            _text(WIDTH - MARGIN, HEIGHT - MARGIN + 18, f"{right:g}", "end"),
            _text(WIDTH / 2, HEIGHT - MARGIN + 34, x_label, "middle"),
            _text(MARGIN - 6, HEIGHT - MARGIN, f"{low:.3g}", "end"),
            _text(MARGIN - 6, MARGIN + 4, f"{high:.3g}", "end"),
            _text(MARGIN, MARGIN - 14, y_label),
        ]
    )
    frame = Markup(
        '<path d="M{0},{0} V{1} H{2}" fill="none" stroke="currentColor" stroke-opacity="0.5"/>'
    ).format(MARGIN, HEIGHT - MARGIN, WIDTH - MARGIN)
    svg = Markup('<svg width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">{3}</svg>')
    chart = svg.format(WIDTH, HEIGHT, f"{y_label} by {x_label}", join([frame, drawn, labels]))
    return Markup("<div>{}<br>{}</div>").format(chart, join(_legend(line) for line in lines if line.name))


def interval_bar(value: float, low: float, high: float, largest: float) -> Markup:
    """An interval with its middle on a scale from -largest to largest, zero marked."""
    if not all(map(math.isfinite, (value, low, high))) or largest <= 0:
        return Markup("")

    def place(figure: float) -> str:
        return f"{BAR_WIDTH / 2 * (1 + max(-1.0, min(1.0, figure / largest))):.1f}"

    bar = Markup(
        '<svg width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="{2}">'
        '<line x1="{3}" x2="{3}" y1="0" y2="{1}" stroke="currentColor" stroke-opacity="0.4"/>'
        '<line x1="{4}" x2="{5}" y1="{6}" y2="{6}" stroke="{8}" stroke-width="3"/>'
        '<circle cx="{7}" cy="{6}" r="3.5" fill="{8}"/></svg>'
    )
    said = f"{value:+.4f}, from {low:+.4f} to {high:+.4f}"
    places = (place(0.0), place(low), place(high), BAR_HEIGHT / 2, place(value), COLOURS[0])
    return bar.format(BAR_WIDTH, BAR_HEIGHT, said, *places)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest value, apart even where all are the same."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _curve(line: Line, places: Sequence[tuple[str, str]]) -> Markup:
    path = " ".join(f"{x},{y}" for x, y in places)
    dash = Markup(' stroke-dasharray="4 3"') if line.dotted else ""
    shape = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="1.5"{}/>')
    dot = Markup('<circle cx="{}" cy="{}" r="2.5" fill="{}"/>')
    dots = [dot.format(x, y, line.colour) for x, y in places] if line.dotted else []
    return join([shape.format(path, line.colour, dash), *dots])


def _text(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    shape = Markup('<text x="{}" y="{}" font-size="11" fill="currentColor" text-anchor="{}">{}</text>')
    return shape.format(x, y, anchor, text)


def _legend(line: Line) -> Markup:
    shape = Markup('<span style="margin-right: 1em"><span style="color: {}">━</span> {}</span>')
    return shape.format(line.colour, line.name)
