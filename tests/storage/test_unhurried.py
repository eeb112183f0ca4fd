"""Who follows the log unhurriedly pauses after many records, and after few not; who is far behind does not, either."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

import pytest

from marketd.storage.log import Recorded
from marketd.storage.unhurried import FAR_RECORDS, MANY, PAUSE_S, unhurried
from tests.actors.watched import WatchedLog
from tests.clock import TestClock, settle
from tests.storage.history import append

pytestmark = pytest.mark.asyncio


class PagedLog(WatchedLog):
    """Gives so many records at most at once."""

    page = 10_000

    async def tail(self, after: int) -> AsyncGenerator[Sequence[Recorded], None]:
        async for batch in super().tail(after):
            for start in range(0, len(batch), self.page):
                yield batch[start : start + self.page]


class Reader:
    """Reads by a clock that the test moves, and notes how large the batches were."""

    def __init__(self, log: WatchedLog, clock: TestClock) -> None:
        self.batches: list[int] = []
        self._log, self._clock = log, clock

    async def run(self) -> None:
        async for batch in unhurried(self._log, 0, self._clock):
            self.batches.append(len(batch))


async def read(log: WatchedLog, counts: Sequence[int], pauses_s: float) -> list[int]:
    """Write so many records, so much time apart; say in which batches they were read."""
    clock, written = TestClock(), 0
    reader = Reader(log, clock)
    for number in range(counts[0]):
        await append(log, f"account/a{number}", f"c{number}")
    running = asyncio.create_task(reader.run())
    await settle()
    written = counts[0]
    for count in counts[1:]:
        for number in range(written, written + count):
            await append(log, f"account/a{number}", f"c{number}")
            await settle(3)
        written += count
        await clock.advance(pauses_s)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return reader.batches


async def test_where_few_come_each_is_read_at_once() -> None:
    assert [1, 1, 1, 1] == await read(WatchedLog(), [1, 3], 0)


async def test_after_many_the_next_are_let_come_first() -> None:
    assert [MANY, 5] == await read(WatchedLog(), [MANY, 5], PAUSE_S)


async def test_until_the_pause_is_over() -> None:
    assert [MANY] == await read(WatchedLog(), [MANY, 5], PAUSE_S / 2)


async def test_after_a_batch_that_was_small_there_is_no_pause_any_more() -> None:
    assert [MANY, 2, 1, 1] == await read(WatchedLog(), [MANY, 2, 2], PAUSE_S)


async def test_who_is_far_behind_makes_no_pause() -> None:
    log = PagedLog()
    log.page = 100
    count = FAR_RECORDS + 250

    assert [100, 100, 100] == (await read(log, [count], 0))[:3]


async def test_who_is_not_far_behind_any_more_does() -> None:
    log = PagedLog()
    log.page = 100

    assert [100] == await read(log, [150], 0)
