"""Bars: as high as what they stand for, under a top that is easy to read."""

from itertools import pairwise

import pytest

from marketd.http.pages.chart import HEIGHT, WIDTH, bars


def test_a_bar_is_as_high_as_its_value() -> None:
    drawn = bars([0, 5, 10], ["a", "b", "c"], ["0", "5", "10"])

    assert [0, 50, 100] == [bar.height for bar in drawn.bars]
    assert [HEIGHT] * 3 == [bar.y + bar.height for bar in drawn.bars]


def test_bars_stand_side_by_side_within_the_chart() -> None:
    drawn = bars([1, 1, 1, 1], [""] * 4, [""] * 4).bars

    assert all(one.x + one.width <= other.x for one, other in pairwise(drawn))
    assert drawn[-1].x + drawn[-1].width <= WIDTH


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.3, 0.5), (1, 1), (1.1, 2), (2.2, 2.5), (19.99, 20), (51, 100), (1234, 2000)]
)
def test_the_top_is_the_next_easy_number(value: float, top: float) -> None:
    assert top == pytest.approx(bars([value], [""], [""]).top)


def test_nothing_is_drawn_of_nothing() -> None:
    assert [] == bars([], [], []).bars
