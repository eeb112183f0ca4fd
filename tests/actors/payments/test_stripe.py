"""Stripe over HTTP, in all the ways in which an answer can fail to come: the money moves once, and back once."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.actors.money import Money
from marketd.actors.payments.processor import (
    DECLINED,
    EXPIRED,
    NO_FUNDS,
    UNKNOWN_METHOD,
    VOIDED,
    Captured,
    Declined,
    PaidBack,
    ProcessorUnavailable,
    RefundDenied,
)
from marketd.actors.payments.stripe import (
    API_VERSION,
    REFUND_REFUSED,
    SEARCH_LATE_S,
    UNPAYABLE,
    UNPROVEN,
    StripeProcessor,
)
from marketd.actors.payments.stripe_ledger import ORDER, SCHEMA_VERSION, forget_file
from marketd.bus.breaker import Breaker
from marketd.clock import new_id
from marketd.storage.database import Part, changing, cut, rows
from tests.actors.payments.parties import breaker_of, stripe_at
from tests.actors.payments.stripe_server import KEY, PROVING, SLOW, Mishap, StripeServer
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

PRICE = Money(1999, "USD")
VISA = "pm_card_visa"
WAIT_S = 0.3
AGAIN_MAX = 4
MISHAPS = [*Mishap]
LOST = [mishap for mishap in MISHAPS if mishap is not Mishap.DONE_TWICE]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[StripeServer]:
    async with StripeServer() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stripe.db"


@pytest.fixture
def breaker(clock: TestClock) -> Breaker:
    return breaker_of(clock)


@pytest_asyncio.fixture
async def processor(
    server: StripeServer, path: Path, clock: TestClock, breaker: Breaker
) -> AsyncIterator[StripeProcessor]:
    async with stripe_at(server.url, path, clock, breaker, wait_s=WAIT_S) as processor:
        yield processor


@pytest.fixture
def order_id(processor: StripeProcessor, clock: TestClock) -> str:
    return new_id(clock)


async def charged(processor: StripeProcessor, order_id: str, card: str = VISA) -> Captured | Declined:
    """Charge as the saga does: until there is an answer."""
    for _ in range(AGAIN_MAX):
        try:
            return await processor.charge(order_id, PRICE, card)
        except ProcessorUnavailable:
            continue
    raise AssertionError("never answered")


async def refunded(processor: StripeProcessor, order_id: str) -> PaidBack | RefundDenied:
    for _ in range(AGAIN_MAX):
        try:
            return await processor.refund(order_id)
        except ProcessorUnavailable:
            continue
    raise AssertionError("never answered")


# What Stripe is asked.


async def test_a_charge_is_two_steps_each_under_its_key(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    await processor.charge(order_id, PRICE, VISA)

    assert [("create", f"{order_id}:create"), ("confirm", f"{order_id}:confirm")] == server.asked


async def test_a_refund_is_asked_under_its_key(processor: StripeProcessor, server: StripeServer, order_id: str) -> None:
    await processor.charge(order_id, PRICE, VISA)
    await processor.refund(order_id)

    assert ("refund", f"{order_id}:refund") == server.asked[-1]


async def test_an_intent_names_the_order_and_takes_cards_alone(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    await processor.charge(order_id, PRICE, VISA)
    (intent,) = server.intents.values()

    assert ({ORDER: order_id}, ["card"]) == (intent["metadata"], intent["payment_method_types"])


async def test_all_is_said_in_one_version(processor: StripeProcessor, server: StripeServer, order_id: str) -> None:
    await processor.charge(order_id, PRICE, VISA)

    assert {API_VERSION} == server.versions


@pytest.mark.parametrize(
    ("price", "expected"),
    [(Money(1999, "USD"), 1999), (Money(500, "JPY"), 500), (Money(500, "ISK"), 50_000), (Money(1_500, "KWD"), 1_500)],
)
async def test_a_price_is_charged_in_the_units_of_stripe(
    processor: StripeProcessor, server: StripeServer, order_id: str, price: Money, expected: int
) -> None:
    await processor.charge(order_id, price, VISA)

    assert [expected] == server.captured


# What Stripe refuses.


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ("pm_card_chargeDeclined", DECLINED),
        ("pm_card_chargeDeclinedInsufficientFunds", NO_FUNDS),
        ("pm_card_chargeDeclinedExpiredCard", EXPIRED),
        ("pm_card_chargeDeclinedStolenCard", DECLINED),
        (PROVING, UNPROVEN),
        ("pm_card_unheardOf", UNKNOWN_METHOD),
    ],
)
async def test_a_refused_charge_says_why_in_our_words(
    processor: StripeProcessor, order_id: str, card: str, why: str
) -> None:
    assert Declined(why) == await processor.charge(order_id, PRICE, card)


async def test_a_payment_that_its_buyer_would_have_to_prove_is_called_off(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    await processor.charge(order_id, PRICE, PROVING)

    assert ["canceled"] == [intent["status"] for intent in server.intents.values()]


@pytest.mark.parametrize("price", [Money(49, "USD"), Money(1999, "MGA"), Money(1990, "IQD")])
async def test_a_price_that_can_not_be_charged_is_declined(
    processor: StripeProcessor, order_id: str, price: Money
) -> None:
    assert Declined(UNPAYABLE) == await processor.charge(order_id, price, VISA)


async def test_what_was_refused_is_not_asked_again(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    await processor.charge(order_id, PRICE, "pm_card_chargeDeclined")
    before = len(server.asked)
    await processor.charge(order_id, PRICE, "pm_card_chargeDeclined")

    assert before == len(server.asked)


@pytest.mark.parametrize("ends", ["failed", "canceled"])
async def test_a_refund_that_fails_is_denied(
    processor: StripeProcessor, server: StripeServer, order_id: str, ends: str
) -> None:
    server.refunds_end = ends
    await processor.charge(order_id, PRICE, VISA)

    assert [RefundDenied(REFUND_REFUSED)] * 2 == [await processor.refund(order_id) for _ in range(2)]


async def test_a_refund_that_is_on_its_way_is_paid_back(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    server.refunds_end = "pending"
    await processor.charge(order_id, PRICE, VISA)

    assert PaidBack() == await processor.refund(order_id)


async def test_what_was_refunded_by_hand_is_paid_back(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    await processor.charge(order_id, PRICE, VISA)
    server.refunds.append({"payment_intent": "pi_1", "amount": 1999, "status": "succeeded"})

    assert PaidBack() == await processor.refund(order_id)


# Answers that do not come.


@pytest.mark.parametrize("step", ["create", "confirm"])
@pytest.mark.parametrize("mishap", LOST)
async def test_a_lost_answer_is_no_answer(
    processor: StripeProcessor, server: StripeServer, order_id: str, step: str, mishap: Mishap
) -> None:
    server.meets(step, mishap)

    with pytest.raises(ProcessorUnavailable):
        await processor.charge(order_id, PRICE, VISA)


@pytest.mark.parametrize("step", ["create", "confirm"])
@pytest.mark.parametrize("mishap", MISHAPS)
async def test_whatever_happens_an_order_is_charged_once(
    processor: StripeProcessor, server: StripeServer, order_id: str, step: str, mishap: Mishap
) -> None:
    server.meets(step, mishap)

    assert (Captured(), [1999]) == (await charged(processor, order_id), server.captured)


@pytest.mark.parametrize("step", ["create", "confirm"])
@pytest.mark.parametrize("mishap", MISHAPS)
async def test_whatever_happens_a_bad_card_is_declined(
    processor: StripeProcessor, server: StripeServer, order_id: str, step: str, mishap: Mishap
) -> None:
    server.meets(step, mishap)

    assert Declined(DECLINED) == await charged(processor, order_id, "pm_card_chargeDeclined")
    assert [] == server.captured


@pytest.mark.parametrize("mishap", MISHAPS)
async def test_whatever_happens_a_charge_is_refunded_once(
    processor: StripeProcessor, server: StripeServer, order_id: str, mishap: Mishap
) -> None:
    await processor.charge(order_id, PRICE, VISA)
    server.meets("refund", mishap)

    assert PaidBack() == await refunded(processor, order_id)
    assert (1, 0) == (len(server.refunds), server.kept_money)


@pytest.mark.parametrize("step", ["create", "confirm"])
@pytest.mark.parametrize("mishap", LOST)
async def test_whatever_happened_a_charge_is_undone(
    processor: StripeProcessor, server: StripeServer, order_id: str, step: str, mishap: Mishap
) -> None:
    server.meets(step, mishap)
    with pytest.raises(ProcessorUnavailable):
        await processor.charge(order_id, PRICE, VISA)
    undone = await refunded(processor, order_id)
    late = await processor.charge(order_id, PRICE, VISA)

    assert (PaidBack(), 0) == (undone, server.kept_money)
    assert late == (Captured() if server.captured else Declined(VOIDED))


@pytest.mark.parametrize("step", ["look up", "cancel"])
@pytest.mark.parametrize("mishap", LOST)
async def test_an_undoing_may_be_lost_too(
    processor: StripeProcessor, server: StripeServer, order_id: str, step: str, mishap: Mishap
) -> None:
    server.meets("confirm", Mishap.RESET)
    with pytest.raises(ProcessorUnavailable):
        await processor.charge(order_id, PRICE, VISA)
    server.meets(step, mishap)

    assert (PaidBack(), []) == (await refunded(processor, order_id), server.captured)


async def test_what_is_under_way_is_asked_again(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    for ask in (processor.charge(order_id, PRICE, SLOW), processor.refund(order_id)):
        with pytest.raises(ProcessorUnavailable):
            await ask
    server.settle()

    assert Captured() == await processor.charge(order_id, PRICE, SLOW)


async def test_a_key_that_stripe_knows_from_another_request_is_no_answer(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    server.kept[f"{order_id}:create"] = {"amount": "1"}, 200, {}

    with pytest.raises(ProcessorUnavailable):
        await processor.charge(order_id, PRICE, VISA)


async def test_after_a_day_an_order_is_still_charged_once(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    server.meets("confirm", Mishap.SILENCE_AFTER)
    with pytest.raises(ProcessorUnavailable):
        await processor.charge(order_id, PRICE, VISA)
    server.forget_keys()

    assert (Captured(), [1999]) == (await processor.charge(order_id, PRICE, VISA), server.captured)


async def test_after_a_day_a_charge_is_still_refunded_once(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    await processor.charge(order_id, PRICE, VISA)
    server.meets("refund", Mishap.SILENCE_AFTER)
    with pytest.raises(ProcessorUnavailable):
        await processor.refund(order_id)
    server.forget_keys()

    assert (PaidBack(), 1) == (await processor.refund(order_id), len(server.refunds))


async def test_a_charge_that_is_broken_off_by_us_is_charged_once(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    server.meets("confirm", Mishap.SILENCE_AFTER)
    asking = asyncio.create_task(processor.charge(order_id, PRICE, VISA))
    while ("confirm", f"{order_id}:confirm") not in server.asked:
        await asyncio.sleep(0.001)
    asking.cancel()
    await asyncio.wait([asking])

    assert (Captured(), [1999]) == (await processor.charge(order_id, PRICE, VISA), server.captured)


async def test_a_charge_and_its_undoing_at_once_leave_no_money(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    await asyncio.gather(processor.charge(order_id, PRICE, VISA), processor.refund(order_id), return_exceptions=True)

    assert (PaidBack(), 0) == (await refunded(processor, order_id), server.kept_money)


# The ledger.


async def test_what_was_never_asked_is_undone_without_stripe(
    processor: StripeProcessor, server: StripeServer, order_id: str
) -> None:
    server.always = Mishap.ERROR

    assert (PaidBack(), []) == (await processor.refund(order_id), server.asked)


async def test_an_order_older_than_the_ledger_is_looked_up_by_its_id(
    server: StripeServer, tmp_path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, tmp_path / "lost.db", clock, breaker) as first:
        order_id = new_id(clock)
        await first.charge(order_id, PRICE, VISA)
    server.forget_keys()
    await clock.advance(100_000)

    async with stripe_at(server.url, tmp_path / "new.db", clock, breaker) as second:
        assert (Captured(), [1999]) == (await second.charge(order_id, PRICE, VISA), server.captured)


async def test_an_order_older_than_the_ledger_is_refunded(
    server: StripeServer, tmp_path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, tmp_path / "lost.db", clock, breaker) as first:
        order_id = new_id(clock)
        await first.charge(order_id, PRICE, VISA)
    await clock.advance(100_000)

    async with stripe_at(server.url, tmp_path / "new.db", clock, breaker) as second:
        assert (PaidBack(), 0) == (await second.refund(order_id), server.kept_money)


# A ledger that is older than what Stripe has.


def copied(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target


def brought_back(path: Path, newest: int = 0) -> None:
    """Do to the file what a restore does."""
    with changing(Part(path, SCHEMA_VERSION)) as db:
        forget_file(db, newest)


async def test_what_was_charged_since_a_backup_is_not_charged_again(
    server: StripeServer, path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, path, clock, breaker):
        order_id = new_id(clock)
    backup = copied(path, path.with_name("backup.db"))
    async with stripe_at(server.url, path, clock, breaker) as first:
        await first.charge(order_id, PRICE, VISA)
    server.forget_keys()
    copied(backup, path)
    brought_back(path)
    await clock.advance(100_000)

    async with stripe_at(server.url, path, clock, breaker) as second:
        assert (Captured(), [1999]) == (await second.charge(order_id, PRICE, VISA), server.captured)


async def test_a_ledger_that_was_copied_by_hand_looks_orders_up(
    server: StripeServer, path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, path, clock, breaker):
        order_id = new_id(clock)
    copy = copied(path, path.with_name("copied.db"))
    async with stripe_at(server.url, path, clock, breaker) as first:
        await first.charge(order_id, PRICE, VISA)
    server.forget_keys()
    await clock.advance(100_000)

    async with stripe_at(server.url, copy, clock, breaker) as second:
        assert (Captured(), [1999]) == (await second.charge(order_id, PRICE, VISA), server.captured)


async def test_a_ledger_that_was_always_there_looks_nothing_up(
    server: StripeServer, path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, path, clock, breaker):
        order_id = new_id(clock)
    await clock.advance(100_000)

    async with stripe_at(server.url, path, clock, breaker) as again:
        await again.charge(order_id, PRICE, VISA)
    assert ["create", "confirm"] == [step for step, _ in server.asked]


async def test_a_ledger_of_a_machine_whose_clock_is_behind_begins_after_what_was_restored(
    server: StripeServer, path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, path, clock, breaker):
        order_id = new_id(clock)
    brought_back(path, clock.now_ms() + 1)

    async with stripe_at(server.url, path, TestClock(clock.now_ms() - 1_000), breaker) as behind:
        with pytest.raises(ProcessorUnavailable):
            await behind.charge(order_id, PRICE, VISA)
    assert ["search"] == [step for step, _ in server.asked]


@pytest.mark.parametrize("undoes", [False, True])
async def test_while_stripes_search_may_be_late_nothing_is_believed_of_its_silence(
    server: StripeServer, path: Path, clock: TestClock, breaker: Breaker, undoes: bool
) -> None:
    order_id = new_id(clock)
    await clock.advance(1)
    server.is_search_late = True
    async with stripe_at(server.url, path, clock, breaker) as processor:
        with pytest.raises(ProcessorUnavailable):
            await (processor.refund(order_id) if undoes else processor.charge(order_id, PRICE, VISA))

    assert ["search"] == [step for step, _ in server.asked]


async def test_what_stripe_has_not_found_in_time_was_never_charged(
    server: StripeServer, path: Path, clock: TestClock, breaker: Breaker
) -> None:
    order_id = new_id(clock)
    await clock.advance(1)
    async with stripe_at(server.url, path, clock, breaker) as processor:
        await clock.advance(SEARCH_LATE_S)

        assert (Captured(), [1999]) == (await processor.charge(order_id, PRICE, VISA), server.captured)


async def test_a_ledger_from_the_future_keeps_nobody_waiting_for_longer_than_a_search_is_late(
    server: StripeServer, path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, path, TestClock(clock.now_ms() + 3_600_000), breaker):
        pass
    order_id = new_id(clock)
    async with stripe_at(server.url, path, clock, breaker) as processor:
        with pytest.raises(ProcessorUnavailable):
            await processor.charge(order_id, PRICE, VISA)
        await clock.advance(SEARCH_LATE_S)

        assert (Captured(), [1999]) == (await processor.charge(order_id, PRICE, VISA), server.captured)


async def test_what_was_charged_and_paid_back_since_a_backup_is_void(
    server: StripeServer, tmp_path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, tmp_path / "lost.db", clock, breaker) as first:
        order_id = new_id(clock)
        await first.charge(order_id, PRICE, VISA)
        await first.refund(order_id)
    server.forget_keys()
    await clock.advance(100_000)

    async with stripe_at(server.url, tmp_path / "new.db", clock, breaker) as second:
        assert (Declined(VOIDED), PaidBack()) == (
            await second.charge(order_id, PRICE, VISA),
            await second.refund(order_id),
        )
    assert ([1999], 0) == (server.captured, server.kept_money)


async def test_of_two_intents_the_one_that_was_confirmed_is_the_orders(
    server: StripeServer, tmp_path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, tmp_path / "lost.db", clock, breaker) as first:
        order_id = new_id(clock)
        with pytest.raises(ProcessorUnavailable):
            await first.charge(order_id, PRICE, SLOW)
    unconfirmed = {**next(iter(server.intents.values())), "id": "pi_0", "status": "requires_confirmation"}
    server.intents = {"pi_0": unconfirmed, **server.intents}
    server.forget_keys()
    await clock.advance(100_000)

    async with stripe_at(server.url, tmp_path / "new.db", clock, breaker) as second:
        with pytest.raises(ProcessorUnavailable):
            await second.charge(order_id, PRICE, SLOW)
        server.settle()
        assert (Captured(), [1999]) == (await second.charge(order_id, PRICE, SLOW), server.captured)


async def test_a_payment_that_was_found_is_on_record_in_our_units(
    server: StripeServer, tmp_path: Path, clock: TestClock, breaker: Breaker
) -> None:
    async with stripe_at(server.url, tmp_path / "lost.db", clock, breaker) as first:
        order_id = new_id(clock)
        await first.charge(order_id, Money(500, "ISK"), VISA)
    await clock.advance(100_000)
    new = tmp_path / "new.db"
    async with stripe_at(server.url, new, clock, breaker) as second:
        await second.charge(order_id, Money(500, "ISK"), VISA)

    with cut(Part(new, SCHEMA_VERSION)) as (db,):
        assert [(500, "ISK")] == list(rows(new, db, "SELECT minor, currency FROM charges"))


# The breaker.


@pytest.mark.parametrize("mishap", [Mishap.ERROR, Mishap.LIMIT, Mishap.RESET, Mishap.NO_JSON, Mishap.BAD_KEY])
async def test_a_stripe_that_does_not_answer_is_left_alone(
    processor: StripeProcessor, server: StripeServer, breaker: Breaker, clock: TestClock, mishap: Mishap
) -> None:
    server.always = mishap
    for _ in range(7):
        with pytest.raises(ProcessorUnavailable):
            await processor.charge(new_id(clock), PRICE, VISA)

    assert ("open", 5) == (breaker.state, len(server.asked))


async def test_a_stripe_that_is_at_work_is_not_left_alone(
    processor: StripeProcessor, server: StripeServer, breaker: Breaker, order_id: str
) -> None:
    server.always = Mishap.CONFLICT
    for _ in range(7):
        with pytest.raises(ProcessorUnavailable):
            await processor.charge(order_id, PRICE, VISA)

    assert ("closed", 7) == (breaker.state, len(server.asked))


async def test_when_stripe_is_back_one_call_finds_out(
    processor: StripeProcessor, server: StripeServer, breaker: Breaker, clock: TestClock
) -> None:
    server.always = Mishap.ERROR
    order_id = new_id(clock)
    for _ in range(5):
        with pytest.raises(ProcessorUnavailable):
            await processor.charge(order_id, PRICE, VISA)
    server.always = None
    await clock.advance(30)

    assert (Captured(), "closed") == (await processor.charge(order_id, PRICE, VISA), breaker.state)


# What nobody should read.


@pytest.mark.parametrize("mishap", [None, *LOST])
async def test_neither_key_nor_card_is_in_a_log_line_or_an_error(
    processor: StripeProcessor,
    server: StripeServer,
    breaker: Breaker,
    order_id: str,
    mishap: Mishap | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("stripe").setLevel(logging.WARNING)  # as the processor did before the test turned all up
    server.always = mishap
    said = ""
    for card in (VISA, "pm_card_unheardOf", "pm_card_chargeDeclined"):
        try:
            said += str(await processor.charge(order_id, PRICE, card))
        except ProcessorUnavailable as error:
            said += str(error)
    said += caplog.text + str(breaker.statistics())

    assert (False, False) == (KEY in said, "pm_card" in said)
