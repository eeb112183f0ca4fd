"""A bar chart, as numbers for an SVG that is stretched to its place; its labels stand beside it."""

from collections.abc import Sequence
from math import floor, log10
from typing import Final, NamedTuple

WIDTH: Final = 1000.0
HEIGHT: Final = 100.0
GAP: Final = 0.25  # the share of a bar's space that stays empty
STEPS: Final = (1, 2, 2.5, 5, 10)


class Bar(NamedTuple):
    """One value, and the position of its bar."""

    x: float
    y: float
    width: float
    height: float
    label: str
    text: str


class Chart(NamedTuple):
    """Bars, and the value that the top of the chart stands for."""

    bars: list[Bar]
    top: float


def bars(values: Sequence[float], labels: Sequence[str], texts: Sequence[str]) -> Chart:
    """Draw values of 0 and more side by side."""
    top, room = _round_up(max(values, default=0)), WIDTH / max(1, len(values))
    drawn = []
    for index, (value, label, text) in enumerate(zip(values, labels, texts, strict=True)):
        height = round(HEIGHT * value / top, 2)
        x, width = (index + GAP / 2) * room, room * (1 - GAP)
        drawn.append(Bar(round(x, 2), round(HEIGHT - height, 2), round(width, 2), height, label, text))
    return Chart(drawn, top)


def _round_up(value: float) -> float:
    """Give the next number that is easy to read: 1, 2, 2.5, 5 or 10 times a power of ten."""
    if value <= 0:
        return 1
    power: float = 10 ** floor(log10(value))
    return next(step * power for step in STEPS if step * power >= value)
