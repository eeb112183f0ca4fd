"""The bookkeeping of webhooks: what waits, what was tried, and how far the log was followed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.storage.deliveries import (
    AT_ONCE,
    ATTEMPTS_KEPT_MAX,
    SPAN_RECORDS,
    Backlog,
    Book,
    Deliveries,
    Due,
    Heard,
    Message,
    Tried,
)
from marketd.storage.enquiries import Attempt, Delivery, ListDeliveries, Source, State
from marketd.storage.pages import Page

pytestmark = pytest.mark.asyncio

NOW = 1_700_000_000_000
REFUSED = Attempt(NOW, 12, 500, None, b"sorry")
TAKEN = Attempt(NOW + 1, 8, 200, None, b"thanks")


@pytest_asyncio.fixture
async def deliveries(tmp_path: Path) -> AsyncIterator[Deliveries]:
    async with Deliveries(tmp_path / "webhooks.db") as deliveries:
        await deliveries.book(0)
        yield deliveries


def message(key: str, webhook_id: str = "w1", at: int = NOW, source: Source = "event") -> Message:
    return Message(key, webhook_id, f"m-{key}", "order.paid", source, at, b'{"a":1}')


def heard(
    position: int = 1,
    *messages: Message,
    boards: dict[str, bytes] | None = None,
    gone: tuple[str, ...] = (),
    renewed: tuple[str, ...] = (),
    spans: dict[int, tuple[int, int]] | None = None,
) -> Heard:
    return Heard(position, boards or {}, gone, renewed, messages, spans or {}, NOW + 500)


def tried(
    key: str,
    state: State,
    attempt: Attempt = REFUSED,
    next_at: int | None = None,
    counts: bool = True,
    step: int = 0,
) -> Tried:
    return Tried("w1", key, step, attempt, state, next_at, counts)


async def ids_due(
    deliveries: Deliveries, now_ms: int = NOW, webhook_id: str = "w1", only_tests: bool = False
) -> list[str]:
    return [due.delivery_id for due in await deliveries.due(webhook_id, now_ms, 10, only_tests=only_tests)]


async def found(deliveries: Deliveries, key: str) -> Delivery:
    delivery = await deliveries.find("w1", key)
    assert delivery is not None
    return delivery


# How far the log was followed.


async def test_a_new_file_begins_where_the_log_is(tmp_path: Path) -> None:
    async with Deliveries(tmp_path / "webhooks.db") as deliveries:
        assert Book(0, 7, {}, [], []) == await deliveries.book(7)


async def test_what_was_taken_in_is_known_at_the_next_start(tmp_path: Path) -> None:
    async with Deliveries(tmp_path / "webhooks.db") as deliveries:
        await deliveries.book(3)
        await deliveries.take(heard(9, message("d1"), boards={"ann": b"{}"}))

    async with Deliveries(tmp_path / "webhooks.db") as deliveries:
        assert Book(9, 3, {"ann": b"{}"}, ["w1"], []) == await deliveries.book(20)


async def test_of_a_log_that_is_shorter_than_what_was_followed_nothing_is_known(deliveries: Deliveries) -> None:
    """A backup was restored: its records have other positions from here on."""
    await deliveries.take(heard(9, message("d1"), boards={"ann": b"{}"}, spans={0: (1, 2)}))

    assert Book(0, 5, {}, [], []) == await deliveries.book(5)


async def test_what_is_taken_in_twice_is_there_once(deliveries: Deliveries) -> None:
    for _ in range(2):
        await deliveries.take(heard(1, message("d1")))

    assert ["d1"] == await ids_due(deliveries)


# What is due.


async def test_what_waits_longest_comes_first(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1", at=NOW), message("d2", at=NOW - 1), message("d3", at=NOW + 1)))

    assert ["d2", "d1"] == await ids_due(deliveries)


async def test_what_is_due_is_given_with_its_body(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))

    assert [Due("d1", "m-d1", "event", 0, b'{"a":1}')] == await deliveries.due("w1", NOW, 1, only_tests=False)


async def test_each_endpoint_has_its_own_queue(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1"), message("d2", "w2")))

    assert ["d2"] == await ids_due(deliveries, webhook_id="w2")


async def test_it_is_known_when_something_is_due_next(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1", at=NOW + 5), message("d2", at=NOW + 3)))

    assert NOW + 3 == await deliveries.next_at("w1", only_tests=False)


async def test_where_nothing_waits_nothing_is_due_ever(deliveries: Deliveries) -> None:
    assert None is await deliveries.next_at("w1", only_tests=False)


async def test_a_test_comes_before_all_that_waits(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1", at=NOW - 99)))
    await deliveries.add([message("t1", source="test")])

    assert (["t1", "d1"], ["t1"]) == (await ids_due(deliveries), await ids_due(deliveries, only_tests=True))


async def test_what_was_added_before_is_not_added_again(deliveries: Deliveries) -> None:
    first = await deliveries.add([message("d1"), message("d2")])

    assert (2, 1) == (first, await deliveries.add([message("d2"), message("d3")]))


async def test_nothing_is_added_of_nothing(deliveries: Deliveries) -> None:
    assert 0 == await deliveries.add([])


async def test_it_is_counted_how_many_wait(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, *(message(f"d{n}") for n in range(3))))
    await deliveries.note(tried("d0", "delivered", TAKEN))

    assert 2 == await deliveries.waiting("w1")


# What was tried.


async def test_an_attempt_is_on_record(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))
    await deliveries.note(tried("d1", "pending", next_at=NOW + 5_000))
    await deliveries.note(tried("d1", "delivered", TAKEN))
    delivery = await found(deliveries, "d1")

    assert ("delivered", 2, None, (REFUSED, TAKEN)) == (
        delivery.state,
        delivery.attempt_count,
        delivery.next_at,
        delivery.attempts,
    )


async def test_what_was_refused_is_due_when_its_pause_is_over(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))
    await deliveries.note(tried("d1", "pending", next_at=NOW + 5_000))

    assert ([], ["d1"]) == (await ids_due(deliveries, NOW + 4_999), await ids_due(deliveries, NOW + 5_000))


async def test_it_is_known_since_when_an_endpoint_takes_nothing(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1"), message("d2")))
    await deliveries.note(tried("d1", "pending", next_at=NOW))
    later = Attempt(NOW + 900, 1, None, "it hangs", b"")

    assert NOW == await deliveries.note(tried("d2", "failed", later))


async def test_it_is_known_at_the_next_start_who_takes_nothing(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))
    await deliveries.note(tried("d1", "pending", next_at=NOW))

    assert ["w1"] == (await deliveries.book(9)).failing


async def test_one_success_ends_that(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1"), message("d2")))
    await deliveries.note(tried("d1", "pending", next_at=NOW))

    assert None is await deliveries.note(tried("d2", "delivered", TAKEN))


async def test_a_test_says_nothing_of_that(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1"), message("d2")))
    await deliveries.note(tried("d1", "pending", next_at=NOW))
    await deliveries.note(tried("d2", "delivered", TAKEN, counts=False))

    assert NOW == await deliveries.note(tried("d1", "pending", next_at=NOW))


async def test_only_so_many_attempts_of_one_delivery_are_kept(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))
    for _ in range(ATTEMPTS_KEPT_MAX + 5):
        await deliveries.note(tried("d1", "pending", next_at=NOW))
    delivery = await found(deliveries, "d1")

    assert (ATTEMPTS_KEPT_MAX, ATTEMPTS_KEPT_MAX + 5) == (len(delivery.attempts), delivery.attempt_count)


async def test_an_attempt_at_what_is_gone_is_of_nobodys_interest(deliveries: Deliveries) -> None:
    assert None is await deliveries.note(tried("d1", "failed"))


# By hand, and anew.


@pytest.mark.parametrize("state", ["delivered", "failed", "pending"])
async def test_whatever_became_of_it_it_can_be_sent_again(deliveries: Deliveries, state: State) -> None:
    await deliveries.take(heard(1, message("d0", at=NOW - 1), message("d1")))
    await deliveries.note(tried("d1", state, next_at=NOW + 99_999 if state == "pending" else None))
    resent = await deliveries.resend("w1", "d1")

    assert ("pending", ["d1", "d0"]) == (resent and resent.state, await ids_due(deliveries))


async def test_what_is_sent_again_begins_its_schedule_anew(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))
    await deliveries.note(tried("d1", "failed"))
    await deliveries.resend("w1", "d1")
    (due,) = await deliveries.due("w1", AT_ONCE, 1, only_tests=False)

    assert 0 == due.step


async def test_a_delivery_of_another_endpoint_is_not_sent_again(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))

    assert None is await deliveries.resend("w2", "d1")


async def test_for_an_endpoint_that_is_on_again_all_is_due_at_once(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))
    await deliveries.note(tried("d1", "pending", next_at=NOW + 86_400_000))
    await deliveries.take(heard(2, renewed=("w1",)))

    assert ["d1"] == await ids_due(deliveries, NOW + 500)


async def test_an_endpoint_that_is_on_again_has_not_failed_yet(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))
    await deliveries.note(tried("d1", "pending", next_at=NOW))
    await deliveries.take(heard(2, renewed=("w1",)))
    later = Attempt(NOW + 900, 1, None, "it hangs", b"")

    assert NOW + 900 == await deliveries.note(tried("d1", "pending", later, next_at=NOW))


async def test_with_an_endpoint_its_deliveries_go(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1"), message("d2", "w2")))
    await deliveries.note(tried("d1", "delivered", TAKEN))
    await deliveries.take(heard(2, gone=("w1",)))

    assert (None, ["d2"]) == (await deliveries.find("w1", "d1"), await ids_due(deliveries, webhook_id="w2"))


# Looking at them.


async def test_the_newest_are_listed_first(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, *(message(f"d{n}", at=NOW + n) for n in range(5))))
    page = await deliveries.page(ListDeliveries("w1", page=Page(2, 2)))

    assert (5, ["d2", "d1"]) == (page.total, [delivery.delivery_id for delivery in page.deliveries])


async def test_those_of_one_state_are_listed(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1"), message("d2")))
    await deliveries.note(tried("d1", "delivered", TAKEN))
    page = await deliveries.page(ListDeliveries("w1", "delivered"))

    assert (1, ["d1"]) == (page.total, [delivery.delivery_id for delivery in page.deliveries])


async def test_a_delivery_of_another_endpoint_is_not_found(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))

    assert None is await deliveries.find("w2", "d1")


# Times of the log.


async def test_times_are_found_by_the_spans_that_they_are_in(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, spans={0: (100, 200), 1: (200, 300), 2: (300, 400)}))

    assert [(SPAN_RECORDS, 2 * SPAN_RECORDS)] == await deliveries.spans(250, 300)


async def test_spans_that_touch_are_read_together(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, spans={n: (n * 100, n * 100 + 99) for n in range(4)}))

    assert [(SPAN_RECORDS, 3 * SPAN_RECORDS)] == await deliveries.spans(150, 250)


async def test_where_a_clock_was_set_back_both_are_found(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, spans={0: (100, 199), 1: (900, 999), 2: (100, 199)}))

    assert [(0, SPAN_RECORDS), (2 * SPAN_RECORDS, 3 * SPAN_RECORDS)] == await deliveries.spans(150, 160)


async def test_a_span_grows_with_what_comes_into_it(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, spans={0: (100, 100)}))
    await deliveries.take(heard(2, spans={0: (50, 300)}))

    assert ([(0, SPAN_RECORDS)], []) == (await deliveries.spans(60, 70), await deliveries.spans(301, 400))


# Sweeping.


async def test_the_old_are_swept_away_with_their_attempts(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1", at=NOW - 10), message("d2", at=NOW)))
    await deliveries.note(tried("d1", "delivered", TAKEN))

    assert (1, None) == (await deliveries.sweep(NOW - 10, 100), await deliveries.find("w1", "d1"))


async def test_of_one_endpoint_the_newest_are_kept(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, *(message(f"d{n}", at=NOW + n) for n in range(5))))
    for number in range(5):
        await deliveries.note(tried(f"d{number}", "delivered", TAKEN))
    await deliveries.sweep(0, 2)

    page = await deliveries.page(ListDeliveries("w1"))
    assert ["d4", "d3"] == [delivery.delivery_id for delivery in page.deliveries]


async def test_what_waits_is_not_swept_away_for_being_too_much(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, *(message(f"d{n}") for n in range(5))))

    assert (0, 5) == (await deliveries.sweep(0, 2), await deliveries.waiting("w1"))


async def test_what_waits_is_counted_by_endpoint_with_the_time_of_the_first(deliveries: Deliveries) -> None:
    await deliveries.add(
        [message("d1", at=NOW + 5), message("d2", at=NOW + 2), message("d3"), message("t1", source="test")]
    )
    await deliveries.add([message("e1", "w2", source="test")])
    await deliveries.note(tried("d3", "delivered", TAKEN))

    assert [Backlog("w1", 3, NOW + 2), Backlog("w2", 1, None)] == sorted(await deliveries.backlogs())


async def renewed(deliveries: Deliveries) -> None:
    await deliveries.take(heard(2, renewed=("w1",)))


async def resent(deliveries: Deliveries) -> None:
    await deliveries.resend("w1", "d1")


@pytest.mark.parametrize("anew", [renewed, resent])
@pytest.mark.parametrize("state", ["pending", "failed"])
async def test_an_attempt_from_before_it_was_sent_anew_does_not_put_it_off(
    deliveries: Deliveries, state: State, anew: Callable[[Deliveries], Awaitable[None]]
) -> None:
    """It was under way meanwhile, maybe to another address."""
    await deliveries.take(heard(1, message("d1")))
    for step in range(3):
        await deliveries.note(tried("d1", "pending", next_at=NOW, step=step))
    await anew(deliveries)
    await deliveries.note(tried("d1", state, next_at=NOW + 86_400_000 if state == "pending" else None, step=3))
    found = await deliveries.find("w1", "d1")

    assert (["d1"], 4) == (await ids_due(deliveries, NOW + 500), found and found.attempt_count)


async def test_an_attempt_from_before_it_was_sent_anew_that_arrives_is_enough(deliveries: Deliveries) -> None:
    await deliveries.take(heard(1, message("d1")))
    await deliveries.note(tried("d1", "pending", next_at=NOW))
    await deliveries.resend("w1", "d1")
    await deliveries.note(tried("d1", "delivered", TAKEN, step=1))

    assert [] == await ids_due(deliveries, NOW + 500)
