"""What is counted is found again, and costs no more room than there are names."""

import pytest

from marketd.measures import Histogram, Measure, Measures, Outcomes, Sample


@pytest.mark.parametrize(("value", "expected"), [(0, [1, 0, 0]), (1, [1, 0, 0]), (1.1, [0, 1, 0]), (9, [0, 0, 1])])
def test_a_value_is_counted_under_the_first_bound_that_it_does_not_exceed(value: float, expected: list[int]) -> None:
    histogram = Histogram((1, 5))
    histogram.note(value)

    assert expected == histogram.counts


def test_a_histogram_knows_how_many_there_were_and_what_they_add_up_to() -> None:
    histogram = Histogram((1, 5))
    for value in (0.5, 2, 7):
        histogram.note(value)

    assert (3, 9.5) == (len(histogram), histogram.total)


def test_outcomes_are_counted_by_name_and_end() -> None:
    outcomes = Outcomes()
    for end in ("answered", "answered", "busy"):
        outcomes.note("order.place", end, 0.1)

    assert {("order.place", "answered"): 2, ("order.place", "busy"): 1} == outcomes.counts


def test_outcomes_are_timed_by_name() -> None:
    outcomes = Outcomes()
    outcomes.note("order.place", "answered", 0.1)
    outcomes.note("order.place", "busy", 0.2)

    assert {"order.place": pytest.approx(0.3)} == {name: times.total for name, times in outcomes.times.items()}


def test_whoever_comes_later_is_asked_too() -> None:
    first, second = (Measure("gauge", name, "told", (), [Sample((), 1)]) for name in ("first", "second"))
    measures = Measures([lambda: [first]])
    measures.add(lambda: [second])

    assert [first, second] == list(measures.read())
