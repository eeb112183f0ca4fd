"""Admission: a burst may come, a crowd that stays is sent away, and what operators need always comes through."""

import asyncio
from typing import Any

import pytest

from marketd.actors import buyer, order, product
from marketd.http.admission import CALM_S, LOOK_S, PATIENCE_S, Orders, Queue
from marketd.storage.cards import ReadProduct
from tests.clock import TestClock
from tests.http.stage import Stage
from tests.http.things import ENCODED, PENDING, QUOTED

pytestmark = pytest.mark.asyncio

WISH = {"productId": "lamp", "paymentMethodId": "pm_card_visa"}


def queue(clock: TestClock) -> Queue:
    return Queue(clock, length_min=10, length_max=100, delay_s_max=0.5)


async def stands(made: Queue, clock: TestClock, length: int, seconds: float, per_s: float = 0, done: int = 0) -> int:
    """Let a queue stand at a length for so long, while so many leave it a second; give how many have left."""
    for _ in range(round(seconds / LOOK_S)):
        await clock.advance(LOOK_S)
        done += round(per_s * LOOK_S)
        made.look(length, done)
    return done


async def test_a_burst_may_come() -> None:
    clock = TestClock()
    made = queue(clock)
    await stands(made, clock, 99, PATIENCE_S - LOOK_S)

    assert (False, True) == (made.is_full(99), made.is_full(100))


async def test_a_crowd_that_stays_is_cut_down() -> None:
    clock = TestClock()
    made = queue(clock)
    await stands(made, clock, 99, PATIENCE_S + 2 * LOOK_S)

    assert (False, True) == (made.is_full(9), made.is_full(10))


async def test_a_queue_that_moves_may_be_longer() -> None:
    clock = TestClock()
    made = queue(clock)
    await stands(made, clock, 99, 10, per_s=80)

    assert 39 <= made.length_max <= 40


async def test_no_queue_is_ever_longer_than_the_longest() -> None:
    clock = TestClock()
    made = queue(clock)
    await stands(made, clock, 200, 10, per_s=4_000)

    assert 100 == made.length_max


async def test_a_short_queue_lets_a_burst_in_again() -> None:
    clock = TestClock()
    made = queue(clock)
    await stands(made, clock, 99, PATIENCE_S + 2 * LOOK_S)
    await stands(made, clock, 9, LOOK_S)

    assert 100 == made.length_max


async def test_while_somebody_is_sent_away_no_burst_may_come() -> None:
    clock = TestClock()
    made = queue(clock)
    await stands(made, clock, 99, PATIENCE_S + 2 * LOOK_S)
    made.is_full(99)
    await stands(made, clock, 0, CALM_S - LOOK_S)
    before = made.length_max
    await stands(made, clock, 0, 2 * LOOK_S)

    assert (10, 100) == (before, made.length_max)


# Over HTTP.


async def crowd(stage: Stage, orders: int) -> None:
    """Let so many orders wait for longer than a burst may."""
    stage.orders = Orders(orders, 0)
    await stage.clock.advance(PATIENCE_S + LOOK_S)
    stage.admission.look()


async def buy(stage: Stage) -> Any:
    stage.bus.answers(product.Quote, QUOTED)
    stage.bus.answers(buyer.Claim, None)
    stage.bus.answers(order.Place, PENDING)
    return await stage.call("POST", "/orders", WISH, user="ann")


async def test_an_order_too_many_is_sent_away(stage: Stage) -> None:
    await crowd(stage, 5)
    answer = await buy(stage)

    said = (answer.status, answer.json()["type"], answer.headers["Retry-After"], stage.bus.asked)
    assert (503, "/problems/overloaded", "1", []) == said


async def test_an_order_from_a_page_is_one_too_many_as_well(stage: Stage) -> None:
    await crowd(stage, 5)
    answer = await stage.call("POST", "/shop/products/lamp/buy", user="ann")

    assert (503, []) == (answer.status, stage.bus.asked)


async def test_a_few_orders_may_always_come(stage: Stage) -> None:
    await crowd(stage, 1)

    assert 202 == (await buy(stage)).status


async def test_a_crowd_of_orders_keeps_nobody_from_looking(stage: Stage) -> None:
    await crowd(stage, 500)
    stage.bus.answers(ReadProduct, ENCODED)

    assert 200 == (await stage.call("GET", "/products/lamp")).status


async def test_who_is_sent_away_is_counted(stage: Stage) -> None:
    await crowd(stage, 5)
    for _ in range(3):
        await buy(stage)

    assert 3 == stage.admission.statistics()["refused"]


async def test_requests_beyond_the_longest_queue_are_sent_away(stage: Stage) -> None:
    gate = asyncio.Event()
    ask = stage.bus.ask

    async def waiting(subject: str, envelope: Any) -> Any:
        await gate.wait()
        return await ask(subject, envelope)

    stage.bus.ask = waiting  # type: ignore[method-assign]
    stage.bus.answers(ReadProduct, ENCODED)
    async with asyncio.TaskGroup() as tasks:
        looks = [tasks.create_task(stage.call("GET", "/products/lamp")) for _ in range(90)]
        while stage.admission.statistics()["in_hand"] < 90:
            await asyncio.sleep(0.01)
        await stage.clock.advance(PATIENCE_S + LOOK_S)
        stage.admission.look()
        sent_away = await stage.call("GET", "/products/lamp")
        alive = [await stage.call("GET", path) for path in ("/healthz", "/readyz")]
        admin = await stage.call("GET", "/admin/circuits", user="root", role="admin")
        gate.set()

    assert (503, [200, 200], 200) == (sent_away.status, [answer.status for answer in alive], admin.status)
    assert {200} == {look.result().status for look in looks}


async def test_whoever_is_answered_is_in_hand_no_longer(stage: Stage) -> None:
    await stage.call("GET", "/nothing")
    await buy(stage)

    shown = stage.admission.statistics()
    assert (0, 0) == (shown["in_hand"], shown["orders"])
