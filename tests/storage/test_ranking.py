"""Ranking: sets of documents, orderings, and that the best are those that a look at all would give."""

import random
from array import array
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.storage import ranking
from marketd.storage.ranking import (
    IMPACT_MAX,
    SCORED_MAX,
    WEIGHT_MAX,
    Documents,
    Ordering,
    Postings,
    Ranked,
    Weighted,
    best_by_impact,
    best_by_order,
    document_set,
    members,
    score,
)

COUNT = 50
numbers = st.sets(st.integers(0, COUNT - 1))
keys = st.lists(st.integers(-5, 5), min_size=1, max_size=300)


def postings(impacts: dict[int, int], count: int) -> Postings:
    documents = sorted(impacts)
    return Postings(array("I", documents), bytes(map(impacts.__getitem__, documents)), count)


def by_number(count: int) -> Ordering:
    """All documents, each newer than the one before."""
    return Ordering(array("q", range(count)))


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
    word = postings({3: 15, 7: 5, 9: 25}, 10)

    assert [15, 5, 25] == [word.impact(number) for number in (3, 7, 9)]


def test_the_documents_of_a_word_are_a_set() -> None:
    word = postings({3: 15, 7: 5}, 10)

    assert (2, [3, 7]) == (len(word), members(word.documents, 10))


def test_all_that_a_word_says_can_be_gone_through() -> None:
    assert [(3, 15), (7, 5)] == list(postings({7: 5, 3: 15}, 10))


def test_a_word_in_many_documents_says_the_same_bit_by_bit() -> None:
    impacts = {number: number % 255 + 1 for number in range(0, 3 * SCORED_MAX, 2)}
    word = postings(impacts, 3 * SCORED_MAX)

    assert impacts == {n: sum((plane >> n & 1) << bit for bit, plane in enumerate(word.planes)) for n in impacts}


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


def all_scored(words: Sequence[Weighted], fitting: Documents, ages: Ordering) -> list[Ranked]:
    """Score all that fit, the best first and the newer first among equals."""
    numbers = members(fitting, len(ages))
    return sorted((Ranked(score(words, number), ages.key(number), number) for number in numbers), reverse=True)


def some_words(seed: int, count: int, shares: Sequence[float], levels: int) -> tuple[list[Weighted], Documents]:
    """Words that are in such shares of all documents, with so many different impacts; and what has them all."""
    chance = random.Random(seed)
    words, fitting = [], (1 << count) - 1
    for share in shares:
        chosen = chance.sample(range(count), int(count * share))
        impacts = {number: chance.randint(1, levels) for number in chosen}
        words.append(Weighted(postings(impacts, count), chance.randint(1, WEIGHT_MAX)))
        fitting &= words[-1].postings.documents
    return words, fitting


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.lists(st.sampled_from([0.1, 0.5, 1.0]), min_size=1, max_size=3), st.integers(1, 30))
def test_the_best_of_few_are_those_of_all(seed: int, shares: list[float], wanted: int) -> None:
    words, fitting = some_words(seed, 200, shares, levels=6)

    assert all_scored(words, fitting, by_number(200))[:wanted] == best_by_impact(words, fitting, by_number(200), wanted)


@pytest.mark.parametrize("wanted", [1, 20, 500, 5_000])
@pytest.mark.parametrize("shares", [[1.0], [0.9], [0.9, 0.8], [0.95, 0.9, 0.85], [1.0] * 32], ids=str)
@pytest.mark.parametrize("levels", [1, 3, IMPACT_MAX])
def test_the_best_of_many_are_those_of_all(wanted: int, shares: list[float], levels: int) -> None:
    count = 4 * SCORED_MAX
    words, fitting = some_words(7, count, shares, levels)
    assert fitting.bit_count() > SCORED_MAX

    assert all_scored(words, fitting, by_number(count))[:wanted] == best_by_impact(
        words, fitting, by_number(count), wanted
    )


