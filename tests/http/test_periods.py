"""Periods: what is asked for as dates, instants, days, weeks and months becomes moments, in any time zone."""

from datetime import date, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.clock import instant, ms_of
from marketd.http.periods import Interval, Span, begins, days_of, known, moment_fault, span, zone_fault

NOW_MS = ms_of(datetime.fromisoformat("2026-11-23T23:30:00+00:00"))
HOUR_MS = 60 * 60 * 1000


def asked(since: str | None, until: str | None, zone: str = "UTC") -> Span:
    return span(since, until, zone, now_ms=NOW_MS, days=30)


def said(stretch: Span) -> tuple[str, str]:
    return text(stretch.since), text(stretch.until)


def text(ms: int) -> str:
    return instant(ms).isoformat().removesuffix("+00:00")


def cut(stretch: Span, interval: Interval) -> list[str]:
    return [text(begin) for begin in begins(stretch, interval)]


# What was asked for.


def test_dates_are_whole_days_the_last_one_included() -> None:
    assert ("2026-11-01T00:00:00", "2026-12-01T00:00:00") == said(asked("2026-11-01", "2026-11-30"))


def test_dates_are_days_of_the_zone() -> None:
    expected = ("2026-10-24T22:00:00", "2026-10-25T23:00:00")
    assert expected == said(asked("2026-10-25", "2026-10-25", "Europe/Berlin"))


@pytest.mark.parametrize("given", ["2026-11-01T12:30:00+02:00", "2026-11-01T12:30:00 02:00", "2026-11-01t10:30:00.0z"])
def test_an_instant_is_exact(given: str) -> None:
    assert "2026-11-01T10:30:00" == said(asked(given, "2026-11-30", "Asia/Tokyo"))[0]


def test_an_instant_at_the_end_is_excluded() -> None:
    assert "2026-11-01T10:30:00" == said(asked(None, "2026-11-01T10:30:00Z"))[1]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", ("2026-10-25T00:00:00", "2026-11-24T00:00:00")),
        ("Asia/Tokyo", ("2026-10-25T15:00:00", "2026-11-24T15:00:00")),  # where it is tomorrow already
    ],
)
def test_nothing_asked_is_the_last_thirty_days_with_today(zone: str, expected: tuple[str, str]) -> None:
    assert expected == said(asked(None, None, zone))


def test_an_end_alone_has_thirty_days_before_it() -> None:
    assert ("2026-01-02T00:00:00", "2026-02-01T00:00:00") == said(asked(None, "2026-01-31"))


@pytest.mark.parametrize(
    "given",
    [
        *("", "today", "2026-11", "2026-02-30", "2026-13-01", "20261123", "1999-12-31", "2100-01-01", "２０２６-11-23"),
        *("2026-11-23T10:00:00", "2026-11-23 10:00:00Z", "2026-11-23T25:00:00Z", "2026-11-23T10:00:00+99:00"),
        *("2026-11-23T10:00Z", "2026-W47-1", "2026-11-23T10:00:00.Z", "2026-11-23\n"),
    ],
)
def test_what_is_no_moment_is_refused(given: str) -> None:
    assert moment_fault(given) is not None


@pytest.mark.parametrize("given", ["2026-11-23", "2000-01-01", "2024-02-29", "2026-11-23T10:00:00.123456789-03:30"])
def test_what_is_a_moment_is_not(given: str) -> None:
    assert moment_fault(given) is None


@pytest.mark.parametrize("given", ["", "Europe", "../UTC", "/etc/passwd", "utc", "CEST", "localtime", "posixrules"])
def test_what_is_no_zone_is_refused(given: str) -> None:
    assert zone_fault(given) is not None


# Days, weeks, months.


def test_each_day_begins_at_its_own_midnight() -> None:
    expected = ["2026-10-23T22:00:00", "2026-10-24T22:00:00", "2026-10-25T23:00:00"]
    assert expected == cut(asked("2026-10-24", "2026-10-26", "Europe/Berlin"), "day")


def test_a_day_without_a_midnight_begins_when_the_clock_jumps() -> None:
    days = cut(asked("2018-11-03", "2018-11-05", "America/Sao_Paulo"), "day")
    assert ["2018-11-03T03:00:00", "2018-11-04T03:00:00", "2018-11-05T02:00:00"] == days


def test_a_day_with_two_midnights_begins_at_the_first() -> None:
    days = cut(asked("2023-11-05", "2023-11-06", "America/Havana"), "day")
    assert ["2023-11-05T04:00:00", "2023-11-06T05:00:00"] == days


def test_a_day_that_was_left_out_is_no_period() -> None:
    days = cut(asked("2011-12-29", "2011-12-31", "Pacific/Apia"), "day")
    assert ["2011-12-29T10:00:00", "2011-12-30T10:00:00"] == days


def test_a_week_begins_on_monday_also_before_what_was_asked_for() -> None:
    weeks = cut(asked("2026-11-18", "2026-11-24"), "week")
    assert ["2026-11-16T00:00:00", "2026-11-23T00:00:00"] == weeks


def test_months_begin_on_the_first() -> None:
    months = cut(asked("2025-12-31", "2026-03-01", "Asia/Kathmandu"), "month")
    assert ["2025-11-30T18:15:00", "2025-12-31T18:15:00", "2026-01-31T18:15:00", "2026-02-28T18:15:00"] == months


def test_an_end_at_midnight_begins_no_day() -> None:
    assert ["2026-11-22T00:00:00"] == cut(asked("2026-11-22T10:00:00Z", "2026-11-23T00:00:00Z"), "day")


def test_a_stretch_is_named_by_its_days() -> None:
    assert (date(2026, 11, 1), date(2026, 11, 30)) == days_of(asked("2026-11-01", "2026-11-30", "Asia/Tokyo"))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(available_timezones() - {"localtime"})),
    st.integers(
        ms_of(datetime.fromisoformat("2000-01-02T00:00:00Z")), ms_of(datetime.fromisoformat("2060-01-01T00:00:00Z"))
    ),
    st.integers(1, 400 * 24 * HOUR_MS),
    st.sampled_from(["day", "week", "month"]),
)
def test_periods_cover_what_was_asked_for_without_gaps(zone: str, since: int, length: int, interval: Interval) -> None:
    stretch = Span(since, since + length, zone)
    found = begins(stretch, interval)

    assert found == sorted(set(found))
    assert found[0] <= since < (found[1] if len(found) > 1 else stretch.until)
    assert found[-1] < stretch.until
    for begin in found:  # the moment before was another day
        now, before = (instant(ms).astimezone(ZoneInfo(zone)).date() for ms in (begin, begin - 1))
        assert before < now, (zone, begin)


@pytest.mark.parametrize(
    ("told", "expected"), [("Asia/Tokyo", "Asia/Tokyo"), (None, "UTC"), ("Mars/Olympus", "UTC"), ("localtime", "UTC")]
)
def test_a_zone_that_this_machine_does_not_know_is_utc(told: str | None, expected: str) -> None:
    """As after a move to a machine with another list of them."""
    assert expected == known(told)
