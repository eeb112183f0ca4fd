"""
Ranking: which documents fit a query, how many there are of each category, and which come first.

Works on the postings of one segment of the index, held as sets and lists that Python handles at the speed of C: a set
of documents is one integer with a bit for each; "and", "not" and counting are single operations on it. The best of
many are found without looking at all (Fagin's threshold algorithm, PODS 2001): each word's documents stand in the
order of their impact, the lists are read side by side from the top, and reading ends when nothing below can be better
than what was found.

Documents are numbered from 0 in their segment, the older ones first.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

CHECKPOINTS: Final = 64  # sets kept along an ordering; a range is one of them and at most 1/64 of the documents
SCORED_MAX: Final = 4_096  # so many fitting documents are all scored; of more, the best are searched for
STEPS_MAX: Final = 8_192  # the depth to which each word's list is read for them before all that fit are scored

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
    """The documents that a word is in: their set, their numbers in order, and what it says of each (its impact)."""

    def __init__(self, numbers: array[int], impacts: array[float], count: int) -> None:
        self._numbers, self._impacts = numbers, impacts
        self.documents = document_set(numbers, count)
        places = sorted(range(len(numbers) - 1, -1, -1), key=impacts.__getitem__, reverse=True)
        self._by_impact = array("I", places)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, about."""
        return 12 * len(self._numbers) + self.documents.bit_length() // 8

    def impact(self, number: int) -> float:
        """What the word says of this document, which it is in."""
        return self._impacts[bisect_left(self._numbers, number)]

    def best_first(self) -> Iterable[tuple[int, float]]:
        """Give (document, impact), the highest impact first, the newer document first among equals."""
        return ((self._numbers[place], self._impacts[place]) for place in self._by_impact)


class Ordering:
    """All documents by one key; sorted again, when asked, after keys have changed."""

    def __init__(self, keys: array[int]) -> None:
        self._keys = keys
        self._order = array("I", range(len(keys)))
        self._is_stale = True

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
        self._refresh()
        begin = 0 if low is None else bisect_left(self._sorted, low)
        end = len(self._sorted) if high is None else bisect_right(self._sorted, high)
        return self._first(end) & ~self._first(begin) if begin < end else 0

    def ascending(self) -> Sequence[int]:
        """Give all document numbers, the lowest key first."""
        self._refresh()
        return self._order

    def _first(self, count: int) -> Documents:
        """Give the set of the `count` documents with the lowest keys."""
        checkpoint = count // self._stride
        rest = self._order[checkpoint * self._stride : count]
        return self._checkpoints[checkpoint] | document_set(rest, len(self._keys))

    def _refresh(self) -> None:
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
    """A word of a query in one segment: its postings, and how much it counts (its inverse document frequency)."""

    postings: Postings
    weight: float


def best_by_impact(words: Sequence[Weighted], fitting: Documents, count: int, wanted: int) -> list[tuple[float, int]]:
    """Give (score, document) of the best `wanted` that fit, the best first; the newer first among equals."""
    if fitting.bit_count() <= max(SCORED_MAX, wanted):
        return _best_of(words, members(fitting, count), wanted)
    return _threshold(words, fitting, count, wanted)


def _threshold(words: Sequence[Weighted], fitting: Documents, count: int, wanted: int) -> list[tuple[float, int]]:
    """All words are in each document that fits, so whoever has read one list to its end has seen all that fit."""
    mask = fitting.to_bytes((count + 7) // 8, "little")
    best: list[tuple[float, int]] = []
    seen: set[int] = set()
    for step, row in enumerate(zip(*(word.postings.best_first() for word in words), strict=False)):
        if step == STEPS_MAX:  # the best lie too deep: looking at all that fit costs less than going on
            return _best_of(words, members(fitting, count), wanted)
        for number, _ in row:
            if number not in seen and mask[number >> 3] >> (number & 7) & 1:
                seen.add(number)
                entry = (_score(words, number), number)
                if len(best) < wanted:
                    heapq.heappush(best, entry)
                elif entry > best[0]:
                    heapq.heapreplace(best, entry)
        if len(best) == wanted:
            reachable = sum(impact * word.weight for (_, impact), word in zip(row, words, strict=True))
            if best[0][0] > reachable:
                break
    return sorted(best, reverse=True)


def _best_of(words: Sequence[Weighted], numbers: Sequence[int], wanted: int) -> list[tuple[float, int]]:
    return heapq.nlargest(wanted, ((_score(words, number), number) for number in numbers))


def _score(words: Sequence[Weighted], number: int) -> float:
    return sum(word.postings.impact(number) * word.weight for word in words)


def best_by_order(
    order: Sequence[int], key: Callable[[int], int], fitting: Documents, wanted: int, *, descending: bool
) -> list[int]:
    """Give the first `wanted` documents of an ordering that fit; among equal keys the newer one is first."""
    count = len(order)
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