def test_among_many_equals_the_newest_come_first() -> None:
    count = 3 * SCORED_MAX
    words = [Weighted(postings(dict.fromkeys(range(count), 1), count), 1)]
    ages = Ordering(array("q", range(count, 0, -1)))  # the newest has the lowest number
    best = best_by_impact(words, (1 << count) - 1, ages, 5)

    assert [(1, count - n, n) for n in range(5)] == best


def test_pages_of_equals_lie_side_by_side() -> None:
    chance, count = random.Random(3), 3 * SCORED_MAX
    words = [Weighted(postings(dict.fromkeys(range(count), 1), count), 1)]
    ages = Ordering(array("q", (chance.randrange(50) for _ in range(count))))

    far = best_by_impact(words, (1 << count) - 1, ages, 1_000)
    assert all(far[:wanted] == best_by_impact(words, (1 << count) - 1, ages, wanted) for wanted in range(1, 100))


def test_the_best_by_two_words_need_be_the_best_by_neither() -> None:
    """Two words that disagree: the best by both stand in the middle of either list."""
    count = 30_000
    rising = {number: 1 + number * 100 // count for number in range(count)}
    falling = {number: 101 - number * 100 // count for number in range(count)}
    middle = count // 2
    rising[middle] = falling[middle] = 90
    words = [Weighted(postings(rising, count), 1), Weighted(postings(falling, count), 1)]
    best = best_by_impact(words, (1 << count) - 1, by_number(count), 1)

    assert [middle] == [number for _, _, number in best]


def test_without_a_word_the_newest_are_the_best() -> None:
    count = 3 * SCORED_MAX

    assert [(0, count - 1, count - 1)] == best_by_impact([], (1 << count) - 1, by_number(count), 1)


def test_fewer_may_fit_than_are_wanted() -> None:
    count = 3 * SCORED_MAX
    words = [Weighted(postings(dict.fromkeys(range(count), 1), count), 1)]

    assert [(1, 9, 9), (1, 2, 2)] == best_by_impact(words, document_set([2, 9], count), by_number(count), 20)


def test_a_last_page_may_be_deeper_than_what_there_is() -> None:
    count = SCORED_MAX + 100
    words, fitting = some_words(3, count, [1.0], levels=9)

    assert all_scored(words, fitting, by_number(count)) == best_by_impact(words, fitting, by_number(count), 10 * count)


@given(st.lists(st.lists(st.integers(0, 1000), min_size=8, max_size=8), min_size=1, max_size=5))
def test_sums_of_all_documents_are_those_of_each(numbers_of_each: list[list[int]]) -> None:
    sums: list[Documents] = []
    for of_each in numbers_of_each:
        planes = [sum((n >> bit & 1) << place for place, n in enumerate(of_each)) for bit in range(10)]
        sums = ranking._added(sums, planes)

    found = [sum((plane >> place & 1) << bit for bit, plane in enumerate(sums)) for place in range(8)]
    assert [sum(column) for column in zip(*numbers_of_each, strict=True)] == found


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

    found = best_by_order(ordering, fitting, wanted, descending=descending)
    assert in_order(given_keys, fitting, descending=descending)[:wanted] == found


@pytest.mark.parametrize("fitting", [1, 3, 20, 2_000, 5_000])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("wanted", [1, 20, 1_000, 10_000])
def test_the_first_of_many_by_an_order_are_those_of_all(fitting: int, descending: bool, wanted: int) -> None:
    chance = random.Random(fitting)
    all_keys = [chance.randrange(50) for _ in range(5_000)]
    ordering = Ordering(array("q", all_keys))
    documents = document_set(chance.sample(range(5_000), fitting), 5_000)

    found = best_by_order(ordering, documents, wanted, descending=descending)
    assert in_order(all_keys, documents, descending=descending)[:wanted] == found


def test_of_nothing_nothing_is_first() -> None:
    assert [] == best_by_order(Ordering(array("q")), 0, 5, descending=True)
