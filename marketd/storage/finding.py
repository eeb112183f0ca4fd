"""
Finding: how the service answers who looks for products: from the index, and from `read.db` where the index is down.

The index says which products, in which order; what is shown of each comes from the cards, so it is never older than the
read models. Behind the breaker a missing index costs nothing but the ranking. An index that rests is woken and waited
for, no longer than for its answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar

from msgspec import Struct

from marketd.bus.breaker import Breaker, BreakerOpen
from marketd.bus.port import Answer, AnswerTooLarge, Bus, BusError, Envelope, NoAnswer
from marketd.bus.subjects import query_subject
from marketd.clock import Clock, new_id
from marketd.storage import catalog
from marketd.storage.cards import ProductCards
from marketd.storage.catalog import BrowseProducts
from marketd.storage.database import Connection
from marketd.storage.projector import Projector
from marketd.storage.questions import Alike, FindAlike, FoundProduct, Renewed, Search, Shown, Spell, Spelt
from marketd.trace import current

SUGGESTIONS_MAX: Final = 10
SUGGESTED_FROM: Final = 2_000  # of so many titles that begin so, the best-selling are suggested
RELATED_MAX: Final = 8
BUYERS_ASKED_MAX: Final = 500  # whose other purchases count as related, the newest buyers

T = TypeVar("T", bound=Struct)

log = logging.getLogger("marketd.search")


class Suggest(Struct, frozen=True, tag="suggest"):
    """Ask what somebody is typing."""

    q: str


class Suggestions(Struct, frozen=True, tag="finding.suggestions"):
    """Titles, the best-selling first, and what was probably meant if no title fits."""

    titles: list[str]
    did_you_mean: str | None


class FindRelated(Struct, frozen=True, tag="related"):
    product_id: str
    count: int = RELATED_MAX


class Related(Struct, frozen=True, tag="finding.related"):
    """Products in JSON, the most related first."""

    cards: list[bytes]


class FoundPage(Struct, frozen=True, tag="finding.page"):
    """One page; `generation` is that of the index, 0 for the fallback."""

    total: int
    products: list[FoundProduct]
    categories: dict[str, int]
    source: Literal["index", "fallback"]
    generation: int


class Finder:
    """Answers `market.query.products`, `suggest` and `related`; `wake` comes back when the index can be asked."""

    def __init__(
        self,
        bus: Bus,
        projector: Projector,
        cards: ProductCards,
        breaker: Breaker,
        clock: Clock,
        *,
        wake: Callable[[], Awaitable[None]],
        wait_s_max: float,
    ) -> None:
        self._bus, self._projector, self._cards = bus, projector, cards
        self._breaker, self._clock, self._wake, self._wait_s_max = breaker, clock, wake, wait_s_max
        self.generation = 0
        self._listeners: list[Callable[[], None]] = []

    def on_renewed(self, listener: Callable[[], None]) -> None:
        """Tell the listener whenever the index has changed."""
        self._listeners.append(listener)

    async def open(self) -> None:
        """Serve the queries."""
        await self._bus.serve(query_subject(BrowseProducts), self._answer)
        await self._bus.serve(query_subject(Suggest), self._answer)
        await self._bus.serve(query_subject(FindRelated), self._answer)
        await self._bus.serve(query_subject(Renewed), self._answer)

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        await self._projector.wait_reached(envelope.at_least)
        position = self._projector.position
        match envelope.message:
            case BrowseProducts() as query:
                return Answer(await self._find(query, envelope.deadline), position)
            case Suggest(q):
                return Answer(await self._suggest(q, envelope.deadline), position)
            case FindRelated(product_id, count):
                return Answer(await self._relate(product_id, count, envelope.deadline), position)
            case Renewed(generation):
                self._renew(generation)
                return Answer(None, position)
        raise AssertionError(f"not asked of the finder: {envelope.message}")

    def welcome(self) -> None:
        """The index process is up again: let the next question through, and trust nothing of the one before."""
        self._breaker.probe()
        self._renew(0)

    def farewell(self) -> None:
        """The index process rests: nothing keeps a page of it up to date any more."""
        self._renew(0)

    def _renew(self, generation: int) -> None:
        self.generation = generation
        for listener in self._listeners:
            listener()

    async def _find(self, query: BrowseProducts, deadline: int) -> FoundPage:
        found = await self._ask_index(Search(query), Shown, deadline)
        if found is None:
            return await self._fall_back(query)
        if found.generation > self.generation:
            self._renew(found.generation)  # before the index has said so itself: no older page may come after this one
        return FoundPage(found.total, found.products, found.categories, "index", found.generation)

    async def _fall_back(self, query: BrowseProducts) -> FoundPage:
        page = await self._projector.read(catalog.browse, query)
        products = [FoundProduct(hit.card.id, catalog.shown(hit.card), hit.score) for hit in page.hits]
        return FoundPage(page.total, products, page.categories, "fallback", 0)

    async def _suggest(self, q: str, deadline: int) -> Suggestions:
        titles = await self._projector.read(_titles, q)
        spelt = None if titles else await self._ask_index(Spell(q), Spelt, deadline)
        return Suggestions(titles, spelt.did_you_mean if spelt else None)

    async def _relate(self, product_id: str, count: int, deadline: int) -> Related:
        """By what the same buyers bought, then by likeness of words, then by what sells in the same category."""
        ids: list[str] = await self._projector.read(_bought_together, (product_id, count))
        if len(ids) < count:
            alike = await self._ask_index(FindAlike(product_id, count), Alike, deadline)
            ids += alike.product_ids if alike else []
        if len(ids) < count:
            ids += await self._projector.read(_same_category, (product_id, count))
        wanted = list(dict.fromkeys(ids))
        cards = await self._cards.many(wanted)
        shown = [cards[other].public for other in wanted if other in cards and cards[other].is_active]
        return Related(shown[:count])

    async def _ask_index(self, query: Struct, expected: type[T], deadline: int) -> T | None:
        """Ask the index; None where it does not answer while half of the time is left, for the database to do so."""
        left_s = max(deadline - self._clock.now_ms(), 0) / 1000
        wait_s = min(self._wait_s_max, left_s / 2)

        async def work() -> Answer | None:
            until = self._clock.now_ms() + int(wait_s * 1000)
            await self._woken(wait_s)
            cause = current()
            envelope = Envelope(new_id(self._clock), query, cause.request_id or "search", until, trace=cause.trace)
            try:
                return await self._bus.ask(query_subject(type(query)), envelope)
            except AnswerTooLarge:  # which is no failure of the index
                return None

        try:
            answer = await self._breaker.call(work, BusError)
        except (BusError, BreakerOpen) as error:
            log.debug("the index does not answer: %r", error)
            return None
        if answer is None:
            return None
        assert isinstance(answer.value, expected), f"the index answered {type(answer.value)}"
        return answer.value

    async def _woken(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake()
        except TimeoutError:
            raise NoAnswer("the index is not up yet") from None


def _titles(db: Connection, q: str) -> list[str]:
    words = catalog.words_of(q)
    if not words:
        return []
    match = "title : (" + " ".join([*(f'"{word}"' for word in words[:-1]), f'"{words[-1]}" *']) + ")"
    rows = db.execute(
        """
        SELECT p.title FROM (SELECT rowid FROM products_words WHERE products_words MATCH ? LIMIT ?) w
        JOIN products p ON p.id = w.rowid LEFT JOIN product_sales b ON b.product_id = p.product_id
        WHERE p.is_active = 1 GROUP BY p.title ORDER BY max(coalesce(b.orders, 0)) DESC, p.title LIMIT ?
        """,
        (match, SUGGESTED_FROM, SUGGESTIONS_MAX),
    )
    return [row[0] for row in rows]


def _bought_together(db: Connection, wanted: tuple[str, int]) -> list[str]:
    product_id, count = wanted
    rows = db.execute(
        """
        SELECT other.product_id FROM
        (SELECT buyer_id FROM sales WHERE product_id = ? AND completed_at > 0 ORDER BY completed_at DESC LIMIT ?) mine
        JOIN sales other ON other.buyer_id = mine.buyer_id AND other.completed_at > 0
        JOIN products p ON p.product_id = other.product_id AND p.is_active = 1
        WHERE other.product_id != ? AND other.refunded_at IS NULL
        GROUP BY other.product_id ORDER BY count(*) DESC, max(other.completed_at) DESC LIMIT ?
        """,
        (product_id, BUYERS_ASKED_MAX, product_id, count),
    )
    return [row[0] for row in rows]


def _same_category(db: Connection, wanted: tuple[str, int]) -> list[str]:
    product_id, count = wanted
    rows = db.execute(
        """
        SELECT p.product_id FROM products p
        JOIN products this ON this.category = p.category AND this.product_id = ? AND p.product_id != ?
        WHERE p.is_active = 1 ORDER BY p.created_at DESC LIMIT ?
        """,
        (product_id, product_id, count),
    )
    return [row[0] for row in rows]
