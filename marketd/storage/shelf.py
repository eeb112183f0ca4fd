"""
Shelves: what a query asks for, and what there is of each product beside its words.

A shelf stands beside each segment of the index and holds, under the segment's document numbers, what products cost, how
they are rated and how often they were sold; so a rating or a sale changes a number in memory and no file.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from marketd.clock import pack_id, unpack_id
from marketd.storage.catalog import BrowseProducts, Sort
from marketd.storage.database import Row
from marketd.storage.inverted import Segment, folded, stems
from marketd.storage.ranking import (
    Documents,
    Ordering,
    Weighted,
    best_by_impact,
    best_by_order,
    document_set,
)
from marketd.storage.ranking import score as score_of

QUERY_WORDS_MAX: Final = 32
MILLION: Final = 1_000_000
REVIEWS_BITS: Final = 20


class Parsed(NamedTuple):
    """
    A query's text, folded: stemmed words that must be there and that must not, phrases that must and must not, and
    what was asked for before stop words were left out.
    """

    words: list[str]
    excluded: list[str]
    phrases: list[list[str]]
    excluded_phrases: list[list[str]]
    asked: list[str]
    is_empty: bool


def parse(q: str) -> Parsed:
    """Read a query as a shop's users write it: words, "phrases in quotes", -without, -"not so"."""
    quoted = [(sign, folded(phrase)) for sign, phrase in re.findall(r'((?<!\S)-)?"([^"]*)"', q)]
    phrases = [phrase for sign, phrase in quoted if not sign]
    unwanted = [phrase for sign, phrase in quoted if sign]
    rest = re.sub(r'((?<!\S)-)?"[^"]*"', " ", q).replace('"', " ")
    lone = [phrase[0] for phrase in unwanted if len(phrase) == 1]
    excluded = stems(" ".join(re.findall(r"(?<!\S)-(\S+)", rest) + lone))
    asked = folded(re.sub(r"(?<!\S)-\S+", " ", rest)) + [word for phrase in phrases for word in phrase]
    return Parsed(
        stems(" ".join(asked))[:QUERY_WORDS_MAX],
        excluded[:QUERY_WORDS_MAX],
        _long(phrases),
        _long(unwanted),
        asked[:QUERY_WORDS_MAX],
        is_empty=not q.strip(),
    )


def _long(phrases: Iterable[list[str]]) -> list[list[str]]:
    """Keep the phrases of several words, as many as a query may have."""
    return [phrase[:QUERY_WORDS_MAX] for phrase in phrases if len(phrase) > 1][:QUERY_WORDS_MAX]


def rating_key(points: int, reviews: int) -> int:
    """Order by the mean, then by the number of reviews; 0 where there is none."""
    if not reviews:
        return 0
    return (points * MILLION // reviews << REVIEWS_BITS) | min(reviews, (1 << REVIEWS_BITS) - 1)


class Shelf:
    """One segment's products: what can be filtered and ordered by, under the segment's document numbers."""

    def __init__(self, segment: Segment, facts: Iterable[Row]) -> None:
        self.segment, count = segment, segment.count
        self.live: Documents = 0  # those that are not deleted
        self.is_warm = False  # whether its frequent words were read ahead
        self._places = array("I", sorted(range(count), key=segment.keys.__getitem__))
        self._sorted_keys = array("q", map(segment.keys.__getitem__, self._places))
        self._ids = bytearray(16 * count)
        self._sellers: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
        categories: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
        columns = [array("q", bytes(8 * count)) for _ in range(4)]
        for key, product_id, seller_id, category, thousandths, created_at, points, reviews, orders in facts:
            number = self.number(key)
            if number is None:
                continue
            self._ids[16 * number : 16 * number + 16] = pack_id(product_id)
            self._sellers[seller_id].append(number)
            categories[category].append(number)
            for column, value in zip(
                columns, (thousandths, created_at, rating_key(points, reviews), orders), strict=True
            ):
                column[number] = value
        self.categories = {name: document_set(numbers, count) for name, numbers in categories.items()}
        self.price, self.created, self.rating, self.sold = (Ordering(column) for column in columns)

    def number(self, key: int) -> int | None:
        """Find a product's document; None where it is not in here, or no longer."""
        place = bisect_left(self._sorted_keys, key)
        if place == len(self._sorted_keys) or self._sorted_keys[place] != key:
            return None
        return self._places[place]

    def product_id(self, number: int) -> str:
        """Say which product a document is."""
        return unpack_id(bytes(self._ids[16 * number : 16 * number + 16]))

    def fitting(self, parsed: Parsed, query: BrowseProducts) -> Documents:
        """Give the set of documents that fit everything but phrases."""
        documents = self.live
        for stem in parsed.words:
            postings = self.segment.word(stem)
            documents &= postings.documents if postings else 0
        for stem in parsed.excluded:
            if postings := self.segment.word(stem):
                documents &= ~postings.documents
        if query.category is not None:
            documents &= self.categories.get(query.category, 0)
        if query.seller is not None:
            documents &= document_set(self._sellers.get(query.seller, ()), self.segment.count)
        if query.lowest is not None or query.highest is not None:
            documents &= self.price.between(query.lowest, query.highest)
        if query.min_rating is not None:
            lowest = int(query.min_rating * MILLION) << REVIEWS_BITS
            documents &= self.rating.between(max(1, lowest), None)
        return documents

    def best(self, query: BrowseProducts, words: Sequence[Weighted], fitting: Documents, wanted: int) -> Iterable[Hit]:
        """Give the first `wanted` that fit, in the query's order."""
        if query.sort == "relevance" and words:
            for score, created_at, number in best_by_impact(words, fitting, self.created, wanted):
                yield Hit(score, created_at, self, number, score)
            return
        ordering, descending = self._orderings[query.sort](self)
        for number in best_by_order(ordering, fitting, wanted, descending=descending):
            key = ordering.key(number)
            yield Hit(key if descending else -key, self.created.key(number), self, number, score_of(words, number))

    _orderings: Final[dict[Sort, Callable[[Shelf], tuple[Ordering, bool]]]] = {
        "relevance": lambda shelf: (shelf.created, True),
        "newest": lambda shelf: (shelf.created, True),
        "price": lambda shelf: (shelf.price, False),
        "-price": lambda shelf: (shelf.price, True),
        "rating": lambda shelf: (shelf.rating, True),
        "bestselling": lambda shelf: (shelf.sold, True),
    }


class Hit(NamedTuple):
    """A document found: what it is ordered by, how new it is, where it is, and its score."""

    rank: int
    created_at: int
    shelf: Shelf
    number: int
    score: int
