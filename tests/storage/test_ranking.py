"""Ranking: sets of documents, orderings, and that the best are those that a look at all would give."""

import random
from array import array
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.storage import ranking
from marketd.storage.ranking import (
    SCORED_MAX,
    Documents,
    Ordering,
    Postings,
    Weighted,
    best_by_impact,
    best_by_order,
    document_set,
    members,
)

COUNT = 50
numbers = st.sets(st.integers(0, COUNT - 1))
keys = st.lists(st.integers(-5, 5), min_size=1, max_size=300)


def postings(impacts: dict[int, float], count: int) -> Postings:
    documents = sorted(impacts)
    return Postings(array("I", documents), array("f", map(impacts.__getitem__, documents)), count)


# Sets.


@given(numbers)
def test_a_set_has_the_members_that_it_was_made_of(chosen: set[int]) -> None:
    assert sorted(chosen) == members(document_set(chosen, COUNT), COUNT)


@given(numbers, numbers)
def test_sets_are_cut_and_counted_like_sets(one: set[int], other: set[int]) -> None:
    both = document_set(one, COUNT) & ~document_set(other, COUNT)

    assert (sorted(one - other), len(one - other)) == (members(both, COUNT), both.bit_count())


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 65])
def test_a_segment_may_be_of_any_size(count: int) -> None:
    assert list(range(count)) == members(document_set(range(count), count), count)


# Postings.


def test_a_word_says_of_each_document_what_it_was_told() -> None:
    word = postings({3: 1.5, 7: 0.5, 9: 2.5}, 10)

    assert [1.5, 0.5, 2.5] == [word.impact(number) for number in (3, 7, 9)]


def test_the_documents_of_a_word_are_a_set() -> None:
    word = postings({3: 1.5, 7: 0.5}, 10)

    assert (2, [3, 7]) == (len(word), members(word.documents, 10))


def test_the_documents_of_a_word_stand_by_impact_and_the_newer_first_among_equals() -> None:
    word = postings({0: 1.0, 1: 2.0, 2: 1.0, 3: 2.0, 4: 0.5}, 5)

    assert [(3, 2.0), (1, 2.0), (2, 1.0), (0, 1.0), (4, 0.5)] == list(word.best_first())


# Orderings.


@given(keys, st.none() | st.integers(-7, 7), st.none() | st.integers(-7, 7))
def test_a_range_holds_what_lies_within_its_bounds(given_keys: list[int], low: int | None, high: int | None) -> None:
    ordering = Ordering(array("q", given_keys))
    expected = [
        number for number, key in enumerate(given_keys) if (low is None or key >= low) and (high is None or key <= high)
    ]

    assert expected == members(ordering.between(low, high), len(given_keys))


@given(keys, st.lists(st.tuples(st.integers(0, 299), st.integers(-5, 5)), max_size=20))
def test_after_keys_have_changed_an_ordering_is_as_if_made_anew(
    given_keys: list[int], changes: list[tuple[int, int]]
) -> None:
    changed = Ordering(array("q", given_keys))
    changed.ascending()
    fresh = list(given_keys)
    for number, key in changes:
        changed.change(number % len(fresh), key)
        fresh[number % len(fresh)] = key

    count = len(fresh)
    assert [sum(k <= limit for k in fresh) for limit in range(-5, 6)] == [
        changed.between(None, limit).bit_count() for limit in range(-5, 6)
    ]
    assert sorted(fresh) == [changed.key(number) for number in changed.ascending()]
    assert list(range(count)) == sorted(changed.ascending())


@pytest.mark.parametrize("count", [1, 63, 64, 65, 127, 128, 1000])
def test_ranges_are_right_whatever_the_number_of_documents(count: int) -> None:
    ordering = Ordering(array("q", range(count)))
    bounds = [(low, high) for low in (0, count // 3, count - 1) for high in (0, count // 2, count - 1)]

    assert [list(range(low, high + 1)) for low, high in bounds] == [
        members(ordering.between(low, high), count) for low, high in bounds
    ]


def test_a_range_may_lie_beyond_all_keys() -> None:
    ordering = Ordering(array("q", [1, 2, 3]))

    assert [0, 0, 0] == [ordering.between(4, None), ordering.between(None, 0), ordering.between(3, 1)]


# The best by impact.


def all_scored(words: Sequence[Weighted], fitting: Documents, count: int) -> list[tuple[float, int]]:
    """Score all that fit, the best first and the newer first among equals."""
    scored = [
        (sum(word.postings.impact(number) * word.weight for word in words), number)
        for number in members(fitting, count)
    ]
    return sorted(scored, reverse=True)


def some_words(seed: int, count: int, shares: Sequence[float], levels: int) -> tuple[list[Weighted], Documents]:
    """Words that are in such shares of all documents, with so many different impacts; and what has them all."""
    chance = random.Random(seed)
    words, fitting = [], (1 << count) - 1
    for share in shares:
        chosen = chance.sample(range(count), int(count * share))
        words.append(
            Weighted(postings({n: chance.randint(1, levels) / 4 for n in chosen}, count), chance.choice([0.5, 1.25, 3]))
        )
        fitting &= words[-1].postings.documents
    return words, fitting


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.lists(st.sampled_from([0.1, 0.5, 1.0]), min_size=1, max_size=3), st.integers(1, 30))
def test_the_best_of_few_are_those_of_all(seed: int, shares: list[float], wanted: int) -> None:
    words, fitting = some_words(seed, 200, shares, levels=6)

    assert all_scored(words, fitting, 200)[:wanted] == best_by_impact(words, fitting, 200, wanted)


@pytest.mark.parametrize("wanted", [1, 20, 500, 5_000])
@pytest.mark.parametrize("shares", [[1.0], [0.9], [0.9, 0.8], [0.95, 0.9, 0.85]], ids=str)
@pytest.mark.parametrize("levels", [3, 10**6])
def test_the_best_of_many_are_those_of_all(wanted: int, shares: list[float], levels: int) -> None:
    count = 4 * SCORED_MAX
    words, fitting = some_words(7, count, shares, levels)
    assert fitting.bit_count() > SCORED_MAX

    assert all_scored(words, fitting, count)[:wanted] == best_by_impact(words, fitting, count, wanted)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 10**6),
    st.lists(st.sampled_from([0.3, 0.6, 1.0]), min_size=1, max_size=3),
    st.integers(1, 40),
    st.integers(1, 5),
)
def test_the_threshold_changes_nothing(seed: int, shares: list[float], wanted: int, levels: int) -> None:
    count = 300
    words, fitting = some_words(seed, count, shares, levels)

    found = ranking._threshold(words, fitting, count, wanted)
    assert all_scored(words, fitting, count)[:wanted] == found


