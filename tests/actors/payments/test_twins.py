"""What the sandbox and its twin in memory both promise, so that what the simulation finds is true of the service."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.actors.money import Money
from marketd.actors.payments.memory import MemoryProcessor
from marketd.actors.payments.processor import (
    UNKNOWN_METHOD,
    VOIDED,
    Captured,
    Declined,
    PaidBack,
    PaymentProcessor,
    RefundDenied,
)
from marketd.actors.payments.sandbox import (
    DECLINES,
    GOOD,
    REFUND_DENIED,
    REFUND_FAILS,
    SandboxProcessor,
)
from marketd.bus.breaker import Breaker
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

PRICE = Money(1999, "USD")
VISA = "pm_card_visa"
BAD = "pm_card_chargeDeclined"


@pytest_asyncio.fixture(params=["memory", "sandbox"])
async def processor(
    request: pytest.FixtureRequest, tmp_path: Path, clock: TestClock
) -> AsyncIterator[PaymentProcessor]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryProcessor()
        else:
            yield await stack.enter_async_context(
                SandboxProcessor(tmp_path / "sandbox.db", clock, Breaker("payments", clock))
            )


@pytest.mark.parametrize("method", sorted({*GOOD, REFUND_FAILS}))
async def test_good_cards_are_charged(processor: PaymentProcessor, method: str) -> None:
    assert Captured() == await processor.charge("o1", PRICE, method)


@pytest.mark.parametrize(("method", "why"), [*DECLINES.items(), ("pm_card_unheardOf", UNKNOWN_METHOD)])
async def test_bad_cards_are_declined(processor: PaymentProcessor, method: str, why: str) -> None:
    assert Declined(why) == await processor.charge("o1", PRICE, method)


async def test_charging_again_is_answered_the_same(processor: PaymentProcessor) -> None:
    await processor.charge("o1", PRICE, BAD)

    assert Declined(DECLINES[BAD]) == await processor.charge("o1", PRICE, VISA)


async def test_paying_back_again_is_answered_the_same(processor: PaymentProcessor) -> None:
    await processor.charge("o1", PRICE, VISA)
    await processor.refund("o1")

    assert PaidBack() == await processor.refund("o1")


async def test_a_charge_that_was_paid_back_is_answered_the_same(processor: PaymentProcessor) -> None:
    await processor.charge("o1", PRICE, VISA)
    await processor.refund("o1")

    assert Captured() == await processor.charge("o1", PRICE, VISA)


async def test_a_refund_that_failed_fails_again(processor: PaymentProcessor) -> None:
    await processor.charge("o1", PRICE, REFUND_FAILS)
    answers = [await processor.refund("o1"), await processor.refund("o1")]

    assert [RefundDenied(REFUND_DENIED)] * 2 == answers


@pytest.mark.parametrize("method", [BAD, None])
async def test_what_was_not_taken_counts_as_paid_back(processor: PaymentProcessor, method: str | None) -> None:
    if method:
        await processor.charge("o1", PRICE, method)

    assert PaidBack() == await processor.refund("o1")


@pytest.mark.parametrize("method", [VISA, REFUND_FAILS])
async def test_a_charge_that_comes_after_its_refund_is_declined(processor: PaymentProcessor, method: str) -> None:
    await processor.refund("o1")

    assert Declined(VOIDED) == await processor.charge("o1", PRICE, method)


# The twin's own ledger.


async def test_what_is_taken_moves_once() -> None:
    twin = MemoryProcessor()
    for _ in range(3):
        await twin.charge("o1", PRICE, VISA)

    assert [("o1", 1999)] == twin.movements


async def test_what_is_given_back_moves_once() -> None:
    twin = MemoryProcessor()
    await twin.charge("o1", PRICE, VISA)
    for _ in range(3):
        await twin.refund("o1")

    assert ([("o1", 1999), ("o1", -1999)], 0) == (twin.movements, twin.taken("o1"))


@pytest.mark.parametrize("method", [BAD, REFUND_FAILS])
async def test_what_does_not_go_back_does_not_move(method: str) -> None:
    twin = MemoryProcessor()
    await twin.charge("o1", PRICE, method)
    before = list(twin.movements)
    await twin.refund("o1")

    assert before == twin.movements
