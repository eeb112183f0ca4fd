"""The circuit breaker: closed, open, half-open, and how it goes from one to the other."""

import asyncio

import pytest

from marketd.bus.breaker import Breaker, BreakerOpen, Circuit
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio

OPEN_S = 30.0


class Trouble(Exception):
    pass


class Mistake(Exception):
    pass


async def work() -> str:
    return "done"


async def fail() -> str:
    raise Trouble("no line")


async def err() -> str:
    raise Mistake("a defect of ours")


class Slow:
    """Work that ends when it is let, and counts who has begun."""

    def __init__(self) -> None:
        self.begun, self.let = 0, asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> str:
        self.begun += 1
        await self.let.wait()
        if self.error:
            raise self.error
        return "done"


def made(clock: TestClock, failures_max: int = 3) -> Breaker:
    return Breaker("search", clock, failures_max=failures_max, open_s=OPEN_S)


async def attempt(breaker: Breaker, times: int = 1) -> None:
    """Fail so many times."""
    for _ in range(times):
        with pytest.raises(Trouble):
            await breaker.call(fail, Trouble)


async def opened(clock: TestClock) -> Breaker:
    breaker = made(clock)
    await attempt(breaker, 3)
    return breaker


async def half_opened(clock: TestClock) -> Breaker:
    breaker = await opened(clock)
    await clock.advance(OPEN_S)
    return breaker


# Closed.


async def test_a_new_breaker_is_closed_and_has_counted_nothing() -> None:
    assert Circuit("search", "closed", 0, 0, 0, 0, 0, None, 0) == made(TestClock()).statistics()


async def test_a_closed_breaker_gives_what_the_work_gives() -> None:
    assert "done" == await made(TestClock()).call(work, Trouble)


async def test_a_failure_goes_through_and_is_counted() -> None:
    breaker = made(TestClock())
    await attempt(breaker)

    assert Circuit("search", "closed", 1, 1, 1, 0, 0, "Trouble: no line", 0) == breaker.statistics()


async def test_success_ends_a_row_of_failures() -> None:
    breaker = made(TestClock())
    await attempt(breaker, 2)
    await breaker.call(work, Trouble)
    await attempt(breaker, 2)

    assert ("closed", 2, 4) == (breaker.state, breaker.statistics().failures_in_row, breaker.statistics().failures)


async def test_an_error_that_is_none_of_these_is_no_failure() -> None:
    breaker = made(TestClock(), failures_max=1)
    with pytest.raises(Mistake):
        await breaker.call(err, Trouble)

    assert Circuit("search", "closed", 0, 1, 0, 0, 0, None, 0) == breaker.statistics()


async def test_who_gives_up_waiting_is_no_failure() -> None:
    breaker, slow = made(TestClock(), failures_max=1), Slow()
    calling = asyncio.create_task(breaker.call(slow, Trouble))
    await settle()
    calling.cancel()
    await settle()

    assert ("closed", 0) == (breaker.state, breaker.statistics().failures)


async def test_of_several_kinds_of_failure_each_counts() -> None:
    breaker = made(TestClock(), failures_max=2)
    await attempt(breaker)
    with pytest.raises(Mistake):
        await breaker.call(err, Trouble, Mistake)

    assert ("open", "Mistake: a defect of ours") == (breaker.state, breaker.statistics().last_error)


# Open.


async def test_so_many_failures_in_a_row_open_it() -> None:
    breaker = await opened(TestClock())

    assert Circuit("search", "open", 3, 3, 3, 0, 1, "Trouble: no line", 0) == breaker.statistics()


async def test_an_open_breaker_lets_nobody_through() -> None:
    breaker, slow = await opened(TestClock()), Slow()
    with pytest.raises(BreakerOpen) as caught:
        await breaker.call(slow, Trouble)

    assert (0, "search: Trouble: no line") == (slow.begun, str(caught.value))


async def test_who_is_not_let_through_is_counted_as_refused() -> None:
    breaker = await opened(TestClock())
    for _ in range(2):
        with pytest.raises(BreakerOpen):
            await breaker.call(work, Trouble)

    assert (3, 3, 2) == (breaker.statistics().calls, breaker.statistics().failures, breaker.statistics().refused)


async def test_until_its_time_has_come_it_stays_open() -> None:
    clock = TestClock()
    breaker = await opened(clock)
    await clock.advance(OPEN_S - 0.001)

    assert "open" == breaker.state


