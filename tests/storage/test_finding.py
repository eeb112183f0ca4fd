"""Finding: from the index while it answers, else from the database; suggestions, and what is related."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from marketd.bus.breaker import Breaker
from marketd.bus.memory import MemoryBus
from marketd.bus.port import Answer, AnswerTooLarge, Busy, Crashed, Envelope, NoAnswer
from marketd.bus.subjects import query_subject
from marketd.config.codecs import message_codec
from marketd.storage.catalog import BrowseProducts
from marketd.storage.finding import Finder, FindRelated, FoundPage, Related, Suggest, Suggestions
from marketd.storage.pages import Page
from marketd.storage.questions import Alike, FindAlike, FoundProduct, Renewed, Search, Shown, Spell, Spelt
from tests.clock import TestClock
from tests.storage.history import Market, market

pytestmark = pytest.mark.asyncio

FAILURES_MAX = 3
OPEN_S = 30.0

Script = Struct | Exception | Callable[[], Any]


class Stage:
    """A market, a finder over it, and an index that answers as scripted, if it is up."""

    def __init__(
        self, m: Market, bus: MemoryBus, finder: Finder, breaker: Breaker, clock: TestClock, up: asyncio.Event
    ) -> None:
        self.market, self.bus, self.finder, self.breaker, self.clock, self.up = m, bus, finder, breaker, clock, up
        self.asked: list[Struct] = []

    async def index_answers(self, query: type[Struct], script: Script) -> None:
        async def answer(subject: str, envelope: Envelope) -> Answer:
            self.asked.append(envelope.message)
            if isinstance(script, Exception):
                raise script
            return Answer(script if isinstance(script, Struct) else await script(), 0)

        await self.bus.serve(query_subject(query), answer)

    async def ask(self, query: Struct) -> Any:
        deadline = self.clock.now_ms() + 5_000
        envelope = Envelope("query", query, "request", deadline, at_least=self.market.log.head)
        return (await self.bus.ask(query_subject(type(query)), envelope)).value

    async def find(self, **query: Any) -> FoundPage:
        page = await self.ask(BrowseProducts(**query))
        assert isinstance(page, FoundPage)
        return page

    async def related(self, key: str, count: int = 8) -> list[str]:
        found = await self.ask(FindRelated(key, count))
        assert isinstance(found, Related)
        return [msgspec.json.decode(card)["id"] for card in found.cards]


@asynccontextmanager
async def staged(folder: Path, wait_s_max: float = 5) -> AsyncIterator[Stage]:
    clock = TestClock()
    bus, breaker = MemoryBus(clock, message_codec()), Breaker("search", clock, failures_max=FAILURES_MAX, open_s=OPEN_S)
    up = asyncio.Event()
    up.set()

    async def wake() -> None:
        await up.wait()

    async with market(folder) as m:
        finder = Finder(bus, m.projector, m.cards, breaker, clock, wake=wake, wait_s_max=wait_s_max)
        await finder.open()
        yield Stage(m, bus, finder, breaker, clock, up)


async def furnish(s: Stage) -> None:
    for key in ("lamp", "bulb", "saw"):
        await s.market.list_product(key, category="tools" if key == "saw" else "light")


def ids(page: FoundPage) -> list[str]:
    return [product.product_id for product in page.products]


SAW, LAMP = FoundProduct("saw", b'{"id":"saw"}', 3.5), FoundProduct("lamp", b'{"id":"lamp"}', 1.25)
FOUND = Shown(9, [SAW, LAMP], {"tools": 4, "light": 5}, 77)


# From the index.


async def test_what_the_index_shows_is_the_page(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)
        await s.index_answers(Search, FOUND)
        page = await s.find(q="anything")

        assert [SAW, LAMP] == page.products


async def test_totals_categories_and_generation_are_those_of_the_index(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)
        await s.index_answers(Search, FOUND)
        page = await s.find()

        assert (9, {"tools": 4, "light": 5}, "index", 77) == (page.total, page.categories, page.source, page.generation)


async def test_the_index_is_asked_for_what_is_wanted(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await s.index_answers(Search, Shown(0, [], {}, 1))
        await s.find(q="lamp", category="light", sort="price", page=Page(2, 5))

        assert [Search(BrowseProducts(q="lamp", category="light", sort="price", page=Page(2, 5)))] == s.asked


async def test_no_address_of_a_file_is_shown(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)

        assert b"upload:" not in msgspec.json.encode((await s.find()).products)


async def test_an_index_that_rests_is_waited_for(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await s.index_answers(Search, FOUND)
        s.up.clear()
        finding = asyncio.create_task(s.find(q="anything"))
        await asyncio.sleep(0.01)
        asked_before = list(s.asked)
        s.up.set()

        assert ([], "index") == (asked_before, (await finding).source)


# Without the index.


async def test_an_index_that_does_not_wake_in_time_is_not_waited_for(tmp_path: Path) -> None:
    async with staged(tmp_path, wait_s_max=0.01) as s:
        await furnish(s)
        await s.index_answers(Search, FOUND)
        s.up.clear()

        assert ("fallback", [], 1) == ((await s.find(q="lamp")).source, s.asked, s.breaker.statistics().failures)


async def test_who_has_little_time_is_answered_by_the_database_within_it(tmp_path: Path) -> None:
    async with staged(tmp_path, wait_s_max=30) as s:
        await furnish(s)
        s.up.clear()
        envelope = Envelope(
            "query", FindRelated("lamp", 8), "request", s.clock.now_ms() + 200, at_least=s.market.log.head
        )
        found = (await s.bus.ask(query_subject(FindRelated), envelope)).value

        assert isinstance(found, Related) and 1 == len(found.cards)


async def test_of_an_index_that_goes_to_rest_nothing_is_trusted(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await s.index_answers(Search, FOUND)
        await s.find()
        before, renewals = s.finder.generation, []
        s.finder.on_renewed(lambda: renewals.append(s.finder.generation))
        s.finder.farewell()

        assert (77, [0]) == (before, renewals)


async def test_where_no_index_is_served_the_database_answers(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)
        page = await s.find(q="lamp")

        assert ("fallback", 0, ["lamp"], {"light": 1}) == (page.source, page.generation, ids(page), page.categories)


@pytest.mark.parametrize(
    "error", [NoAnswer("silence"), Busy("full"), Crashed("a defect"), ValueError("a defect")], ids=repr
)
async def test_where_the_index_fails_the_database_answers(tmp_path: Path, error: Exception) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)
        await s.index_answers(Search, error)
        page = await s.find(sort="newest")

        assert ("fallback", ["saw", "bulb", "lamp"]) == (page.source, ids(page))


async def test_where_the_index_is_silent_the_database_answers(tmp_path: Path) -> None:
    async with staged(tmp_path, wait_s_max=0.02) as s:
        await furnish(s)
        await s.index_answers(Search, asyncio.Event().wait)

        assert "fallback" == (await s.find()).source


async def test_who_fails_again_and_again_is_asked_no_more(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await s.index_answers(Search, NoAnswer("silence"))
        for _ in range(FAILURES_MAX + 5):
            await s.find()

        assert (FAILURES_MAX, "open", 5) == (len(s.asked), s.breaker.state, s.breaker.statistics().refused)


async def test_a_page_that_is_too_large_for_the_carrier_comes_from_the_database_and_is_no_failure(
    tmp_path: Path,
) -> None:
    """Or whoever asks for large pages would take the index from everybody."""
    async with staged(tmp_path) as s:
        await s.index_answers(Search, AnswerTooLarge("the answer is larger than the carrier takes"))
        sources = {(await s.find()).source for _ in range(FAILURES_MAX + 1)}

        assert ({"fallback"}, "closed", 0) == (sources, s.breaker.state, s.breaker.statistics().failures)


async def test_after_a_while_the_index_is_tried_again(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)
        for _ in range(FAILURES_MAX):
            await s.find()
        await s.index_answers(Search, FOUND)
        sources = [(await s.find()).source]
        await s.clock.advance(OPEN_S)
        sources += [(await s.find()).source, (await s.find()).source]

        assert (["fallback", "index", "index"], "closed") == (sources, s.breaker.state)


async def test_an_index_that_is_up_again_is_asked_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)
        for _ in range(FAILURES_MAX):
            await s.find()
        await s.index_answers(Search, FOUND)
        s.finder.welcome()

        assert "index" == (await s.find()).source


# News of the index.


async def test_whoever_wants_to_know_hears_that_the_index_has_changed(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        heard: list[int] = []
        s.finder.on_renewed(lambda: heard.append(s.finder.generation))
        await s.ask(Renewed(5))
        await s.ask(Renewed(6))
        s.finder.welcome()

        assert [5, 6, 0] == heard


async def test_an_answer_of_a_newer_index_is_news_of_it_too(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        heard: list[int] = []
        s.finder.on_renewed(lambda: heard.append(s.finder.generation))
        await furnish(s)
        await s.ask(Renewed(76))
        await s.index_answers(Search, FOUND)
        await s.find()
        await s.find()

        assert [76, 77] == heard


# Suggestions.


async def test_titles_that_begin_so_are_suggested_the_best_selling_first(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await s.market.list_product("a", title="Lamp")
        await s.market.list_product("b", title="Lampshade")
        await s.market.list_product("c", title="Big lamp")
        await s.market.list_product("d", title="Saw", description="lamp")
        await s.market.sell("b", buyer="ann")
        await s.market.sell("b", buyer="bob")
        await s.market.sell("c", buyer="ann")

        assert Suggestions(["Lampshade", "Big lamp", "Lamp"], None) == await s.ask(Suggest("lam"))


async def test_the_last_word_may_be_unfinished_and_the_others_not(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await s.market.list_product("a", title="Brass lamp")

        assert [["Brass lamp"], []] == [(await s.ask(Suggest(q))).titles for q in ("brass la", "bra lamp")]


async def test_a_title_is_suggested_once_and_only_while_it_is_on_sale(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        for key, title in (("a", "Lamp"), ("b", "Lamp"), ("c", "Lampshade")):
            await s.market.list_product(key, title=title)
        await s.market.withdraw("c")

        assert ["Lamp"] == (await s.ask(Suggest("lam"))).titles


async def test_there_are_no_more_than_ten_suggestions(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        for n in range(12):
            await s.market.list_product(f"p{n}", title=f"Lamp {n}")

        assert 10 == len((await s.ask(Suggest("lamp"))).titles)


async def test_while_titles_fit_nobody_asks_what_was_meant(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)
        await s.index_answers(Spell, Spelt("lamp"))
        await s.ask(Suggest("lam"))

        assert [] == s.asked


async def test_when_no_title_fits_what_was_probably_meant_is_told(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)
        await s.index_answers(Spell, Spelt("lamp"))

        assert (Suggestions([], "lamp"), [Spell("lmap")]) == (await s.ask(Suggest("lmap")), s.asked)


async def test_without_the_index_nobody_knows_what_was_meant(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)

        assert Suggestions([], None) == await s.ask(Suggest("lmap"))


@pytest.mark.parametrize("q", ["!!", "*", '"', "lamp'); DROP TABLE products; --", "a AND", "NEAR(", "\0", "x" * 10_000])
async def test_nothing_that_is_typed_is_an_order_to_the_database(tmp_path: Path, q: str) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)

        assert Suggestions([], None) == await s.ask(Suggest(q))


# What is related.


async def test_what_the_same_buyers_bought_comes_first_by_how_many_did(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        for key in ("lamp", "bulb", "saw", "moon"):
            await s.market.list_product(key, category=key)
        for buyer, keys in {"ann": ("lamp", "saw"), "bob": ("lamp", "bulb", "saw"), "cid": ("moon", "bulb")}.items():
            for key in keys:
                await s.market.sell(key, buyer=buyer)

        assert ["saw", "bulb"] == await s.related("lamp")


async def test_then_what_is_alike_and_then_what_is_of_the_same_category(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await s.market.list_product("old", category="light")
        await s.market.list_product("new", category="light")
        await s.market.list_product("lamp", category="light")
        await s.market.list_product("saw", category="tools")
        await s.market.list_product("bulb", category="garden")
        for key in ("lamp", "saw"):
            await s.market.sell(key, buyer="ann")
        await s.index_answers(FindAlike, Alike(["bulb", "saw"]))

        assert ["saw", "bulb", "new", "old"] == await s.related("lamp")


async def test_without_the_index_the_category_is_left(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)

        assert ["bulb"] == await s.related("lamp")


async def test_there_is_no_more_of_it_than_wanted(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        for n in range(12):
            await s.market.list_product(f"p{n}")

        assert (["p11", "p10"], 8) == (await s.related("p0", 2), len(await s.related("p0")))


async def test_nothing_is_related_to_itself_or_withdrawn(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        await furnish(s)
        for key in ("lamp", "bulb", "saw"):
            await s.market.sell(key, buyer="ann")
        await s.market.withdraw("saw")
        await s.index_answers(FindAlike, Alike(["saw", "bulb"]))

        assert ["bulb"] == await s.related("lamp")


async def test_a_purchase_that_was_paid_back_relates_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as s:
        for key in ("lamp", "saw"):
            await s.market.list_product(key, category=key)
            await s.market.sell(key, buyer="ann")
        await s.market.refund("order-saw-ann", "saw", buyer="ann")

        assert [] == await s.related("lamp")
