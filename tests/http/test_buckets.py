"""Token buckets: so many requests in a window, evenly filled up, and no more of them than there is room for."""

import pytest

from marketd.http.buckets import Allowance, Buckets, Quota
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio


def buckets(clock: TestClock, requests_max: int = 6, clients_max: int = 3) -> Buckets:
    return Buckets(Quota("default", requests_max, 60), clock, clients_max)


def take(made: Buckets, times: int, client: str = "ann") -> list[bool]:
    """Whether each was let through."""
    return [not made.take(client).wait_s for _ in range(times)]


async def test_a_window_s_worth_may_come_at_once_and_no_more() -> None:
    assert [True] * 6 + [False] * 2 == take(buckets(TestClock()), 8)


async def test_a_bucket_fills_up_evenly() -> None:
    clock = TestClock()
    made = buckets(clock)
    take(made, 6)
    await clock.advance(25)

    assert [True, True, False] == take(made, 3)


async def test_it_never_holds_more_than_a_window_s_worth() -> None:
    clock = TestClock()
    made = buckets(clock)
    take(made, 1)
    await clock.advance(1_000_000)

    assert [True] * 6 + [False] == take(made, 7)


async def test_whoever_waits_as_told_is_let_through() -> None:
    clock = TestClock()
    made = buckets(clock)
    take(made, 6)
    await clock.advance(3)
    wait_s = made.take("ann").wait_s
    await clock.advance(wait_s)

    assert ([True, False], 7) == (take(made, 2), wait_s)


async def test_who_is_refused_waits_no_longer_for_it() -> None:
    clock = TestClock()
    made = buckets(clock)
    take(made, 1_000)
    await clock.advance(10)

    assert [True, False] == take(made, 2)


async def test_each_has_a_bucket_of_their_own() -> None:
    made = buckets(TestClock())
    take(made, 7, "ann")

    assert [True] * 6 == take(made, 6, "bob")


async def test_the_headers_name_the_policy_what_is_left_and_when_it_is_full_again() -> None:
    made = buckets(TestClock())

    assert Allowance('"default";q=6;w=60', '"default";r=5;t=10', 0) == made.take("ann")


async def test_the_headers_say_when_nothing_is_left() -> None:
    made = buckets(TestClock())
    take(made, 6)

    assert Allowance('"default";q=6;w=60', '"default";r=0;t=60', 10) == made.take("ann")


async def test_rates_that_do_not_divide_the_window_are_kept_too() -> None:
    made = buckets(TestClock(), requests_max=7)

    assert [6, 5, 4, 3, 2, 1, 0, 0] == [int(made.take("ann").left.split(";")[1][2:]) for _ in range(8)]


async def test_full_buckets_make_room() -> None:
    clock = TestClock()
    made = buckets(clock)
    for client in ("ann", "bob", "cid"):
        take(made, 1, client)
    await clock.advance(10)

    assert ([True] * 6, 3) == (take(made, 6, "dan"), len(made))


async def test_without_room_newcomers_share_a_bucket() -> None:
    made = buckets(TestClock())
    for client in ("ann", "bob", "cid"):
        take(made, 1, client)

    assert [True] * 6 + [False] * 4 == [take(made, 1, f"new {number}")[0] for number in range(10)]


async def test_newcomers_push_nobody_out() -> None:
    made = buckets(TestClock())
    for client in ("ann", "bob", "cid"):
        take(made, 6, client)
    for number in range(100):
        take(made, 1, f"new {number}")

    assert ([False], 4) == (take(made, 1, "ann"), len(made))
