"""
The simulation finds what it is there for: each of these faults is planted in the real code, and must be caught.

After how many seeds, each says with `-rP`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from marketd.actors import house, order
from marketd.actors.address import Address
from marketd.actors.fulfilment import CHECKPOINT, Fulfilment
from marketd.actors.money import Money
from marketd.actors.notices.courier import Courier
from marketd.actors.notices.notifier import Notifier
from marketd.actors.notices.triggers import Notice
from marketd.actors.order import Awaited, Existing, Paying, PaymentDeclined, Unwinding
from marketd.actors.orphans import Orphans
from marketd.actors.payments.memory import MemoryProcessor
from marketd.actors.payments.processor import Captured, Declined
from marketd.actors.runtime import Actor, Draft, Letter
from marketd.actors.saga import LEGS, Ask, Command, Commands, Leg, Patience, grant
from marketd.actors.steps import Outcome, Step, Unanswered
from marketd.bus.events import PublicEvents
from marketd.bus.relay import Relay, _Place
from marketd.clock import new_id
from marketd.storage.deliveries import Deliveries, Tried
from marketd.storage.log import Commit
from marketd.storage.log import Outcome as Appending
from marketd.storage.memory import MemoryLog
from tests.simulation import disk, world
from tests.simulation.run import first_broken

SEEDS_MAX = 1_000


def assert_caught(*laws: str) -> None:
    """It is caught within the bound, by one of the laws whose numbers these are."""
    broken = first_broken(range(SEEDS_MAX))

    assert broken is not None, f"not caught by {SEEDS_MAX} seeds"
    print(f"caught by seed {broken.seed}: {broken.broken}")
    assert broken.broken is not None
    assert broken.broken.law.startswith(laws), broken.broken


class ForgetfulProcessor(MemoryProcessor):
    """It takes no heed of the key."""

    async def charge(self, order_id: str, price: Money, payment_method_id: str) -> Captured | Declined:
        self.charges.pop(order_id, None)
        return await super().charge(order_id, price, payment_method_id)


def test_a_processor_without_idempotency_keys_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "MemoryProcessor", ForgetfulProcessor)

    assert_caught("2 ")


class HastyActor(Actor):
    """It replies before it appends."""

    def _decide(self, letters: list[Letter]) -> tuple[list[Draft], Any]:
        drafts, state = super()._decide(letters)
        self._reply_all(drafts, self._position)
        return drafts, state


def test_a_reply_before_the_append_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "Actor", HastyActor)

    assert_caught("1 ")


def test_a_log_without_expected_versions_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    append = MemoryLog.append

    async def trustful(log: MemoryLog, stream: str, expected_version: int, commits: Sequence[Commit]) -> Appending:
        return await append(log, stream, len(await log.read(stream)), commits)

    monkeypatch.setattr(MemoryLog, "append", trustful)

    assert_caught("1 ", "3 ", "4 ", "7 ", "nothing crashes")


def forgetting(forgotten: str) -> Callable[[disk.HostLog, str], Awaitable[int]]:
    """Make what gives checkpoints a defect: who follows the log under this name begins at its end."""
    checkpoint = disk.HostLog.checkpoint

    async def the_end(log: disk.HostLog, name: str) -> int:
        return log.head if name == forgotten else await checkpoint(log, name)

    return the_end


def test_a_saga_that_is_not_resumed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.HostLog, "checkpoint", forgetting(CHECKPOINT))

    assert_caught("5 ")


def test_an_undo_that_is_forgotten_after_a_timeout_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = order._advance

    def forgetful(state: Existing, outcome: Outcome, at: int) -> list[order.Event]:
        if isinstance(state, Paying) and isinstance(outcome, Unanswered):
            return [PaymentDeclined(order.NO_ANSWER, at)]
        return advance(state, outcome, at)

    monkeypatch.setattr(order, "_advance", forgetful)

    assert_caught("2 ")


def test_a_delivery_that_stays_where_nobody_knows_of_the_payment_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    awaited = order.awaited

    def of_something_else(state: Existing) -> Awaited:
        asked = awaited(state)
        is_it = isinstance(state, Unwinding)
        return replace(asked, placed=replace(asked.placed, product_id="p-")) if is_it else asked

    monkeypatch.setattr(order, "awaited", of_something_else)

    assert_caught("4 ")


def test_a_delivery_that_comes_after_its_order_was_unwound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def regardless(order_id: str, awaited: Awaited) -> Ask:
        asked = grant(order_id, awaited)
        assert isinstance(asked, Command)
        return asked._replace(message=replace(asked.message, needs_claim=False))

    hasty = LEGS[Step.PROCESS_PAYMENT]._replace(patience=Patience.NONE)  # so that of two who lead an order one gives up
    monkeypatch.setitem(LEGS, Step.PREPARE_DELIVERY, Leg(regardless, Patience.ENDLESS))
    monkeypatch.setitem(LEGS, Step.PROCESS_PAYMENT, hasty)

    assert_caught("4 ")


def test_a_reservation_that_is_counted_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Fulfilment._command

    async def under_a_new_id(
        self: Fulfilment, address: Address, message: Struct, command_id: str, *rest: Any
    ) -> Outcome:
        return await command(self, address, message, new_id(self._clock), *rest)

    monkeypatch.setattr(Fulfilment, "_command", under_a_new_id)

    assert_caught("2 ", "3 ")


def test_a_claim_that_is_given_up_while_its_order_is_placed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "CLAIM_S", 0.7)

    assert_caught("2 ")


def test_a_claim_that_outlives_its_order_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEGS, Step.END_CLAIMS, Leg(lambda order_id, awaited: Commands(()), Patience.ENDLESS))

    assert_caught("3 ")


def test_a_claim_without_an_order_that_is_forgotten_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Orphans, "hear", lambda self, record, address: None)

    assert_caught("3 ")


def test_notices_that_are_not_resumed_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.HostLog, "checkpoint", forgetting("notices.push"))

    assert_caught("11 ")


def test_notices_of_which_nobody_notes_that_they_went_out_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(notifier: Notifier, notice: Notice, copy: str) -> None:
        pass

    monkeypatch.setattr(Notifier, "_note", nothing)

    assert_caught("11 ")


def test_a_relay_that_trusts_its_checkpoint_more_than_the_stream_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def trustful(relay: Relay, teller: PublicEvents) -> _Place:
        checkpoint = await relay._log.checkpoint("relay")
        return _Place(checkpoint, 0, (await relay._stream.last()).sequence)

    monkeypatch.setattr(Relay, "_find_place", trustful)

    assert_caught("10 ")


def test_a_relay_that_does_not_look_again_when_the_server_was_away_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relay, "_look_again", lambda relay: None)

    assert_caught("10 ")


def test_a_relay_that_goes_on_in_the_middle_of_a_record_from_its_begin_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find_place = Relay._find_place

    async def from_the_begin(relay: Relay, teller: PublicEvents) -> _Place:
        return (await find_place(relay, teller))._replace(skipped=0)

    monkeypatch.setattr(Relay, "_find_place", from_the_begin)

    assert_caught("10 ")


def test_a_courier_that_begins_where_the_log_is_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    opening = Courier.open

    async def forgetful(courier: Courier) -> None:
        await opening(courier)
        courier._heard = courier._log.head

    monkeypatch.setattr(Courier, "open", forgetful)

    assert_caught("11 ")


def test_deliveries_that_nobody_notes_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(deliveries: Deliveries, tried: Tried) -> None:
        pass

    monkeypatch.setattr(Deliveries, "note", nothing)

    assert_caught("11 ", "5 ")
