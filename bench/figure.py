"""A chart of lines as SVG text, for the pages under docs/. Knows nothing of what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 60, 60, 40, 45
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")

Points = Sequence[tuple[float, float]]


def line_chart(title: str, along: str, lines: Mapping[str, Points]) -> str:
    """An SVG document with one line for each name; both axes begin at zero.

    Args:
        along: what the horizontal axis shows.
    """
    x_step, x_max = _scale(max(x for points in lines.values() for x, _ in points))
    y_step, y_max = _scale(max(y for points in lines.values() for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + x / x_max * (WIDTH - LEFT - RIGHT)
        return round(across, 1), round(HEIGHT - BOTTOM - y / y_max * (HEIGHT - TOP - BOTTOM), 1)

    parts = [_text(LEFT, TOP - 18, title, "start"), _text(WIDTH / 2, HEIGHT - 8, along)]
    for n in range(round(y_max / y_step) + 1):
        (left, y), (right, _) = place(0, n * y_step), place(x_max, n * y_step)
        parts.append(f'<path d="M{left},{y}H{right}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{n * y_step:,g}", "end"))
    for n in range(round(x_max / x_step) + 1):
        x, y = place(n * x_step, 0)
        parts.append(_text(x, y + 18, f"{n * x_step:,g}"))
    for color, (name, points) in zip(COLORS, lines.items(), strict=False):
        path = " ".join("{},{}".format(*place(x, y)) for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        x, y = place(*points[-1])
        parts.append(f'<text x="{x + 6}" y="{y + 4}" fill="{color}">{name}</text>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def _scale(most: float) -> tuple[float, float]:
    """A round step of which four to ten reach the greatest value, and where the axis ends."""
    power = 10 ** floor(log10(most))
    step = next(power * part for part in (0.2, 0.5, 1, 2) if most / (power * part) <= 10)
    return step, step * ceil(most / step)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'
