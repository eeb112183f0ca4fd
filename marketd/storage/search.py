"""
Search: what the index process keeps, and how it answers.

It follows the log through the catalogue: `read.db` says of each product at which log position it last changed, and
the index notes up to which position it has come. Words lie in the Whoosh index (inverted.py), what a product costs,
how it is rated and how often it was sold in memory beside it, one shelf for each segment; so a rating or a sale
changes a number and no file.

One process reads, writes and answers. Writing goes on in a thread, and what was read for one answer is good for the
next.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from marketd.bus.port import Answer, Bus, BusError, Envelope
from marketd.bus.subjects import query_subject
from marketd.clock import Clock, new_id
from marketd.spans import span
from marketd.storage import harvest
from marketd.storage.catalog import BrowseProducts
from marketd.storage.database import Database
from marketd.storage.inverted import (
    IMPACT_STEP,
    SIGNS,
    SPELLING_DISTANCE_MAX,
    VERSION,
    IndexBroken,
    Inverted,
    fold,
    folded,
    inverse_frequency,
    stems,
)
from marketd.storage.questions import Alike, FindAlike, FoundProduct, Renewed, Search, Shown, Spell, Spelt
from marketd.storage.ranking import (
    WEIGHT_MAX,
    Documents,
    Postings,
    Weighted,
    best_by_impact,
    document_set,
)
from marketd.storage.shelf import QUERY_WORDS_MAX, Hit, Parsed, Shelf, parse, rating_key
from marketd.whole import write_whole

T = TypeVar("T")

POLL_S: Final = 0.2
TELL_WAIT_MS: Final = 2_000
UNTOLD_S_MAX: Final = 60
PHRASE_LOOKS_MAX: Final = 2_000  # of so many documents, the best, the text is looked at for a phrase
SPELT_LETTERS_MAX: Final = 32  # nobody mistypes a longer word, and looking for it takes long
ALIKE_WORDS: Final = 6
ALIKE_DOCUMENTS_MAX: Final = 5_000

log = logging.getLogger("marketd.search")


class Found(Struct, frozen=True):
    """Product ids with their scores, in order; `generation` differs whenever the index does."""

    total: int
    hits: list[tuple[str, float]]
    categories: dict[str, int]
    generation: int


class SearchIndex:
    """All shelves; `catch_up` takes in what has changed, the rest answers."""

    def __init__(self, folder: Path, catalogue: Database, clock: Clock) -> None:
        self._folder, self._catalogue, self._clock = folder, catalogue, clock
        self._stamp = folder / "stamp.json"
        self._shelves: list[Shelf] = []
        self._position = 0
        self.generation = clock.now_ms() << 20

    async def open(self) -> None:
        """Open the index, or begin a new one where there is none that can be used."""
        stamp, reached = self._read_stamp(), await self.reached()
        try:
            if stamp is None:
                raise IndexBroken("there is none of this version")
            if stamp > reached:
                raise IndexBroken(f"it goes up to {stamp}, and the catalogue only up to {reached}")
            self._inverted = await _in_thread(Inverted.open, self._folder)
            await self._reshelve()
            self._position = stamp
        except IndexBroken as error:
            log.warning("the index is made again: %s", error)
            await self.begin()

    async def begin(self) -> None:
        """Begin a new index, whatever there was."""
        self._inverted = await _in_thread(Inverted.make, self._folder)
        self._shelves, self._position = [], 0

    @property
    def position(self) -> int:
        """The log position up to which everything is in the index."""
        return self._position

    async def reached(self) -> int:
        """Say up to which log position the catalogue goes."""
        return await self._catalogue.run(harvest.reached)

    def condemn(self) -> None:
        """What is there can't be used: the next to open it shall make it again."""
        self._stamp.unlink(missing_ok=True)

    async def catch_up(self) -> bool:
        """Take in one batch of what has changed; say whether there is more than a batch holds."""
        changes = await self._catalogue.run(harvest.changes, self._position)
        if changes is None:
            return False
        position, texts, gone, ratings, sales = changes
        if texts or gone:
            await _in_thread(self._inverted.write, texts, gone)
            await self._reshelve()
        for shelf in self._shelves:
            for key, points, reviews in ratings:
                if (number := shelf.number(key)) is not None:
                    shelf.rating.change(number, rating_key(points, reviews))
            for key, orders in sales:
                if (number := shelf.number(key)) is not None:
                    shelf.sold.change(number, orders)
        self._position = position
        self.generation += 1
        await _in_thread(self._write_stamp, position)
        return len(texts) + len(gone) >= harvest.BATCH_TEXTS_MAX

    async def warm(self, give_way: Callable[[], Awaitable[None]]) -> bool:
        """
        Read ahead of one new segment what is asked for most, so that nobody waits for it, and `give_way` after each
        piece; say whether there was one.
        """
        shelf = next((shelf for shelf in self._shelves if not shelf.is_warm), None)
        if shelf is None:
            return False
        shelf.is_warm = True
        for ordering in (shelf.price, shelf.created):
            ordering.refresh()
            await give_way()
        for _ in shelf.segment.read_ahead():
            await give_way()
        return True

    async def find(self, query: BrowseProducts) -> Found:
        """Answer a query."""
        parsed = parse(query.q)
        fits = [(shelf, shelf.fitting(parsed, query)) for shelf in self._shelves]
        if not parsed.is_empty and not parsed.words and not parsed.excluded and not parsed.excluded_phrases:
            fits = await self._with_titles(parsed, fits)
        if parsed.phrases or parsed.excluded_phrases:
            fits = [(shelf, await self._as_phrased(parsed, shelf, fitting)) for shelf, fitting in fits]
        weights, unit = self._weights(parsed.words)
        limit, offset = query.page.bounds
        hits: list[Hit] = []
        categories: dict[str, int] = {}
        for shelf, fitting in fits:
            if fitting:
                hits += shelf.best(query, self._weighted(shelf, weights), fitting, offset + limit)
                _count(categories, shelf, fitting)
        page = heapq.nlargest(offset + limit, hits, key=lambda hit: hit[:2])[offset:]
        return Found(
            total=sum(fitting.bit_count() for _, fitting in fits),
            hits=[(hit.shelf.product_id(hit.number), round(hit.score * unit, 4)) for hit in page],
            categories=dict(sorted(categories.items(), key=lambda item: (-item[1], item[0]))),
            generation=self.generation,
        )

    async def show(self, query: BrowseProducts) -> Shown:
        """Answer a query with what is to be seen of each product now; what was withdrawn meanwhile is left out."""
        found = await self.find(query)
        cards = await self._catalogue.run(harvest.cards, [product_id for product_id, _ in found.hits])
        products = [FoundProduct(key, cards[key], score) for key, score in found.hits if key in cards]
        return Shown(found.total, products, found.categories, found.generation)

    def spell(self, q: str) -> Spelt:
        """Say what was probably meant, by the words of titles."""
        meant = []
        for word in folded(q)[:QUERY_WORDS_MAX]:
            if any(postings for stem in stems(word) for postings in self._postings(stem)):
                meant.append(word)
                continue
            meant.append((len(word) <= SPELT_LETTERS_MAX and self._nearest(word)) or word)
        corrected = " ".join(meant)
        return Spelt(corrected if corrected != " ".join(folded(q)[:QUERY_WORDS_MAX]) else None)

    async def alike(self, product_id: str, count: int) -> Alike:
        """Give products whose rarest words are those of this one."""
        text = await self._catalogue.run(harvest.text, product_id)
        if text is None:
            return Alike([])
        found = {stem: n for stem in stems(text) if 1 < (n := self._frequency(stem)) <= ALIKE_DOCUMENTS_MAX}
        rarest = heapq.nsmallest(ALIKE_WORDS, found, key=found.__getitem__)
        scores: dict[str, int] = {}
        weights, _ = self._weights(rarest)
        for stem, weight in weights.items():
            for shelf in self._shelves:
                if postings := shelf.segment.word(stem):
                    for number, impact in postings:
                        if shelf.live >> number & 1:
                            other = shelf.product_id(number)
                            scores[other] = scores.get(other, 0) + impact * weight
        scores.pop(product_id, None)
        return Alike(heapq.nlargest(count, scores, key=scores.__getitem__))

    def _postings(self, stem: str) -> Iterable[Postings | None]:
        return (shelf.segment.word(stem) for shelf in self._shelves)

    def _frequency(self, stem: str) -> int:
        return sum(len(postings) for postings in self._postings(stem) if postings)

    def _use(self, word: str) -> int:
        """Say how many documents have a word in one of its forms."""
        return sum(map(self._frequency, stems(word)))

    def _weights(self, words: Iterable[str]) -> tuple[dict[str, int], float]:
        """Say how much each word counts, as ranking.py wants it; and what a score of one by that is worth."""
        total = sum(shelf.segment.count for shelf in self._shelves)
        exact = {stem: inverse_frequency(self._frequency(stem), total) for stem in words}
        step = max(exact.values(), default=1.0) / WEIGHT_MAX
        return {stem: max(1, round(weight / step)) for stem, weight in exact.items()}, step * IMPACT_STEP

    def _weighted(self, shelf: Shelf, weights: dict[str, int]) -> list[Weighted]:
        found = ((shelf.segment.word(stem), weight) for stem, weight in weights.items())
        return [Weighted(postings, weight) for postings, weight in found if postings]

    def _nearest(self, word: str) -> str | None:
        """Find the known word with the fewest changed letters; among equals one with the same letters, then by use."""
        for distance in range(1, SPELLING_DISTANCE_MAX + 1):
            near = {near for shelf in self._shelves for near in shelf.segment.words_near(word, distance)}
            if near:
                letters = sorted(word)
                return max(near, key=lambda known: (sorted(known) == letters, self._use(known), known))
        return None

    async def _with_titles(self, parsed: Parsed, fits: list[tuple[Shelf, Documents]]) -> list[tuple[Shelf, Documents]]:
        """Of stop words alone, which are not in the index, keep those whose title has them: "The Who"."""
        keys = await self._catalogue.run(harvest.titled, parsed.asked) if parsed.asked else []
        kept = []
        for shelf, fitting in fits:
            numbers = [number for key in keys if (number := shelf.number(key)) is not None]
            kept.append((shelf, fitting & document_set(numbers, shelf.segment.count)))
        return kept

    async def _as_phrased(self, parsed: Parsed, shelf: Shelf, fitting: Documents) -> Documents:
        """Keep those that have the phrases, and none that has an unwanted one."""
        if parsed.phrases:
            fitting = await self._having(parsed.phrases, shelf, fitting)
        for phrase in parsed.excluded_phrases:
            fitting &= ~await self._having([phrase], shelf, fitting)
        return fitting

    async def _having(self, phrases: Sequence[Sequence[str]], shelf: Shelf, documents: Documents) -> Documents:
        """Give those whose text has the phrases; of very many that have the words, the best are looked at."""
        weights, _ = self._weights(stems(" ".join(word for phrase in phrases for word in phrase)))
        words = self._weighted(shelf, weights)
        for word in words:
            documents &= word.postings.documents
        patterns = [_pattern(phrase) for phrase in phrases]
        best = best_by_impact(words, documents, shelf.created, PHRASE_LOOKS_MAX) if documents else []
        numbers = {shelf.segment.keys[hit.number]: hit.number for hit in best}
        texts = await self._catalogue.run(harvest.texts, list(numbers))
        having = [numbers[key] for key, text in texts if all(pattern.search(fold(text)) for pattern in patterns)]
        return document_set(having, shelf.segment.count)

    async def _reshelve(self) -> None:
        """Look at the segments again; those that are known stay as they are."""
        segments = await _in_thread(self._inverted.segments)
        known = {id(shelf.segment): shelf for shelf in self._shelves}
        shelves = []
        for segment, _ in segments:
            shelf = known.get(id(segment))
            if shelf is None:
                shelf = await self._catalogue.run(harvest.shelf, segment)
            shelves.append(shelf)
        for shelf, (_, live) in zip(shelves, segments, strict=True):
            shelf.live = live  # all at once, so that what has another text is at no moment in neither place
        self._shelves = shelves

    def _read_stamp(self) -> int | None:
        """Read up to which log position the index goes; None if it is none of ours."""
        with suppress(OSError, ValueError):
            stamp = json.loads(self._stamp.read_text(encoding="utf-8"))
            if isinstance(stamp, dict) and stamp.get("version") == VERSION and isinstance(stamp.get("position"), int):
                return int(stamp["position"])
        return None

    def _write_stamp(self, position: int) -> None:
        stamp = json.dumps({"version": VERSION, "position": position})
        write_whole(self._stamp, stamp.encode(), lasts=False)  # without it the index is made again


