"""The sessions that have ended of late: remembered for as long as an access token is good, and no more than so many."""

import asyncio

import pytest

from marketd.actors.account import Renamed, SessionEnded
from marketd.config.codecs import log_codec
from marketd.http.ended import EndedSessions
from marketd.storage.log import Commit, Done, Meta, Recorded
from marketd.storage.memory import MemoryLog
from marketd.storage.people import EndedOnes
from tests.clock import TestClock

MINUTE_MS = 60_000
NOW = TestClock().now_ms()


def ended(clock: TestClock | None = None, sessions_max: int = 3) -> EndedSessions:
    return EndedSessions(clock or TestClock(), access_minutes=15, sessions_max=sessions_max)


def record(session_id: str, at: int = NOW) -> Recorded:
    events = (Renamed("Anna"), SessionEnded(session_id, "signed out"))
    return Recorded(1, "account/a", 1, Commit("c1", at, events, Done(), Meta()))


def test_a_session_that_ends_is_known_to_have_ended() -> None:
    made = ended()
    made.on_applied([record("s1"), record("s2")])

    assert (True, True, False) == ("s1" in made, "s2" in made, "s3" in made)


def test_what_was_kept_from_before_the_start_is_known() -> None:
    made = ended()
    made.take(EndedOnes([("s1", NOW - 14 * MINUTE_MS)]))

    assert "s1" in made


def test_what_ended_longer_ago_than_an_access_token_is_good_is_nobodys_business() -> None:
    made = ended()
    made.on_applied([record("s1", NOW - 15 * MINUTE_MS)])

    assert "s1" not in made


def test_what_matters_began_as_long_ago_as_an_access_token_is_good() -> None:
    assert NOW - 15 * MINUTE_MS == ended().since


@pytest.mark.asyncio
async def test_what_was_not_kept_it_reads_in_the_log_and_is_behind_until_then() -> None:
    made, log = ended(sessions_max=9), MemoryLog(log_codec())
    for number in range(4):
        events = (SessionEnded(f"s{number}", "signed out"),)
        await log.append("account/a", number, [Commit(f"c{number}", NOW, events, Done(), Meta())])
    made.take(EndedOnes([]), until=1, head=4)
    before = made.is_behind
    async with asyncio.timeout(5):
        await made.catch_up(log.tail)

    assert (True, False) == (before, made.is_behind)
    assert [False, True, True, True] == [f"s{number}" in made for number in range(4)]


def test_it_is_not_behind_where_everything_was_kept() -> None:
    assert not ended().is_behind


@pytest.mark.asyncio
async def test_what_is_over_is_forgotten_when_more_comes() -> None:
    clock = TestClock()
    made = ended(clock)
    made.on_applied([record("s1"), record("s2", NOW + MINUTE_MS)])
    await clock.advance(15 * 60)
    made.on_applied([record("s3", clock.now_ms())])

    assert (False, True, True) == ("s1" in made, "s2" in made, "s3" in made)


def test_of_too_many_the_one_that_ended_first_is_forgotten() -> None:
    made = ended()
    made.on_applied([record(f"s{number}", NOW + number) for number in range(5)])

    assert ["s2", "s3", "s4"] == [f"s{number}" for number in range(5) if f"s{number}" in made]


def test_none_are_remembered_where_none_may_be() -> None:
    made = ended(sessions_max=0)
    made.on_applied([record("s1")])

    assert 0 == len(made)
