"""The index on the bus: what it answers, whom it tells of changes, and how it ends when it is broken."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from marketd.bus.memory import MemoryBus
from marketd.bus.port import Answer, Crashed, Envelope, NobodyServes
from marketd.bus.subjects import query_subject
from marketd.config.codecs import message_codec
from marketd.storage.catalog import BrowseProducts
from marketd.storage.inverted import IndexBroken, Segment
from marketd.storage.questions import Alike, FindAlike, Renewed, Search, Shown, Spell, Spelt
from marketd.storage.search import POLL_S, UNTOLD_S_MAX, SearchServer
from tests.bus.post import wait_until
from tests.clock import TestClock, settle
from tests.storage.history import market
from tests.storage.indexed import FOLDER, Shop, id_of, index_over, name_of

pytestmark = pytest.mark.asyncio


class Stage:
    """A shop whose index is served; `told` are the generations that the service was told of."""

    def __init__(self, shop: Shop, bus: MemoryBus, server: SearchServer, clock: TestClock) -> None:
        self.shop, self.bus, self.server, self.clock = shop, bus, server, clock
        self.told: list[int] = []

    async def ask(self, query: Struct) -> Any:
        envelope = Envelope("query", query, "search", self.clock.now_ms() + 5_000)
        return (await self.bus.ask(query_subject(type(query)), envelope)).value

    async def listen(self) -> None:
        async def hear(subject: str, envelope: Envelope) -> Answer:
            assert isinstance(envelope.message, Renewed)
            self.told.append(envelope.message.generation)
            return Answer(None, 0)

        await self.bus.serve(query_subject(Renewed), hear)

    async def caught_up(self) -> None:
        """Wait until the server has nothing to do but to poll."""
        await self.shop.market.projector.wait_reached(self.shop.market.log.head)
        async with asyncio.timeout(10):
            while self.shop.index.position < self.shop.market.log.head or not self.clock.sleepers:
                if self.clock.sleepers:
                    await self.clock.advance(POLL_S)
                await asyncio.sleep(0)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Stage]:
    clock = TestClock()
    bus = MemoryBus(clock, message_codec())
    async with market(folder) as m:
        await m.list_product(id_of("lamp"), title="Lamp of brass")
        async with index_over(m, folder) as shop:
            yield Stage(shop, bus, SearchServer(shop.index, bus, clock), clock)


@asynccontextmanager
async def following(s: Stage) -> AsyncIterator[asyncio.Task[None]]:
    await s.server.open()
    running = asyncio.create_task(s.server.run())
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_who_is_not_open_answers_nobody(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        with pytest.raises(NobodyServes):
            await s.ask(Search(BrowseProducts()))


async def test_who_is_open_has_everything(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.server.open()
        found = await s.ask(Search(BrowseProducts(q="lamp")))

        assert isinstance(found, Shown)
        assert ["lamp"] == [name_of(product.product_id) for product in found.products]


async def test_every_query_has_its_answer(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.shop.list_product("saw", title="Brass saw")
        await s.shop.caught_up()
        await s.server.open()

        assert (Spelt("lamp"), Alike([id_of("saw")])) == (
            await s.ask(Spell("lmap")),
            await s.ask(FindAlike(id_of("lamp"), 3)),
        )


async def test_what_changes_is_taken_in_and_told(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.listen()
        async with following(s):
            await s.caught_up()
            await s.shop.list_product("saw")
            await s.caught_up()
            found = await s.ask(Search(BrowseProducts()))

        assert (2, found.generation, 2) == (found.total, s.told[-1], len(set(s.told)))


async def test_a_question_goes_before_what_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces, asked, is_let_go = 0, asyncio.Event(), asyncio.Event()

    def without_end(segment: Segment) -> Iterator[None]:
        nonlocal pieces
        while True:
            pieces += 1
            yield

    async with served(tmp_path) as s:
        show = s.shop.index.show

        async def held(query: BrowseProducts) -> Shown:
            asked.set()
            await is_let_go.wait()
            return await show(query)

        monkeypatch.setattr(Segment, "read_ahead", without_end)
        monkeypatch.setattr(s.shop.index, "show", held)
        async with following(s):
            await wait_until(lambda: pieces > 10)
            asking = asyncio.create_task(s.ask(Search(BrowseProducts())))
            await asked.wait()
            before = pieces
            await settle()
            meanwhile = pieces - before
            is_let_go.set()
            found = await asking
            await wait_until(lambda: pieces > before + 10)

    assert (1, True) == (found.total, meanwhile <= 1)


async def test_while_nothing_changes_nobody_is_told(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        await s.listen()
        async with following(s):
            await s.caught_up()
            told = list(s.told)
            for _ in range(5):
                await s.clock.advance(POLL_S)
                await wait_until(lambda: s.clock.sleepers > 0)

        assert told == s.told


async def test_who_did_not_hear_is_told_again(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        async with following(s):
            await s.caught_up()
            await s.listen()
            await s.clock.advance(POLL_S)
            await wait_until(lambda: bool(s.told))

        assert [s.shop.index.generation] == s.told


async def test_that_nobody_hears_is_a_warning_once_it_goes_on_for_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> int:
        return sum("was not told" in record.message for record in caplog.records if record.levelno == logging.WARNING)

    async with served(tmp_path) as s, following(s):
        await s.caught_up()
        counts = []
        for wait_s in (UNTOLD_S_MAX / 2, UNTOLD_S_MAX):
            for _ in range(int(wait_s / POLL_S)):
                await s.clock.advance(POLL_S)
                await wait_until(lambda: s.clock.sleepers > 0)
            counts.append(warnings())

    assert [0, 1] == counts


async def test_an_index_that_breaks_while_it_is_read_ends_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(segment: Segment, stem: str) -> None:
        raise IndexBroken("a flipped bit")

    async with served(tmp_path) as s:
        await s.listen()
        async with following(s) as running:
            await s.caught_up()
            monkeypatch.setattr(Segment, "word", broken)
            with pytest.raises(Crashed):
                await s.ask(Search(BrowseProducts(q="lamp")))
            await s.clock.advance(POLL_S)
            await settle()
            with pytest.raises(IndexBroken):
                await running

        assert not (tmp_path / FOLDER / "stamp.json").exists()


async def test_an_index_that_breaks_while_it_is_written_ends_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as s:
        await s.listen()
        async with following(s) as running:
            await s.caught_up()
            for path in (tmp_path / FOLDER).glob("*.toc"):
                path.write_bytes(b"garbage")
            await s.shop.list_product("saw")
            await s.shop.market.projector.wait_reached(s.shop.market.log.head)
            await s.clock.advance(POLL_S)
            with pytest.raises(IndexBroken):
                await running

        assert not (tmp_path / FOLDER / "stamp.json").exists()