def test_among_many_equals_the_newest_come_first() -> None:
    count = 3 * SCORED_MAX
    words = [Weighted(postings(dict.fromkeys(range(count), 1.0), count), 1.0)]
    best = best_by_impact(words, (1 << count) - 1, count, 5)

    assert [(1.0, count - n) for n in range(1, 6)] == best


def test_what_fits_may_lie_below_all_that_is_read() -> None:
    count = 4 * SCORED_MAX
    impacts = {number: float(count - number) for number in range(count)}
    words = [Weighted(postings(impacts, count), 1.0)]
    fitting = document_set(range(count - SCORED_MAX - 1, count), count)

    assert all_scored(words, fitting, count)[:10] == best_by_impact(words, fitting, count, 10)


def test_the_best_by_two_words_need_be_the_best_by_neither() -> None:
    """Two words that disagree: the best by both stand in the middle of either list."""
    count = 30_000
    rising = {number: 1.0 + number / count for number in range(count)}
    falling = {number: 2.0 - number / count for number in range(count)}
    middle = count // 2
    rising[middle] = falling[middle] = 1.9
    words = [Weighted(postings(rising, count), 1.0), Weighted(postings(falling, count), 1.0)]
    best = best_by_impact(words, (1 << count) - 1, count, 1)

    assert [middle] == [number for _, number in best]


def test_fewer_may_fit_than_are_wanted() -> None:
    count = 3 * SCORED_MAX
    words = [Weighted(postings(dict.fromkeys(range(count), 1.0), count), 1.0)]

    assert [(1.0, 9), (1.0, 2)] == best_by_impact(words, document_set([2, 9], count), count, 20)


def test_a_last_page_may_be_deeper_than_what_there_is() -> None:
    count = SCORED_MAX + 100
    words, fitting = some_words(3, count, [1.0], levels=9)

    assert all_scored(words, fitting, count) == best_by_impact(words, fitting, count, 10 * count)


# The first by an order.


def in_order(all_keys: Sequence[int], fitting: Documents, *, descending: bool) -> list[int]:
    sign = -1 if descending else 1
    return sorted(members(fitting, len(all_keys)), key=lambda number: (sign * all_keys[number], -number))


@given(keys, st.integers(0, 2**300), st.integers(0, 40), st.booleans())
def test_the_first_by_an_order_are_those_of_all(
    given_keys: list[int], chosen: int, wanted: int, descending: bool
) -> None:
    count = len(given_keys)
    ordering, fitting = Ordering(array("q", given_keys)), chosen & ((1 << count) - 1)

    found = best_by_order(ordering.ascending(), ordering.key, fitting, wanted, descending=descending)
    assert in_order(given_keys, fitting, descending=descending)[:wanted] == found


@pytest.mark.parametrize("fitting", [1, 3, 20, 2_000, 5_000])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("wanted", [1, 20, 1_000, 10_000])
def test_the_first_of_many_by_an_order_are_those_of_all(fitting: int, descending: bool, wanted: int) -> None:
    chance = random.Random(fitting)
    all_keys = [chance.randrange(50) for _ in range(5_000)]
    ordering = Ordering(array("q", all_keys))
    documents = document_set(chance.sample(range(5_000), fitting), 5_000)

    found = best_by_order(ordering.ascending(), ordering.key, documents, wanted, descending=descending)
    assert in_order(all_keys, documents, descending=descending)[:wanted] == found


def test_of_nothing_nothing_is_first() -> None:
    assert [] == best_by_order([], [].__getitem__, 0, 5, descending=True)
