"""
Takes the public events to webhooks: follows the log, finds who is to be told, and has it sent.

The one rule: only the log starts a delivery, but for what somebody asks for by hand. What a batch of records leads to
is queued together with the position that it was read up to, so neither a crash nor a dead receiver loses or doubles
anything. Who is told is decided as things stood at the record: an endpoint gets what happened after it was registered,
and what was before, when asked for, from the log.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import reduce
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from marketd.actors.address import Address
from marketd.actors.notices.posting import Line
from marketd.actors.notices.rounds import RoundLimits, Rounds
from marketd.actors.notices.signing import WebhookSigner
from marketd.actors.webhook import WEBHOOK, Board, Disable, Endpoint, Why, evolve, wants
from marketd.bus.port import Bus, BusError, Envelope, NoAnswer
from marketd.bus.subjects import command_subject
from marketd.clock import DAY_MS, Clock, id_of, new_id
from marketd.storage.database import StorageError
from marketd.storage.deliveries import SPAN_RECORDS, SWEPT_MAX, Deliveries, Heard, Message
from marketd.storage.enquiries import Source
from marketd.storage.log import EventLog, Recorded
from marketd.storage.unhurried import unhurried

SWEEP_S: Final = 3_600.0
MISHAP_S: Final = 5.0
NOTED_EVERY: Final = 256  # records; as many are heard of again at the start where none of them said anything
LOOKS: Final = 10  # so often it is looked how many wait, on the way to as many as may
OWN: Final = frozenset({"product", "order"})  # of these there are a seller's own

NOTHING: Final = Board()

log = logging.getLogger("marketd.webhooks")


class Telling(Struct, frozen=True):
    """A public event: its id, its name as `order.completed`, whose sale or product it is about, and its body."""

    message_id: str
    name: str
    seller_id: str | None
    body: bytes


class Backlog(NamedTuple):
    """How many deliveries wait for endpoints that are on, and for those that are off; how late the latest is."""

    waiting: int
    disabled: int
    late_s: float


Tell = Callable[[Recorded], Awaitable[Sequence[Telling]]]


class CourierLimits(Struct, frozen=True):
    """How patient it is, how much may wait for one endpoint, and how long and how many of its deliveries are kept."""

    rounds: RoundLimits = RoundLimits()
    waiting_max: int = 100_000
    keep_days: float = 30
    kept_max: int = 10_000
    reply_wait_s_max: float = 10


class Courier:
    """Follows the log; open it, then run it for as long as the service lives."""

    def __init__(
        self,
        bus: Bus,
        events: EventLog,
        tell: Tell,
        deliveries: Deliveries,
        line: Line,
        signer: WebhookSigner,
        clock: Clock,
        limits: CourierLimits,
    ) -> None:
        self._bus, self._log, self._tell = bus, events, tell
        self._deliveries, self._clock, self._limits = deliveries, clock, limits
        self._boards: dict[str, Board] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._seeing_all: dict[str, Endpoint] = {}
        self._owners: dict[str, str] = {}
        self._queued: Counter[str] = Counter()  # since somebody looked how many wait
        self._heard = self._noted = self._begun_at = 0
        self._unnoted: dict[int, tuple[int, int]] = {}  # what `spans` was heard of and is not on record
        self._news = asyncio.Event()
        self._trouble: str | None = None
        self.rounds = Rounds(deliveries, self._endpoints, line, signer, clock, limits.rounds, self._disable)

    @property
    def heard(self) -> int:
        """The position up to which the log was followed."""
        return self._heard

    @property
    def trouble(self) -> str | None:
        """Why nothing more is queued, or None where that goes on."""
        return self._trouble

    def statistics(self) -> dict[str, int]:
        """How far the log was followed, how many endpoints there are, and what is under way to them."""
        disabled = sum(endpoint.disabled is not None for endpoint in self._endpoints.values())
        counts = {"position": self._heard, "endpoints": len(self._endpoints), "disabled": disabled}
        return {**counts, **self.rounds.statistics()}

    async def backlog(self) -> Backlog:
        """Say what waits; raise `StorageError`."""
        found = [one for one in await self._deliveries.backlogs() if one.webhook_id in self._endpoints]
        on = [one for one in found if self._endpoints[one.webhook_id].disabled is None]
        waiting, now_ms = sum(one.waiting for one in on), self._clock.now_ms()
        due_at = min((one.next_at for one in on if one.next_at is not None), default=now_ms)
        return Backlog(waiting, sum(one.waiting for one in found) - waiting, max(0, now_ms - due_at) / 1000)

    def endpoint(self, owner_id: str, webhook_id: str) -> Endpoint | None:
        """Find an endpoint of somebody's."""
        return self._boards.get(owner_id, NOTHING).endpoints.get(webhook_id)

    def endpoints(self) -> list[tuple[str, Endpoint]]:
        """Give all of them, each with the id of whose it is."""
        return [(self._owners[webhook_id], endpoint) for webhook_id, endpoint in self._endpoints.items()]

    async def wait_heard(self, position: int, deadline: int) -> None:
        """Wait until the log was followed so far; raise `NoAnswer` at the deadline, in ms since the epoch."""
        try:
            async with asyncio.timeout((deadline - self._clock.now_ms()) / 1000):
                while self._heard < position:
                    await self._news.wait()
        except TimeoutError:
            raise NoAnswer(f"the courier is at {self._heard}, not yet at {position}") from None

    async def open(self) -> None:
        """Learn how things stood when the last service ended."""
        book = await self._deliveries.book(self._log.head)
        self._heard = self._noted = book.position
        self._begun_at = book.begun_at
        for owner_id, packed in book.boards.items():
            self._put(owner_id, msgspec.json.decode(packed, type=Board))
        self.rounds.trust(self._endpoints.keys() - book.failing)
        for webhook_id in book.waiting:
            self.rounds.hurry(webhook_id)

    async def run(self) -> None:
        """Follow the log for ever."""
        following = unhurried(self._log, self._heard, self._clock)
        async with asyncio.TaskGroup() as tasks, aclosing(following) as batches:
            self.rounds.begin(tasks)
            tasks.create_task(self._sweep())
            async for batch in batches:
                await self._hear(batch)

    def may_know(self, endpoint: Endpoint, told: Telling) -> bool:
        """Say whether an endpoint may be told of an event: of a seller's own products and sales, or of all."""
        is_own = told.seller_id == self._owners.get(endpoint.webhook_id) and told.name.partition(".")[0] in OWN
        return is_own or endpoint.scope == "all"

    def _put(self, owner_id: str, board: Board) -> None:
        for webhook_id in self._boards.get(owner_id, NOTHING).endpoints:
            for book in (self._endpoints, self._seeing_all, self._owners):
                book.pop(webhook_id, None)
        self._boards[owner_id] = board
        for webhook_id, endpoint in board.endpoints.items():
            self._endpoints[webhook_id], self._owners[webhook_id] = endpoint, owner_id
            if endpoint.scope == "all":
                self._seeing_all[webhook_id] = endpoint

    async def _hear(self, batch: Sequence[Recorded]) -> None:
        """Take in a batch of records, and note it before anything is sent."""
        boards: dict[str, bytes] = {}
        gone: list[str] = []
        renewed: list[str] = []
        messages: list[Message] = []
        for record in batch:
            kind, key = Address.parse(record.stream)
            if kind == WEBHOOK.kind:
                before = self._boards.get(key, NOTHING)
                after = reduce(evolve, record.commit.events, before)
                gone += before.endpoints.keys() - after.endpoints.keys()
                renewed += [webhook_id for webhook_id in after.endpoints if _is_renewed(webhook_id, before, after)]
                self._put(key, after)
                boards[key] = msgspec.json.encode(after)
            elif record.position > self._begun_at and self._endpoints:
                messages += [message for told in await self._told(record) for message in self._messages(told)]
        now_ms = self._clock.now_ms()
        _widen(self._unnoted, batch)
        heard = Heard(batch[-1].position, boards, gone, renewed, messages, self._unnoted, now_ms)
        if boards or messages or heard.position >= self._noted + NOTED_EVERY:
            await self._note(heard)
        self._heard, self._trouble = heard.position, None
        self._news.set()
        self._news = asyncio.Event()
        await self._go_on(heard)

    async def _told(self, record: Recorded) -> Sequence[Telling]:
        """Find out what a record tells; while that can't be found out nothing goes on here, but all sales do."""
        while True:
            try:
                return await self._tell(record)
            except Exception as error:  # a defect, or a log that can't be read
                self._trouble = f"{type(error).__name__}: {error}"
                log.exception("deliveries wait in the log, after position %d", record.position - 1)
            await self._clock.sleep(MISHAP_S)

    def _messages(self, told: Telling) -> list[Message]:
        """Make a message of an event for each endpoint that is to be told of it."""
        of_seller = self._boards.get(told.seller_id or "", NOTHING).endpoints
        now_ms = self._clock.now_ms()
        return [
            message_of(endpoint, told, "event", now_ms)
            for endpoint in {**of_seller, **self._seeing_all}.values()
            if endpoint.disabled is None and wants(endpoint.events, told.name) and self.may_know(endpoint, told)
        ]

    async def settle(self) -> None:
        """
        Put on record when it was that the log came so far, which otherwise waits until there is more to note; raise
        `StorageError`, for somebody waits.
        """
        if self._unnoted:
            await self._put_down(Heard(self._heard, {}, [], [], [], self._unnoted, self._clock.now_ms()))

    async def _note(self, heard: Heard) -> None:
        """Put it on record; while that can't be done nothing goes on, and the log keeps what is due."""
        while True:
            try:
                return await self._put_down(heard)
            except (StorageError, BusError) as error:
                self._trouble = str(error)
                log.error("deliveries can't be noted: %s", error)
            await self._clock.sleep(MISHAP_S)

    async def _put_down(self, heard: Heard) -> None:
        spans = dict(heard.spans)
        await self._deliveries.take(heard._replace(spans=spans))
        self._noted = max(self._noted, heard.position)
        for span in [span for span in spans if self._unnoted.get(span) == spans[span]]:
            del self._unnoted[span]

    async def _go_on(self, heard: Heard) -> None:
        for webhook_id in heard.gone:
            self.rounds.forget(webhook_id)
            self._queued.pop(webhook_id, None)
        for webhook_id in heard.renewed:
            self.rounds.hurry(webhook_id, anew=True)
        counts = Counter(message.webhook_id for message in heard.messages)
        for webhook_id in (known for known in counts if known in self._endpoints):
            self.rounds.hurry(webhook_id)
            self._queued[webhook_id] += counts[webhook_id]
            if self._queued[webhook_id] * LOOKS >= self._limits.waiting_max:
                self._queued[webhook_id] = 0
                await self._look_at(webhook_id)

    async def _look_at(self, webhook_id: str) -> None:
        """Disable an endpoint for which too many wait: what is not queued then is still in the log."""
        try:
            is_full = await self.room(webhook_id) == 0
        except StorageError as error:  # the next that are queued will have it looked at again
            log.error("what waits for webhook/%s can't be counted: %s", webhook_id, error)
            return
        if is_full and (endpoint := self._endpoints.get(webhook_id)):
            await self._disable(endpoint, "too many waiting")

    async def room(self, webhook_id: str) -> int:
        """Say how many more may be made to wait for an endpoint; raise `StorageError`."""
        return max(0, self._limits.waiting_max - await self._deliveries.waiting(webhook_id))

    async def _disable(self, endpoint: Endpoint, why: Why) -> None:
        """Have the owner's actor put on record that nothing more is sent; the record is what makes it so."""
        owner_id = self._owners.get(endpoint.webhook_id)
        if owner_id is None:
            return
        now_ms = self._clock.now_ms()
        envelope = Envelope(
            id=new_id(self._clock),
            message=Disable(endpoint.webhook_id, endpoint.url, why, now_ms),
            correlation=new_id(self._clock),
            deadline=now_ms + int(self._limits.reply_wait_s_max * 1000),
            principal="courier",
            at_least=self._heard,
        )
        try:
            await self._bus.ask(command_subject(Address(WEBHOOK.kind, owner_id)), envelope)
        except BusError as error:  # the next failure will ask again
            log.warning("webhook/%s can't be disabled: %s", endpoint.webhook_id, type(error).__name__)
        else:
            log.warning("webhook/%s of %s is disabled: %s", endpoint.webhook_id, owner_id, why)

    async def _sweep(self) -> None:
        while True:
            oldest_at = self._clock.now_ms() - int(self._limits.keep_days * DAY_MS)
            try:
                while await self._deliveries.sweep(oldest_at, self._limits.kept_max) >= SWEPT_MAX:
                    pass
            except StorageError as error:
                log.error("old deliveries stay: %s", error)
            await self._clock.sleep(SWEEP_S)


def message_of(endpoint: Endpoint, told: Telling, source: Source, at: int, *, drawn_from: str = "") -> Message:
    """Make the delivery of an event to an endpoint, always the same of the same."""
    drawn = sha256(f"{endpoint.webhook_id} {told.message_id} {drawn_from}".encode()).digest()
    return Message(id_of(at, drawn), endpoint.webhook_id, told.message_id, told.name, source, at, told.body)


def _is_renewed(webhook_id: str, before: Board, after: Board) -> bool:
    """Say whether there is reason to think that an endpoint will take what it did not: it is elsewhere, or on again."""
    was, is_ = before.endpoints.get(webhook_id), after.endpoints[webhook_id]
    return was is not None and (was.url != is_.url or (was.disabled is not None and is_.disabled is None))


def _widen(spans: dict[int, tuple[int, int]], batch: Sequence[Recorded]) -> None:
    """Take in the first and the last time of the records in each span of the log."""
    for record in batch:
        span, at = (record.position - 1) // SPAN_RECORDS, record.commit.at
        first_at, last_at = spans.get(span, (at, at))
        spans[span] = (min(first_at, at), max(last_at, at))
