"""What the sandbox and its ledger are beside what every processor promises (test_processor.py)."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.actors.money import Money
from marketd.actors.payments.processor import UNKNOWN_METHOD, Captured, Declined, ProcessorUnavailable, RefundDenied
from marketd.actors.payments.sandbox import DECLINES, GOOD, REFUND_FAILS, SandboxProcessor
from tests.actors.payments.parties import breaker_of
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

PRICE = Money(1999, "USD")
VISA = "pm_card_visa"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sandbox.db"


@pytest_asyncio.fixture
async def processor(path: Path, clock: TestClock) -> AsyncIterator[SandboxProcessor]:
    async with SandboxProcessor(path, clock, breaker_of(clock)) as processor:
        yield processor


def ledger(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Look into the file, or change it, as somebody else."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
        return db.execute(sql).fetchall()


# Charges.


@pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_mastercard", "pm_card_refundFail"])
async def test_good_cards_are_charged(processor: SandboxProcessor, method: str) -> None:
    assert Captured() == await processor.charge("o1", PRICE, method)


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("pm_card_chargeDeclined", "the card was declined"),
        ("pm_card_chargeDeclinedInsufficientFunds", "the card has insufficient funds"),
        ("pm_card_chargeDeclinedExpiredCard", "the card has expired"),
        ("pm_card_unheardOf", UNKNOWN_METHOD),
        ("", UNKNOWN_METHOD),
    ],
)
async def test_bad_cards_are_declined(processor: SandboxProcessor, method: str, why: str) -> None:
    assert Declined(why) == await processor.charge("o1", PRICE, method)


async def test_all_cards_of_the_contract_are_known() -> None:
    assert {
        "pm_card_visa",
        "pm_card_mastercard",
        "pm_card_chargeDeclined",
        "pm_card_chargeDeclinedInsufficientFunds",
        "pm_card_chargeDeclinedExpiredCard",
        "pm_card_refundFail",
    } == {*GOOD, *DECLINES, REFUND_FAILS}


async def test_a_charge_is_in_the_ledger(processor: SandboxProcessor, path: Path, clock: TestClock) -> None:
    await processor.charge("o1", PRICE, VISA)

    assert [("o1", 1999, "USD", VISA, "captured", None, clock.now_ms())] == ledger(path, "SELECT * FROM charges")


# Refunds.


async def test_a_refund_is_in_the_ledger(processor: SandboxProcessor, path: Path, clock: TestClock) -> None:
    await processor.charge("o1", PRICE, VISA)
    await processor.refund("o1")

    assert [("o1", "paid back", clock.now_ms())] == ledger(path, "SELECT * FROM refunds")


async def test_paying_back_twice_pays_back_once(processor: SandboxProcessor, path: Path) -> None:
    await processor.charge("o1", PRICE, VISA)
    await asyncio.gather(*(processor.refund("o1") for _ in range(5)))

    assert [(1,)] == ledger(path, "SELECT count(*) FROM refunds")


async def test_a_refund_can_fail(processor: SandboxProcessor) -> None:
    await processor.charge("o1", PRICE, REFUND_FAILS)

    assert RefundDenied("the card's bank refused the refund") == await processor.refund("o1")


async def test_a_refund_that_failed_fails_again(processor: SandboxProcessor) -> None:
    await processor.charge("o1", PRICE, REFUND_FAILS)
    await processor.refund("o1")

    assert RefundDenied("the card's bank refused the refund") == await processor.refund("o1")


# The ledger.


async def test_a_refund_outlives_the_processor(path: Path, clock: TestClock) -> None:
    async with SandboxProcessor(path, clock, breaker_of(clock)) as first:
        await first.charge("o1", PRICE, REFUND_FAILS)
        await first.refund("o1")
    async with SandboxProcessor(path, clock, breaker_of(clock)) as second:
        assert RefundDenied("the card's bank refused the refund") == await second.refund("o1")


async def test_trouble_with_the_ledger_is_no_answer(processor: SandboxProcessor, path: Path) -> None:
    ledger(path, "DROP TABLE refunds")

    with pytest.raises(ProcessorUnavailable) as caught:
        await processor.refund("o1")

    assert f"{path}: no such table: refunds" == str(caught.value)


async def test_what_fails_together_is_one_failure_to_the_breaker(path: Path, clock: TestClock) -> None:
    breaker = breaker_of(clock)
    async with SandboxProcessor(path, clock, breaker) as processor:
        ledger(path, "DROP TABLE charges")
        charges = [processor.charge(f"o{number}", PRICE, VISA) for number in range(20)]
        told = await asyncio.gather(*charges, return_exceptions=True)

    assert {ProcessorUnavailable} == {type(one) for one in told}
    assert ("closed", 2) == (breaker.state, breaker.statistics().failures)  # the first alone, then all that had come


async def test_charges_that_come_together_are_each_taken_once(processor: SandboxProcessor, path: Path) -> None:
    methods = [VISA, "pm_card_chargeDeclined", VISA]
    told = await asyncio.gather(*(processor.charge(f"o{n % 3}", PRICE, methods[n % 3]) for n in range(9)))

    assert [Captured(), Declined("the card was declined"), Captured()] * 3 == told
    assert [("captured", 2), ("declined", 1)] == ledger(path, "SELECT outcome, count(*) FROM charges GROUP BY 1")


async def test_a_refund_in_trouble_leaves_nothing_half_done(processor: SandboxProcessor, path: Path) -> None:
    ledger(path, "CREATE TRIGGER full BEFORE INSERT ON refunds BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(ProcessorUnavailable):
        await processor.refund("o1")
    ledger(path, "DROP TRIGGER full")

    assert Captured() == await processor.charge("o1", PRICE, VISA)


@pytest.mark.parametrize("what", ["charge", "refund"])
async def test_an_answer_takes_as_long_as_it_is_set_to(path: Path, clock: TestClock, what: str) -> None:
    async with (
        SandboxProcessor(path, clock, breaker_of(clock), delay_ms=250) as processor,
        asyncio.TaskGroup() as tasks,
    ):
        asked = tasks.create_task(processor.charge("o1", PRICE, VISA) if what == "charge" else processor.refund("o1"))
        await clock.advance(0.249)
        before = clock.sleepers
        await clock.advance(0.001)
        await asked

    assert (1, 0) == (before, clock.sleepers)
