"""What every processor promises: an order is charged once and undone for good, whoever moves the money."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.actors.money import Money
from marketd.actors.payments.processor import (
    DECLINED,
    UNKNOWN_METHOD,
    VOIDED,
    Captured,
    Declined,
    PaidBack,
    PaymentProcessor,
    ProcessorUnavailable,
)
from marketd.clock import new_id
from tests.actors.payments.parties import PARTIES, Party
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

PRICE = Money(1999, "USD")
VISA = "pm_card_visa"


@pytest_asyncio.fixture(params=["sandbox", "stripe", pytest.param("localstripe", marks=pytest.mark.slow)])
async def party(request: pytest.FixtureRequest, tmp_path: Path, clock: TestClock) -> AsyncIterator[Party]:
    async with PARTIES[request.param](tmp_path, clock) as party:
        yield party


@pytest_asyncio.fixture
async def processor(party: Party) -> AsyncIterator[PaymentProcessor]:
    async with party.open() as processor:
        yield processor


@pytest.fixture
def order_id(processor: PaymentProcessor, clock: TestClock) -> str:
    """An order that was placed when the processor was there already."""
    return new_id(clock)


# Charges.


async def test_a_good_card_is_charged(processor: PaymentProcessor, order_id: str) -> None:
    assert Captured() == await processor.charge(order_id, PRICE, VISA)


async def test_a_bad_card_is_declined(processor: PaymentProcessor, party: Party, order_id: str) -> None:
    assert Declined(DECLINED) == await processor.charge(order_id, PRICE, party.bad_card)


async def test_an_unknown_card_is_declined(processor: PaymentProcessor, order_id: str) -> None:
    assert Declined(UNKNOWN_METHOD) == await processor.charge(order_id, PRICE, "pm_card_unheardOf")


async def test_a_declined_card_takes_nothing(processor: PaymentProcessor, party: Party, order_id: str) -> None:
    await processor.charge(order_id, PRICE, party.bad_card)

    assert (0, 0) == await party.books()


async def test_charging_again_is_answered_the_same(processor: PaymentProcessor, order_id: str) -> None:
    answers = [await processor.charge(order_id, PRICE, VISA) for _ in range(3)]

    assert [Captured()] * 3 == answers


async def test_charging_at_once_charges_once(processor: PaymentProcessor, party: Party, order_id: str) -> None:
    await asyncio.gather(*(processor.charge(order_id, PRICE, VISA) for _ in range(5)))

    assert (1, 0) == await party.books()


@pytest.mark.parametrize("card", ["bad", "pm_card_unheardOf"])
async def test_what_was_declined_is_declined_again(
    processor: PaymentProcessor, party: Party, order_id: str, card: str
) -> None:
    first = await processor.charge(order_id, PRICE, party.bad_card if card == "bad" else card)

    assert first == await processor.charge(order_id, PRICE, VISA)


async def test_each_order_is_charged(processor: PaymentProcessor, party: Party, clock: TestClock) -> None:
    for _ in range(2):
        await processor.charge(new_id(clock), PRICE, VISA)

    assert (2, 0) == await party.books()


# Refunds.


async def test_a_charge_is_paid_back(processor: PaymentProcessor, party: Party, order_id: str) -> None:
    await processor.charge(order_id, PRICE, VISA)

    assert PaidBack() == await processor.refund(order_id)
    assert (1, 1) == await party.books()


async def test_paying_back_again_pays_back_once(processor: PaymentProcessor, party: Party, order_id: str) -> None:
    await processor.charge(order_id, PRICE, VISA)
    answers = [await processor.refund(order_id) for _ in range(3)]

    assert ([PaidBack()] * 3, (1, 1)) == (answers, await party.books())


async def test_what_was_paid_back_is_not_charged_again(
    processor: PaymentProcessor, party: Party, order_id: str
) -> None:
    await processor.charge(order_id, PRICE, VISA)
    await processor.refund(order_id)
    await processor.charge(order_id, PRICE, VISA)

    assert (1, 1) == await party.books()


async def test_what_was_never_charged_counts_as_paid_back(processor: PaymentProcessor, order_id: str) -> None:
    assert PaidBack() == await processor.refund(order_id)


async def test_a_declined_charge_counts_as_paid_back(processor: PaymentProcessor, party: Party, order_id: str) -> None:
    await processor.charge(order_id, PRICE, party.bad_card)

    assert (PaidBack(), (0, 0)) == (await processor.refund(order_id), await party.books())


async def test_a_charge_that_comes_after_its_undoing_is_declined(
    processor: PaymentProcessor, party: Party, order_id: str
) -> None:
    await processor.refund(order_id)

    assert Declined(VOIDED) == await processor.charge(order_id, PRICE, VISA)
    assert (0, 0) == await party.books()


# What outlives the process.


async def test_a_charge_outlives_the_processor(party: Party, clock: TestClock) -> None:
    async with party.open() as first:
        order_id = new_id(clock)
        await first.charge(order_id, PRICE, VISA)
    async with party.open() as second:
        assert Captured() == await second.charge(order_id, PRICE, VISA)

    assert (1, 0) == await party.books()


async def test_an_undoing_outlives_the_processor(party: Party, clock: TestClock) -> None:
    async with party.open() as first:
        order_id = new_id(clock)
        await first.refund(order_id)
    async with party.open() as second:
        assert Declined(VOIDED) == await second.charge(order_id, PRICE, VISA)


async def test_a_refund_outlives_the_processor(party: Party, clock: TestClock) -> None:
    async with party.open() as first:
        order_id = new_id(clock)
        await first.charge(order_id, PRICE, VISA)
        await first.refund(order_id)
    async with party.open() as second:
        assert PaidBack() == await second.refund(order_id)

    assert (1, 1) == await party.books()


# The breaker before it.


async def no_line() -> None:
    raise ConnectionError("no line")


async def test_nobody_is_charged_while_nobody_is_let_through(
    processor: PaymentProcessor, party: Party, order_id: str
) -> None:
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await party.breaker.call(no_line, ConnectionError)

    with pytest.raises(ProcessorUnavailable):
        await processor.charge(order_id, PRICE, VISA)
    assert (0, 0) == await party.books()


async def test_a_decline_is_no_failure(processor: PaymentProcessor, party: Party, clock: TestClock) -> None:
    for _ in range(6):
        await processor.charge(new_id(clock), PRICE, party.bad_card)

    assert ("closed", 0) == (party.breaker.state, party.breaker.statistics().failures)
