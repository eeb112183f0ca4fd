"""
Periods: a time range in a time zone, divided into days, weeks (which begin on Monday, ISO 8601) or months.

A day begins at its first moment, whether or not the clock shows midnight then, and may have 23 or 25 hours. Dates are
whole days, the last one included; instants are exact, the last one excluded.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from msgspec import Meta, Struct

from marketd.clock import EPOCH, instant, ms_of

Interval = Literal["day", "week", "month"]

DAY: Final = timedelta(days=1)
UTC: Final = "UTC"  # the zone of users who have set none
ZONE_CHARACTERS_MAX: Final = 64
YEAR_MIN, YEAR_MAX = 2000, 2100
DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# RFC 3339, section 5.6. A plus sign that was not written as %2B arrives as a space.
INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?([Zz]|[+ -][0-9]{2}:[0-9]{2})"
)


class Span(Struct, frozen=True):
    """From one moment until before another, in ms since the epoch, and the zone of its days."""

    since: int
    until: int
    zone: str

    @property
    def days(self) -> float:
        """The length in days of 24 hours."""
        return (self.until - self.since) / (24 * 60 * 60 * 1000)


def zone_fault(name: str) -> str | None:
    """Say what is wrong with the name of a time zone."""
    return None if name in zones() else "Expected the name of an IANA time zone, such as Europe/Berlin"


Zone = Annotated[str, Meta(max_length=ZONE_CHARACTERS_MAX, extra={"check": zone_fault})]


def known(zone: str | None) -> str:
    """Give the zone that a user has set, or UTC if there is none or this machine does not know it."""
    return zone if zone and zone in zones() else UTC


def moment_fault(text: str) -> str | None:
    """Say what is wrong with a date or an instant."""
    try:
        found = _date(text) or _instant(text)
    except ValueError:
        found = None
    if found is None or not YEAR_MIN <= found.year < YEAR_MAX:
        return f"Expected a date or a time of RFC 3339, from {YEAR_MIN} to {YEAR_MAX - 1}"
    return None


def span(since: str | None, until: str | None, zone: str, *, now_ms: int, days: int) -> Span:
    """
    Work out the range that was asked for: without an end, until the end of today; without a beginning, the `days` days
    before that. The texts have passed `moment_fault`.
    """
    known = ZoneInfo(zone)
    end_ms = _end_of(until, known) if until else _begin_ms(_day_of(now_ms, known) + DAY, known)
    if since:
        return Span(_begin_of(since, known), end_ms, zone)
    return Span(_begin_ms(_day_of(end_ms - 1, known) - (days - 1) * DAY, known), end_ms, zone)


def days_of(stretch: Span) -> tuple[date, date]:
    """Give the first and the last day that overlap the range."""
    zone = ZoneInfo(stretch.zone)
    return _day_of(stretch.since, zone), _day_of(stretch.until - 1, zone)


def begins(wanted: Span, interval: Interval) -> list[int]:
    """Say when each period begins that overlaps the range; the first one may begin before the range does."""
    zone = ZoneInfo(wanted.zone)
    found: list[int] = []
    for day in _first_days(_day_of(wanted.since, zone), interval):
        begin = _begin_ms(day, zone)
        if begin >= wanted.until:
            break
        if not found or begin > found[-1]:  # a day that the zone skipped begins with the next
            found.append(begin)
    return found


def _first_days(day: date, interval: Interval) -> Iterator[date]:
    """Yield the first day of the period that a day is in, and of all that follow."""
    match interval:
        case "day":
            step, first = DAY, day
        case "week":
            step, first = 7 * DAY, day - day.weekday() * DAY
        case "month":
            step, first = 31 * DAY, day.replace(day=1)
    while True:
        yield first
        first = (first + step).replace(day=1) if interval == "month" else first + step


def _day_of(ms: int, zone: ZoneInfo) -> date:
    return instant(ms).astimezone(zone).date()


def _begin_ms(day: date, zone: ZoneInfo) -> int:
    """Say when a day begins; where the clock jumps over midnight, that is the moment of the jump (PEP 495)."""
    return (datetime.combine(day, time(), zone) - EPOCH) // timedelta(milliseconds=1)


def _begin_of(text: str, zone: ZoneInfo) -> int:
    day = _date(text)
    return _begin_ms(day, zone) if day else ms_of(_instant(text))


def _end_of(text: str, zone: ZoneInfo) -> int:
    day = _date(text)
    return _begin_ms(day + DAY, zone) if day else ms_of(_instant(text))


def _date(text: str) -> date | None:
    return date.fromisoformat(text) if DATE.fullmatch(text) else None


def _instant(text: str) -> datetime:
    found = INSTANT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    day, hours, fraction, offset = found.groups()
    offset = "+00:00" if offset in "Zz" else offset.replace(" ", "+")
    return datetime.fromisoformat(f"{day}T{hours}{(fraction or '')[:7]}{offset}")


@cache
def zones() -> frozenset[str]:
    """Name all time zones, without `localtime`, which is only a file beside them."""
    return frozenset(available_timezones() - {"localtime"})
