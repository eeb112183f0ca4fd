"""
Lines over time as one SVG, panel under panel, all over the same time; nothing but this page draws it.

It follows the reader's dark or light, and every axis begins at nothing, so that a line that looks flat is flat.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 860
LEFT: Final = 56
RIGHT: Final = 190  # for the names of the lines, where they end
PANEL: Final = 118
GAP: Final = 52
TOP: Final = 40
NAME_APART: Final = 15
COLOURS: Final = ("a", "b", "c", "d")
STYLE: Final = """
  text { font: 12px system-ui, sans-serif; fill: #566072; }
  .title { font-weight: 600; fill: #1a1f28; }
  .grid { stroke: #d8dde6; stroke-width: 1; }
  .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
  .a { stroke: #2452bd; } .b { stroke: #b35309; } .c { stroke: #12805c; } .d { stroke: #7a3fb0; }
  text.a { fill: #2452bd; } text.b { fill: #b35309; } text.c { fill: #12805c; } text.d { fill: #7a3fb0; }
  text.a, text.b, text.c, text.d { stroke: none; }
  .back { fill: #fff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #a4aebf; } .title { fill: #e8ebf1; } .grid { stroke: #333b49; } .back { fill: #12151b; }
    .a { stroke: #9dbcff; } .b { stroke: #f0a868; } .c { stroke: #6fd3ae; } .d { stroke: #cfa6f5; }
    text.a { fill: #9dbcff; } text.b { fill: #f0a868; } text.c { fill: #6fd3ae; } text.d { fill: #cfa6f5; }
  }
"""


class Line(NamedTuple):
    name: str
    values: Sequence[float]


class Panel(NamedTuple):
    """Lines that share a unit; at most four."""

    title: str
    unit: str
    lines: Sequence[Line]


def drawn(title: str, minutes: Sequence[float], panels: Sequence[Panel]) -> str:
    """Draw the panels; each line has a value for each of the minutes."""
    height = TOP + len(panels) * (PANEL + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, minutes, TOP + number * (PANEL + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, minutes: Sequence[float], top: float) -> list[str]:
    highest = max((max(line.values, default=0) for line in panel.lines), default=0)
    upper, step = _round_up(highest)
    across = _round_up(minutes[-1] if minutes else 1)

    def x(minute: float) -> float:
        return LEFT + minute / (minutes[-1] or 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return top + PANEL - value / upper * PANEL

    parts = [f'<text class="title" x="{LEFT}" y="{top - 10:.0f}">{escape(panel.title)}, {escape(panel.unit)}</text>']
    for tick in _ticks(upper, step):
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,.10g}</text>')
    for tick in (tick for tick in _ticks(*across) if minutes and tick <= minutes[-1]):
        label = f"{tick:.10g} min" if tick == 0 else f"{tick:.10g}"
        parts.append(f'<text x="{x(tick):.1f}" y="{top + PANEL + 18:.1f}" text-anchor="middle">{label}</text>')
    names = _apart([y(line.values[-1]) for line in panel.lines]) if minutes else []
    for colour, line, name_y in zip(COLOURS, panel.lines, names, strict=False):
        points = " ".join(f"{x(m):.1f},{y(v):.1f}" for m, v in zip(minutes, line.values, strict=True))
        parts.append(f'<polyline class="line {colour}" points="{points}"/>')
        said = f"{line.name} {_short(line.values[-1])}"
        parts.append(f'<text class="{colour}" x="{WIDTH - RIGHT + 8}" y="{name_y + 4:.1f}">{escape(said)}</text>')
    return parts


def _apart(wanted: list[float]) -> list[float]:
    """Move the names of lines that end close together away from each other, upwards, the lowest staying."""
    placed = dict.fromkeys(range(len(wanted)), 0.0)
    below = math.inf
    for number in sorted(placed, key=lambda n: -wanted[n]):
        below = placed[number] = min(wanted[number], below - NAME_APART)
    return list(placed.values())


def _round_up(highest: float) -> tuple[float, float]:
    """Give the end of an axis that holds this, and the step of its marks: 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return 1, 1
    rough = highest / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
    return math.ceil(highest / step) * step, step


def _ticks(upper: float, step: float) -> list[float]:
    return [number * step for number in range(round(upper / step) + 1)]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
