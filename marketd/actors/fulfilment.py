"""
Leads every open order along the saga: asks what it awaits, of whom, and again until there is an answer.

The one rule: only the log starts a step. Each record of an order wakes its walker, which sees from the records what
the order awaits; takes that step, and those that may be taken along with it; and reports the outcomes, which are the
next record. So it makes no difference whether a step follows the last one or a crash: at the start the log is
followed from a checkpoint that lies before every order still open. An order that was placed before the start is asked
itself what it awaits: of what it went through then, the end may lie pages further on in the log than what has been
heard, and no step is taken twice.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from functools import reduce
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from marketd.actors import order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.notices.port import NoticeFailed, Notices
from marketd.actors.order import Awaited
from marketd.actors.orphans import Orphans
from marketd.actors.payments.processor import (
    Captured,
    Declined,
    PaidBack,
    PaymentProcessor,
    ProcessorUnavailable,
    RefundDenied,
)
from marketd.actors.saga import LEGS, Ask, Charge, Command, Commands, Patience, PayBack, Tell, along_with
from marketd.actors.steps import Denied, Outcome, Report, Step, Succeeded, Unanswered
from marketd.bus.port import Answer, Bus, BusError, Envelope
from marketd.bus.subjects import command_subject
from marketd.clock import Clock, new_id
from marketd.deadlines import Deadlines
from marketd.measures import Outcomes
from marketd.rests import BackOff, Interruptible
from marketd.spans import span
from marketd.storage.follower import Follower, Work, because_of
from marketd.storage.log import EventLog, Recorded
from marketd.trace import doing_for

CHECKPOINT: Final = "fulfilment"

log = logging.getLogger("marketd.fulfilment")


class FulfilmentLimits(Struct, frozen=True):
    """How long and how often a step is asked, and how many at once; seconds."""

    retry_s: float = 0.2
    retry_s_max: float = 30
    patience_s: float = 600
    claim_s: float = 30
    reply_wait_s_max: float = 10
    processor_wait_s_max: float = 30
    orders_max: int = 256
    checkpoint_every: int = 256


class _Told:
    """What an order has come to when it was looked at last, and what was heard of it since."""

    def __init__(self) -> None:
        self.state: order.State = order.ORDER.initial
        self.news: list[order.Event] = []


class Fulfilment:
    """Follows the log; run it for as long as the service lives."""

    def __init__(
        self,
        bus: Bus,
        events: EventLog,
        processor: PaymentProcessor,
        notices: Notices,
        clock: Clock,
        limits: FulfilmentLimits,
    ) -> None:
        self._bus, self._log, self._clock = bus, events, clock
        self._processor, self._notices, self._limits = processor, notices, limits
        self._follower = Follower(events, CHECKPOINT, checkpoint_every=limits.checkpoint_every)
        self._orphans = Orphans(
            bus, self._follower, clock, claim_s=limits.claim_s, reply_wait_s_max=limits.reply_wait_s_max
        )
        self._known = 0  # up to here a record may have been acted upon by another process before
        self._told: dict[str, _Told] = {}  # of open orders that were placed since
        self._walking: set[str] = set()
        self._crashed: set[str] = set()  # those whose last step did
        self._resting: dict[str, Interruptible] = {}
        self._places = asyncio.Semaphore(limits.orders_max)
        self._elsewhere = self._done = 0
        self._deadlines = Deadlines()
        self.steps = Outcomes()

    @property
    def trouble(self) -> str | None:
        """What keeps an order where it is by a defect of ours, or None where nothing does."""
        return f"the walks of {len(self._crashed)} orders crash" if self._crashed else None

    @property
    def waiting(self) -> int:
        """How many orders have something to do here, rather than rest or wait for somebody outside."""
        return len(self._walking) - self._elsewhere

    @property
    def done(self) -> int:
        """How many orders have been led to their end."""
        return self._done

    def hurry(self, order_id: str) -> None:
        """Have an order that waits to ask again ask now: there is reason to think that it will be answered."""
        if (rest := self._resting.get(order_id)) is not None:
            rest.interrupt()

    def statistics(self) -> dict[str, int]:
        """How far the log was heard, how many orders may be open, and for how many something is only set aside."""
        claims = len(self._orphans)
        return {"position": self._follower.heard, "open_orders": len(self._follower.open) - claims, "claims": claims}

    @property
    def oldest_at(self) -> int | None:
        """When what is in hand longest was begun, in ms since the epoch; None where nothing is."""
        return self._follower.oldest_at

    async def run(self) -> None:
        """Follow the log for ever."""
        self._known = self._log.head
        async with asyncio.TaskGroup() as tasks, aclosing(self._follower.records()) as records:
            tasks.create_task(self._orphans.run())
            async for record in records:
                self._hear(record, tasks)

    def _hear(self, record: Recorded, tasks: asyncio.TaskGroup) -> None:
        address = Address.parse(record.stream)
        self._orphans.hear(record, address)
        if address.kind != order.ORDER.kind:
            return
        self._follower.take_up(address.key, record)
        if (record.version == 1 and record.position > self._known) or address.key in self._told:
            self._told.setdefault(address.key, _Told()).news.extend(record.commit.events)
        if address.key not in self._walking:
            self._walking.add(address.key)
            tasks.create_task(self._walk(address.key))

    async def _walk(self, order_id: str) -> None:
        """Take the step that the order awaits; the record of its outcome will wake the next walker."""
        waits = self._waits()
        try:
            while True:
                walk = self._follower.open[order_id]
                with doing_for(walk.cause):
                    is_over = await self._stepped(order_id, walk, waits)
                if is_over is not None and self._follower.open[order_id].newest == walk.newest:
                    if is_over:
                        self._follower.close(order_id)
                        self._told.pop(order_id, None)
                        self._done += 1
                    return
        finally:
            self._walking.discard(order_id)
            self._crashed.discard(order_id)

    async def _stepped(self, order_id: str, walk: Work, waits: BackOff) -> bool | None:
        """Take a step, and give back whether the order was at its end; None, after a rest, where that crashed."""
        try:
            is_over = await self._take_step(order_id, walk)
        except Exception as error:  # a defect in one order's way must stop neither the others nor, for good, this one
            self._note_crash(order_id, "its walk", error)
            self._told.pop(order_id, None)  # which may be what is wrong
            await self._rest_awake(order_id, waits)
            return None
        self._crashed.discard(order_id)
        return is_over

    def _note_crash(self, order_id: str, what: str, error: Exception) -> None:
        """Log it whole the first time, and in one line as long as it goes on."""
        is_known = order_id in self._crashed
        self._crashed.add(order_id)
        log.error("order/%s: %s crashed: %r", order_id, what, error, exc_info=None if is_known else error)

    async def _take_step(self, order_id: str, walk: Work) -> bool:
        """Give back whether the order was at its end."""
        awaited = await self._awaited(order_id, walk)
        if awaited.step is None:
            return True
        outcome = await self._carry_out(order_id, awaited, walk)
        if outcome is None:
            return False
        reports = [Report(awaited.step, outcome)]
        while isinstance(reports[-1].outcome, Succeeded) and (along := along_with(reports[-1].step, awaited.placed)):
            outcome = await self._try(order_id, replace(awaited, step=along), walk)
            if outcome is None:  # then what is known goes on record first, and this is what the order awaits next
                break
            reports.append(Report(along, outcome))
        advance = order.Advance(tuple(reports), self._clock.now_ms())
        await self._ask_until_answered(Address("order", order_id), advance, new_id(self._clock), walk)
        return False

    async def _awaited(self, order_id: str, walk: Work) -> Awaited:
        """Say what the order waits for since its newest record."""
        if told := self._told.get(order_id):
            told.state, told.news = reduce(order.evolve, told.news, told.state), []
            if not isinstance(told.state, order.Absent):
                return order.awaited(told.state)
        question, address = order.ReadAwaited(), Address("order", order_id)
        answer = await self._ask_until_answered(address, question, new_id(self._clock), walk)
        assert isinstance(answer.value, Awaited), f"order/{order_id} answered {answer.value!r}"
        return answer.value

    async def _carry_out(self, order_id: str, awaited: Awaited, walk: Work) -> Outcome | None:
        """Ask until there is an outcome, patience ends, or the order has gone another way (None)."""
        assert awaited.step is not None
        patience, waits = LEGS[awaited.step].patience, self._waits()
        began_s = self._clock.monotonic_s()
        while True:
            if outcome := await self._try(order_id, awaited, walk):
                return outcome
            waited_s = self._clock.monotonic_s() - began_s  # while we were not there, nobody was silent to us
            if patience is Patience.NONE:
                return Unanswered()
            if patience is Patience.BOUNDED and waited_s + waits.next_s > self._limits.patience_s:
                return Unanswered()
            await self._rest_awake(order_id, waits)
            if self._follower.open[order_id].newest != walk.newest:
                return None

    async def _try(self, order_id: str, awaited: Awaited, walk: Work) -> Outcome | None:
        """Ask once; None where nobody answers."""
        assert awaited.step is not None
        ask = LEGS[awaited.step].ask(order_id, awaited)
        try:
            async with self._places:
                return await self._counted(order_id, awaited.step, ask, walk)
        except (ProcessorUnavailable, NoticeFailed, BusError, TimeoutError) as error:
            log.warning("order/%s: %s: %s %s", order_id, awaited.step, type(error).__name__, error)
            return None
        except Exception as error:  # a defect proves as little as silence: it may have been done, and is asked again
            self._note_crash(order_id, awaited.step, error)
            return None

    async def _counted(self, order_id: str, step: Step, ask: Ask, walk: Work) -> Outcome:
        """Ask once, and count how it ends."""
        began_s, end = self._clock.monotonic_s(), "silent"
        with span("step", step, parents=(walk.meta.trace,)) as taking:
            if taking.traceparent:
                walk = walk._replace(meta=replace(walk.meta, trace=taking.traceparent))
            try:
                outcome = await self._ask(order_id, step, ask, walk)
                end = type(outcome).__name__.lower()
                return outcome
            finally:
                taking.say("marketd.outcome", end)
                self.steps.note(step, end, self._clock.monotonic_s() - began_s)

    async def _ask(self, order_id: str, step: Step, ask: Ask, walk: Work) -> Outcome:
        match ask:
            case Command(address, message):
                return await self._command(address, message, f"{order_id}:{step}", walk)
            case Commands(each):
                for address, message in each:  # which refuse nothing
                    await self._command(address, message, f"{order_id}:{step}", walk)
                return Succeeded()
            case Charge(_, price, payment_method_id):
                with self._outside(self._limits.processor_wait_s_max):
                    charged = await self._processor.charge(order_id, price, payment_method_id)
                match charged:
                    case Captured():
                        return Succeeded()
                    case Declined(why):
                        return Denied(why)
            case PayBack():
                with self._outside(self._limits.processor_wait_s_max):
                    refunded = await self._processor.refund(order_id)
                match refunded:
                    case PaidBack():
                        return Succeeded()
                    case RefundDenied(why):
                        return Denied(why)
            case Tell(receipt):
                with self._outside(self._limits.reply_wait_s_max):
                    await self._notices.send(receipt)
                return Succeeded()

    async def _command(self, address: Address, message: Struct, command_id: str, walk: Work) -> Outcome:
        """Ask another actor; its refusal is on record there, so a repeat is refused again."""
        try:
            answer = await self._bus.ask(
                command_subject(address), self._envelope(message, command_id, walk, is_step=True)
            )
        except Refused as refused:
            return Denied(refused.reason.value)
        reservation = answer.value
        return Succeeded(reservation.licence_key if isinstance(reservation, product.Reservation) else None)

    async def _ask_until_answered(self, address: Address, message: Struct, command_id: str, walk: Work) -> Answer:
        """Ask the order itself: in the house somebody always answers in the end."""
        waits = self._waits()
        while True:
            try:
                envelope = self._envelope(message, command_id, walk, is_step=False, at_least=walk.newest)
                return await self._bus.ask(command_subject(address), envelope)
            except BusError as error:
                log.warning("%s: %s: %s %s", address, type(message).__name__, type(error).__name__, error)
            await self._rest(waits)

    def _waits(self) -> BackOff:
        return BackOff(self._clock, self._limits.retry_s, self._limits.retry_s_max)

    async def _rest(self, waits: BackOff) -> None:
        with self._away():
            await waits.rest()

    async def _rest_awake(self, order_id: str, waits: BackOff) -> None:
        """Rest, unless somebody hurries the order on."""
        self._resting[order_id] = resting = Interruptible()
        try:
            async with resting.going():
                await self._rest(waits)
        finally:
            del self._resting[order_id]

    @contextmanager
    def _outside(self, wait_s_max: float) -> Iterator[None]:
        """Wait for somebody outside, for so long and no longer."""
        with self._away(), self._deadlines.within(wait_s_max):
            yield

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Note that for now an order is nobody's work here."""
        self._elsewhere += 1
        try:
            yield
        finally:
            self._elsewhere -= 1

    def _envelope(self, message: Struct, command_id: str, walk: Work, *, is_step: bool, at_least: int = 0) -> Envelope:
        return because_of(
            walk.meta,
            message,
            self._clock,
            principal="fulfilment",
            wait_s_max=self._limits.reply_wait_s_max,
            id=command_id,
            at_least=at_least,
            is_step=is_step,
        )
