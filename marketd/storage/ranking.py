"""
Ranking: which documents fit a query, how many there are of each category, and which come first.

Works on the postings of one segment of the index, held as sets that Python handles at the speed of C: a set of
documents is one integer with a bit for each; "and", "not" and counting are single operations on it. What a word says of
a document, its impact, is a small number (Anh and Moffat, SIGIR 2001), and the impacts of all documents are as many
sets as it has bits: adding words up and finding the highest sums takes some dozens of operations on sets, however many
documents fit (Rinfret, O'Neil and O'Neil, "Bit-sliced index arithmetic", SIGMOD 2001).

Documents are numbered from 0 in their segment.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

CHECKPOINTS: Final = 64  # sets kept along an ordering; a range is one of them and at most 1/64 of the documents
SCORED_MAX: Final = 2_048  # so many fitting documents are scored one by one; of more, all at once
IMPACT_BITS: Final = 8
IMPACT_MAX: Final = (1 << IMPACT_BITS) - 1
WEIGHT_MAX: Final = 16

_PLANES: Final = [bytes(48 + (impact >> bit & 1) for impact in range(256)) for bit in range(IMPACT_BITS)]

Documents = int


def document_set(numbers: Iterable[int], count: int) -> Documents:
    """Make a set of document numbers, each below `count`."""
    bits = bytearray((count + 7) // 8)
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(bits, "little")


def members(documents: Documents, count: int) -> list[int]:
    """Give the numbers in a set, in order."""
    found = []
    for index, byte in enumerate(documents.to_bytes((count + 7) // 8, "little")):
        if byte:
            found += [index * 8 + bit for bit in range(8) if byte >> bit & 1]
    return found


class Postings:
    """
    The documents that a word is in: their set, their numbers in order, and what it says of each (its impact); of a word
    in many documents also its impacts as sets.
    """

    def __init__(self, numbers: array[int], impacts: bytes, count: int) -> None:
        self._numbers, self._impacts, self._count = numbers, impacts, count
        self.documents = document_set(numbers, count)
        self.planes = self._sliced() if len(numbers) > SCORED_MAX else []

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        return 5 * len(self) + (1 + len(self.planes)) * self._count // 8

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give (document, impact)."""
        return zip(self._numbers, self._impacts, strict=True)

    def impact(self, number: int) -> int:
        """What the word says of this document, which it is in."""
        return self._impacts[bisect_left(self._numbers, number)]

    def _sliced(self) -> list[Documents]:
        """Give the documents whose impact has this bit, for each bit, the lowest first."""
        impacts = bytearray(self._count)
        for number, impact in self:
            impacts[number] = impact
        impacts.reverse()
        return [int(impacts.translate(digits), 2) for digits in _PLANES]


