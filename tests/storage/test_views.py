"""Views: each visitor of a product once a day, nothing kept of who it was, and never in anybody's way."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from marketd.bus.memory import MemoryBus
from marketd.bus.port import Envelope
from marketd.bus.subjects import query_subject
from marketd.clock import DAY_MS
from marketd.config.codecs import message_codec
from marketd.storage.database import NewerFile
from marketd.storage.earnings import QUARTER_MS
from marketd.storage.views import FLUSH_S, CountViews, Views, ViewsCounted, Visit
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio

NOON_MS = 1_700_006_400_000 + DAY_MS // 2
ALWAYS = (0, NOON_MS * 2)
ANN = Visit("sam", "lamp", "ann")


class Counted:
    """Views under a clock that the test moves."""

    def __init__(self, views: Views, bus: MemoryBus, clock: TestClock) -> None:
        self.views, self.bus, self.clock = views, bus, clock

    async def look(self, *visits: Visit) -> None:
        for visit in visits:
            self.views.note(visit)
        await self.views.flush()

    async def of(self, seller: str = "sam", since: int = ALWAYS[0], until: int = ALWAYS[1]) -> int:
        envelope = Envelope("q", CountViews(seller, since, until), "r", self.clock.now_ms() + 5_000)
        found = (await self.bus.ask(query_subject(CountViews), envelope)).value
        assert isinstance(found, ViewsCounted)
        return found.views


@asynccontextmanager
async def counting(
    folder: Path, clock: TestClock | None = None, *, waiting_max: int = 100, visitors_max: int = 100
) -> AsyncIterator[Counted]:
    clock = clock or TestClock(NOON_MS)
    bus = MemoryBus(clock, message_codec())
    async with Views(folder / "views.db", clock, waiting_max=waiting_max, visitors_max=visitors_max) as views:
        await views.open(bus)
        yield Counted(views, bus, clock)


def stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("views.db*")))


# Who counts.


async def test_each_visitor_of_a_product_counts_once_a_day(tmp_path: Path) -> None:
    async with counting(tmp_path) as c:
        await c.look(ANN, ANN)
        await c.look(ANN)

        assert 1 == await c.of()


@pytest.mark.parametrize(
    "other",
    [
        Visit("sam", "lamp", "bob"),
        Visit("sam", "saw", "ann"),
        Visit("sam", "lamp", "10.0.0.1", "Mosaic"),
    ],
    ids=["another person", "another product", "nobody known"],
)
async def test_others_and_other_products_count_too(tmp_path: Path, other: Visit) -> None:
    async with counting(tmp_path) as c:
        await c.look(ANN, other)

        assert 2 == await c.of()


async def test_two_browsers_at_one_address_are_two_visitors(tmp_path: Path) -> None:
    async with counting(tmp_path) as c:
        await c.look(*(Visit("sam", "lamp", "10.0.0.1", agent) for agent in ("Mosaic", "Lynx")))

        assert 2 == await c.of()


async def test_who_comes_back_on_another_day_counts_again(tmp_path: Path) -> None:
    async with counting(tmp_path) as c:
        await c.look(ANN)
        await c.clock.advance(12 * 60 * 60)
        await c.look(ANN)

        assert 2 == await c.of()


async def test_a_clock_that_is_set_back_begins_no_day(tmp_path: Path) -> None:
    clock = TestClock(NOON_MS)
    async with counting(tmp_path, clock) as c:
        await c.look(ANN)
        clock._start_ms -= DAY_MS
        await c.look(ANN)

        assert 1 == await c.of()


@pytest.mark.parametrize(
    "agent",
    ["Mozilla/5.0 (compatible; Googlebot/2.1)", "bingbot", "my-Crawler", "Baiduspider", "Slackbot-LinkExpanding 1.0"],
)
async def test_a_robot_that_says_so_is_no_visitor(tmp_path: Path, agent: str) -> None:
    async with counting(tmp_path) as c:
        await c.look(Visit("sam", "lamp", "10.0.0.1", agent))

        assert 0 == await c.of()


@pytest.mark.parametrize("agent", ["", "Python/3.11 aiohttp/3.14.4", "okhttp/4.9", "curl/8.5", "Mozilla/5.0 Cubot X18"])
async def test_a_library_may_be_somebodys_app(tmp_path: Path, agent: str) -> None:
    async with counting(tmp_path) as c:
        await c.look(Visit("sam", "lamp", "10.0.0.1", agent))

        assert (1, 0) == (await c.of(), await c.of("sue"))


async def test_a_header_of_any_bytes_is_counted(tmp_path: Path) -> None:
    async with counting(tmp_path) as c:
        await c.look(Visit("sam", "lamp", "10.0.0.1", "\udcff"))

        assert 1 == await c.of()


# When they count.


async def test_who_asks_is_told_of_all_that_was_noted(tmp_path: Path) -> None:
    async with counting(tmp_path) as c:
        c.views.note(ANN)

        assert 1 == await c.of()


async def test_views_are_counted_once_a_second(tmp_path: Path) -> None:
    async with counting(tmp_path) as c, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(c.views.run())
        c.views.note(ANN)
        await c.clock.advance(FLUSH_S)
        async with asyncio.timeout(5):
            while not c.views.statistics()["visitors"]:
                await settle()
        running.cancel()


async def test_a_stretch_begins_and_ends_at_quarters(tmp_path: Path) -> None:
    async with counting(tmp_path) as c:
        await c.look(ANN)
        begin = NOON_MS // QUARTER_MS * QUARTER_MS
        until = begin + QUARTER_MS

        told = [
            await c.of(since=a, until=b) for a, b in ((begin, until), (until, ALWAYS[1]), (0, begin), (0, begin + 1))
        ]
        assert [1, 0, 0, 1] == told


async def test_counts_outlive_the_service(tmp_path: Path) -> None:
    async with counting(tmp_path) as c:
        await c.look(ANN)
        c.views.note(Visit("sam", "lamp", "bob"))  # and what was noted when it stops

    async with counting(tmp_path) as c:
        assert 2 == await c.of()


# What is kept.


async def test_nothing_on_the_disk_says_who_it_was(tmp_path: Path) -> None:
    async with counting(tmp_path) as c:
        await c.look(Visit("sam", "lamp-of-sam", "10.11.12.13", "Mosaic"), Visit("sam", "lamp-of-sam", "ann-herself"))
        digests, secret = list(c.views._visitors), c.views._secret

    found = stored(tmp_path)
    assert b"sam" in found
    secrets = [b"10.11.12.13", b"Mosaic", b"ann-herself", b"lamp-of-sam", secret, *digests]
    assert [] == [one for one in secrets if one in found]


async def test_a_secret_is_thrown_away_with_its_day_though_nobody_comes(tmp_path: Path) -> None:
    clock = TestClock(NOON_MS + DAY_MS // 2 - 2_000)
    async with counting(tmp_path, clock) as c, asyncio.TaskGroup() as tasks:
        await c.look(ANN)
        secret = c.views._secret
        running = tasks.create_task(c.views.run())
        await c.clock.advance(3)
        async with asyncio.timeout(5):
            while c.views.statistics()["visitors"]:
                await settle()
        running.cancel()

        assert secret != c.views._secret


# What is too much.


async def test_more_than_can_wait_are_not_counted(tmp_path: Path) -> None:
    async with counting(tmp_path, waiting_max=2) as c:
        await c.look(*(Visit("sam", "lamp", f"v{number}") for number in range(5)))

        assert (2, {"visitors": 2, "uncounted": 3}) == (await c.of(), c.views.statistics())


async def test_more_than_can_be_remembered_are_not_counted(tmp_path: Path) -> None:
    async with counting(tmp_path, visitors_max=2) as c:
        await c.look(*(Visit("sam", "lamp", f"v{number}") for number in range(5)))

        assert (2, {"visitors": 2, "uncounted": 3}) == (await c.of(), c.views.statistics())


# What is in the way.


async def test_a_file_that_can_not_be_used_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "views.db").write_bytes(b"This is a letter, not a database. " * 100)
    async with counting(tmp_path) as c:
        await c.look(ANN)

        assert 1 == await c.of()
    assert (tmp_path / "views.db.unusable").read_bytes().startswith(b"This is a letter")


async def test_a_file_of_a_newer_marketd_is_not_put_aside(tmp_path: Path) -> None:
    async with counting(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "views.db")) as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(NewerFile):
        async with counting(tmp_path):
            pass


async def test_a_disk_that_takes_nothing_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with counting(tmp_path) as c:
        await c.look(ANN)
        with closing(sqlite3.connect(tmp_path / "views.db", isolation_level=None)) as db:
            db.execute("CREATE TRIGGER full BEFORE INSERT ON views BEGIN SELECT raise(ABORT, 'disk full'); END")
            c.views.note(Visit("sam", "lamp", "bob"))
            refused = await c.of()
            db.execute("DROP TRIGGER full")
        await c.look(Visit("sam", "lamp", "cid"))

        assert (1, 2) == (refused, await c.of())
    assert "views are not counted" in caplog.text
