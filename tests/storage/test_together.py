"""What waits to be written shares a transaction, and nobody pays for the defect of another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from marketd.bus.breaker import Breaker, BreakerOpen
from marketd.bus.port import Unsure
from marketd.storage.database import Connection, Database, DiskTrouble
from marketd.storage.together import Together
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio


class Watched(Database):
    """Counts what is run in its thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 1, "CREATE TABLE words(word TEXT NOT NULL) STRICT;")
        self.runs = 0

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.runs += 1
        return await super().run(function, *args, **kwargs)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Watched, Together]]:
    async with Watched(folder / "words.db") as database:
        database.runs = 0
        yield database, Together(database)


def say(db: Connection, word: str) -> str:
    db.execute("INSERT INTO words VALUES(?)", (word,))
    return word


def stumble(db: Connection, word: str) -> str:
    say(db, word)
    raise ZeroDivisionError("a defect")


def fill(db: Connection, word: str) -> str:
    db.execute("PRAGMA max_page_count = 1")
    db.execute("INSERT INTO words VALUES(hex(zeroblob(100000)))")
    return word


async def said(database: Database) -> list[str]:
    return [word for (word,) in await database.run(lambda db: db.execute("SELECT word FROM words").fetchall())]


async def test_what_waits_is_written_in_one_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path) as (database, together):
        words = [f"w{number}" for number in range(20)]
        told = await asyncio.gather(*(together.run(say, word) for word in words))

        assert (words, 2) == (told, database.runs)  # the first alone, and all that came meanwhile
        assert words == await said(database)


async def test_a_defect_is_told_to_whose_it_is_and_undone(tmp_path: Path) -> None:
    async with opened(tmp_path) as (database, together):
        jobs = [together.run(say, "a"), together.run(say, "b"), together.run(stumble, "c"), together.run(say, "d")]
        told = await asyncio.gather(*jobs, return_exceptions=True)

        assert ["a", "b", ZeroDivisionError, "d"] == [one if isinstance(one, str) else type(one) for one in told]
        assert ["a", "b", "d"] == await said(database)


async def test_who_gives_up_while_writing_leaves_the_others_unsure(tmp_path: Path) -> None:
    async with opened(tmp_path) as (database, together):
        jobs = [asyncio.create_task(together.run(say, f"w{number}")) for number in range(10)]
        await asyncio.sleep(0)  # the first writes alone
        await jobs[0]
        await asyncio.sleep(0)  # the second writes for all others
        jobs[1].cancel()
        told = await asyncio.gather(*jobs, return_exceptions=True)
        written = await said(database)

        assert ("w0", asyncio.CancelledError) == (told[0], type(told[1]))
        assert all(one in written if isinstance(one, str) else type(one) is Unsure for one in told[2:])
        assert len({id(one) for one in told}) == 10


async def test_what_nobody_waits_for_any_more_is_not_written_later(tmp_path: Path) -> None:
    async with opened(tmp_path) as (database, together):
        async with together._writing:  # somebody else writes, for long
            given_up = asyncio.create_task(together.run(say, "given up"))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
        await together.run(say, "next")

        assert ["next"] == await said(database)


async def test_trouble_with_the_file_is_told_to_all(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, together):
        told = await asyncio.gather(*(together.run(fill, word) for word in "abc"), return_exceptions=True)

        assert [DiskTrouble] * 3 == [type(one) for one in told]


async def test_where_a_breaker_lets_nobody_through_each_is_refused_once(tmp_path: Path) -> None:
    breaker = Breaker("file", TestClock(), failures_max=1)

    class Guarded:
        async def run(self, function: Any, /, *arguments: Any) -> Any:
            return await breaker.call(lambda: database.run(function, *arguments), DiskTrouble)

    async with Watched(tmp_path / "words.db") as database:
        together = Together(Guarded())
        with pytest.raises(DiskTrouble):
            await together.run(fill, "w")
        told = await asyncio.gather(*(together.run(say, f"w{n}") for n in range(3)), return_exceptions=True)

        assert ([BreakerOpen] * 3, 3) == ([type(error) for error in told], breaker.statistics().refused)