class Ordering:
    """All documents by one key; sorted again, when asked, after keys have changed."""

    def __init__(self, keys: array[int]) -> None:
        self._keys = keys
        self._order = array("I", range(len(keys)))
        self._is_stale = True

    def __len__(self) -> int:
        return len(self._keys)

    def change(self, number: int, key: int) -> None:
        """Give a document another key."""
        if self._keys[number] != key:
            self._keys[number] = key
            self._is_stale = True

    def key(self, number: int) -> int:
        """Say by what a document is ordered."""
        return self._keys[number]

    def between(self, low: int | None, high: int | None) -> Documents:
        """Give the set of documents whose key is not below `low` and not above `high`."""
        self.refresh()
        begin = 0 if low is None else bisect_left(self._sorted, low)
        end = len(self._sorted) if high is None else bisect_right(self._sorted, high)
        return self._first(end) & ~self._first(begin) if begin < end else 0

    def ascending(self) -> Sequence[int]:
        """Give all document numbers, the lowest key first."""
        self.refresh()
        return self._order

    def _first(self, count: int) -> Documents:
        """Give the set of the `count` documents with the lowest keys."""
        checkpoint = count // self._stride
        rest = self._order[checkpoint * self._stride : count]
        return self._checkpoints[checkpoint] | document_set(rest, len(self._keys))

    def refresh(self) -> None:
        """Sort again if a key has changed; who asks for an order does it too, but then waits for it."""
        if not self._is_stale:
            return
        count = len(self._keys)
        self._order = array("I", sorted(self._order, key=self._keys.__getitem__))
        self._sorted = array("q", map(self._keys.__getitem__, self._order))
        self._stride = max(1, count // CHECKPOINTS)
        self._checkpoints = [0]
        for begin in range(0, count, self._stride):
            piece = document_set(self._order[begin : begin + self._stride], count)
            self._checkpoints.append(self._checkpoints[-1] | piece)
        self._is_stale = False


class Weighted(NamedTuple):
    """A word of a query in one segment: its postings, and how much it counts, up to `WEIGHT_MAX`."""

    postings: Postings
    weight: int


class Ranked(NamedTuple):
    """A document with what it is ordered by: its score, then how new it is."""

    score: int
    created_at: int
    number: int


def best_by_impact(words: Sequence[Weighted], fitting: Documents, ages: Ordering, wanted: int) -> list[Ranked]:
    """Give the best `wanted` of those that fit, each of which has all words; the newer first among equals."""
    if fitting.bit_count() <= max(SCORED_MAX, wanted):
        numbers = members(fitting, len(ages))
    else:
        better, equal = _highest(_sums(words), fitting, wanted)
        newest = best_by_order(ages, equal, wanted - better.bit_count(), descending=True)
        numbers = members(better, len(ages)) + newest
    return heapq.nlargest(wanted, (Ranked(score(words, number), ages.key(number), number) for number in numbers))


def score(words: Sequence[Weighted], number: int) -> int:
    """Say how well a document fits, which has all words."""
    return sum(word.postings.impact(number) * word.weight for word in words)


def _sums(words: Sequence[Weighted]) -> list[Documents]:
    """Add up what all words say, bit by bit: a word that counts five times is added as it is, and shifted by two."""
    sums: list[Documents] = []
    for postings, weight in words:
        for shift in range(weight.bit_length()):
            if weight >> shift & 1:
                sums = _added(sums, [0] * shift + postings.planes)
    return sums


def _added(ones: Sequence[Documents], others: Sequence[Documents]) -> list[Documents]:
    """Add numbers bit by bit, all documents at once."""
    sums, carry = [], 0
    for one, other in zip_longest(ones, others, fillvalue=0):
        either = one ^ other
        sums.append(either ^ carry)
        carry = one & other | either & carry
    return [*sums, carry]


def _highest(sums: Sequence[Documents], fitting: Documents, wanted: int) -> tuple[Documents, Documents]:
    """Give those that are among the highest `wanted` for sure, and those of the lowest sum that is among them."""
    better, equal = 0, fitting
    for bit in reversed(sums):
        high = equal & bit
        if better.bit_count() + high.bit_count() >= wanted:
            equal = high
        else:
            better |= high
            equal ^= high
    return better, equal


def best_by_order(ordering: Ordering, fitting: Documents, wanted: int, *, descending: bool) -> list[int]:
    """Give the first `wanted` documents of an ordering that fit; among equal keys the higher number is first."""
    order, key, count = ordering.ascending(), ordering.key, len(ordering)
    sign = -1 if descending else 1
    if fitting.bit_count() * CHECKPOINTS <= count:
        return heapq.nsmallest(wanted, members(fitting, count), key=lambda number: (sign * key(number), -number))
    mask = fitting.to_bytes((count + 7) // 8, "little")
    found: list[int] = []
    last_key = None
    for number in reversed(order) if descending else order:
        if len(found) >= wanted and key(number) != last_key:
            break
        if mask[number >> 3] >> (number & 7) & 1:
            found.append(number)
            last_key = key(number)
    return heapq.nsmallest(wanted, found, key=lambda number: (sign * key(number), -number))