class SearchServer:
    """
    Answers the index's queries on the bus, and keeps it up to date. If the index turns out to be broken, `open` or
    `run` raises `IndexBroken`, and whoever opens it next makes it again.
    """

    def __init__(self, index: SearchIndex, bus: Bus, clock: Clock) -> None:
        self._index, self._bus, self._clock = index, bus, clock
        self._trouble = ""
        self._untold_s: float | None = None  # since when the service does not hear of what is new
        self._is_warm, self._answered = asyncio.Event(), asyncio.Event()
        self._in_hand = 0

    async def open(self) -> None:
        """Take in what there is, and then serve the queries: half an index would hide the other half."""
        with self._condemning():
            while self._index.position < await self._index.reached():
                await self._index.catch_up()
        for query in (Search, Spell, FindAlike):
            await self._bus.serve(query_subject(query), self._answer)

    async def wait_warm(self) -> None:
        """Wait until what is asked for most has been read; who asks before may have to wait for the disk."""
        await self._is_warm.wait()

    async def run(self) -> None:
        """Follow the catalogue for ever; tell the service of each change."""
        told = 0
        with self._condemning():
            while True:
                if self._trouble:
                    raise IndexBroken(self._trouble)
                has_more = await self._index.catch_up()
                if told != self._index.generation and await self._tell():
                    told = self._index.generation
                if not has_more and not await self._index.warm(self._give_way):
                    self._is_warm.set()
                    await self._clock.sleep(POLL_S)

    async def _give_way(self) -> None:
        """
        Let a question go before, if there is one. Beside work that never pauses it would take a hundred times as long:
        its own thread, which reads the catalogue, has to wait for the interpreter's lock after each row.
        """
        await asyncio.sleep(0)  # in which it arrives
        if self._in_hand:
            await self._answered.wait()

    @contextmanager
    def _condemning(self) -> Iterator[None]:
        try:
            yield
        except IndexBroken:
            self._index.condemn()
            raise

    async def _tell(self) -> bool:
        """Let the service know, so that it does not show old pages; say whether it heard."""
        now_ms = self._clock.now_ms()
        renewed = Renewed(self._index.generation)
        envelope = Envelope(new_id(self._clock), renewed, "search", deadline=now_ms + TELL_WAIT_MS)
        try:
            await self._bus.ask(query_subject(Renewed), envelope)
        except BusError as error:
            self._complain(renewed, error)
            return False
        self._untold_s = None
        return True

    def _complain(self, renewed: Renewed, error: BusError) -> None:
        """It is told again with the next look, so this is news only once it goes on for a while."""
        now_s = self._clock.monotonic_s()
        self._untold_s = now_s if self._untold_s is None else self._untold_s
        is_lasting = now_s - self._untold_s >= UNTOLD_S_MAX
        level = logging.WARNING if is_lasting else logging.DEBUG
        log.log(level, "the service was not told of generation %d: %r", renewed.generation, error)
        if is_lasting:
            self._untold_s = now_s

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        self._in_hand += 1
        try:
            with span("look up", str(type(envelope.message).__struct_config__.tag), parents=(envelope.trace,)):
                return Answer(await self._found(envelope.message), 0)
        except IndexBroken as error:
            self._trouble = str(error)  # what `run` ends by
            raise
        finally:
            self._in_hand -= 1
            self._answered.set()
            self._answered.clear()

    async def _found(self, query: Struct) -> Struct:
        match query:
            case Search(browse):
                return await self._index.show(browse)
            case Spell(q):
                return self._index.spell(q)
            case FindAlike(product_id, count):
                return await self._index.alike(product_id, count)
        raise AssertionError(f"not asked of the index: {query}")


def _pattern(phrase: Sequence[str]) -> re.Pattern[str]:
    """Match a phrase in a folded text: its words whole, and signs, which need no space between them."""
    edge = rf"[^\W{SIGNS}]"
    words = [re.escape(word) if re.match(f"[{SIGNS}]", word) else rf"(?<!{edge}){word}(?!{edge})" for word in phrase]
    return re.compile(r"\W*".join(words))


def _count(categories: dict[str, int], shelf: Shelf, fitting: Documents) -> None:
    for name, documents in shelf.categories.items():
        if count := (documents & fitting).bit_count():
            categories[name] = categories.get(name, 0) + count


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