async def test_calls_that_were_under_way_when_it_opened_may_still_close_it() -> None:
    breaker, slow = made(TestClock()), Slow()
    calling = asyncio.create_task(breaker.call(slow, Trouble))
    await settle()
    await attempt(breaker, 3)
    slow.let.set()
    await calling

    assert "closed" == breaker.state


# Half-open.


async def test_calls_that_were_under_way_and_fail_late_open_it_no_longer_and_not_again() -> None:
    clock = TestClock()
    breaker, slow = made(clock), Slow()
    slow.error = Trouble("no line")
    calls = [asyncio.create_task(breaker.call(slow, Trouble)) for _ in range(10)]
    await settle()
    await attempt(breaker, 3)
    await clock.advance(OPEN_S / 2)
    slow.let.set()
    await asyncio.wait(calls)
    counted = breaker.statistics()
    await clock.advance(OPEN_S / 2)

    assert (1, 13, "half-open") == (counted.opened, counted.failures, breaker.state)


async def test_after_a_while_it_is_half_open() -> None:
    assert "half-open" == (await half_opened(TestClock())).state


async def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = await half_opened(TestClock())
    await breaker.call(work, Trouble)

    assert ("closed", 0) == (breaker.state, breaker.statistics().failures_in_row)


async def test_a_probe_that_fails_opens_it_for_another_while() -> None:
    clock = TestClock()
    breaker = await half_opened(clock)
    await attempt(breaker)
    states = [breaker.state]
    await clock.advance(OPEN_S)

    assert (["open", "half-open"], 2) == ([*states, breaker.state], breaker.statistics().opened)


async def test_while_one_probes_nobody_else_is_let_through() -> None:
    breaker, slow = await half_opened(TestClock()), Slow()
    calling = [asyncio.create_task(breaker.call(slow, Trouble)) for _ in range(5)]
    await settle()
    begun = slow.begun
    slow.let.set()
    ended = await asyncio.gather(*calling, return_exceptions=True)

    assert (1, 4) == (begun, sum(isinstance(end, BreakerOpen) for end in ended))


async def test_after_a_probe_the_next_call_goes_through() -> None:
    breaker = await half_opened(TestClock())
    await breaker.call(work, Trouble)

    assert ["done", "done"] == [await breaker.call(work, Trouble) for _ in range(2)]


async def test_a_probe_that_was_given_up_lets_another_one_try() -> None:
    breaker, slow = await half_opened(TestClock()), Slow()
    calling = asyncio.create_task(breaker.call(slow, Trouble))
    await settle()
    calling.cancel()
    await settle()

    assert ("half-open", "done") == (breaker.state, await breaker.call(work, Trouble))


async def test_a_probe_that_ends_in_a_defect_lets_another_one_try() -> None:
    breaker = await half_opened(TestClock())
    with pytest.raises(Mistake):
        await breaker.call(err, Trouble)

    assert ("half-open", "done") == (breaker.state, await breaker.call(work, Trouble))


async def test_a_failure_from_before_it_opened_does_not_end_the_probe_of_another() -> None:
    clock = TestClock()
    breaker, early, probe = made(clock), Slow(), Slow()
    early.error = Trouble("late")
    calling = asyncio.create_task(breaker.call(early, Trouble))
    await settle()
    await attempt(breaker, 3)
    await clock.advance(OPEN_S)
    probing = asyncio.create_task(breaker.call(probe, Trouble))
    await settle()
    early.let.set()
    with pytest.raises(Trouble):
        await calling
    await clock.advance(OPEN_S)
    with pytest.raises(BreakerOpen):
        await breaker.call(work, Trouble)
    probe.let.set()

    assert ("done", "closed") == (await probing, breaker.state)


# What is known from elsewhere.


async def test_there_may_be_reason_to_try_at_once() -> None:
    breaker = await opened(TestClock())
    breaker.probe()

    assert ("half-open", "done", "closed") == (breaker.state, await breaker.call(work, Trouble), breaker.state)


async def test_reason_to_try_changes_nothing_about_a_closed_breaker() -> None:
    breaker = made(TestClock())
    await attempt(breaker, 2)
    breaker.probe()

    assert ("closed", 2) == (breaker.state, breaker.statistics().failures_in_row)


async def test_the_last_error_is_remembered_when_all_is_well_again() -> None:
    breaker = await half_opened(TestClock())
    await breaker.call(work, Trouble)

    assert "Trouble: no line" == breaker.statistics().last_error
