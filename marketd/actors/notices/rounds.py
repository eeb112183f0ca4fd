"""
Sends what waits for each endpoint, each on a round of its own.

The one rule: nobody waits for another's receiver. An endpoint that has not answered of late gets one request at a time,
and all such endpoints together have only so many, apart from those of the others; its breaker keeps what waits for it
from being tried over and over. Whatever was not noted when we died is sent again, under the same id.

    pending ── 2xx ─> delivered
       │ ╰─ anything else: again by the schedule ─> failed, when that is over
       ╰─ 410: failed, and the endpoint wants no more
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from marketd.actors.notices.posting import Answered, Line, Unreached
from marketd.actors.notices.signing import WebhookSigner
from marketd.actors.webhook import Endpoint, Why
from marketd.bus.breaker import Breaker, BreakerOpen, Circuit
from marketd.bus.port import BusError
from marketd.clock import Clock
from marketd.rests import Interruptible, jittered
from marketd.storage.database import StorageError
from marketd.storage.deliveries import Deliveries, Due, Tried
from marketd.storage.enquiries import Attempt, State

CIRCUIT: Final = "webhooks"
GONE: Final = 410
JITTER: Final = 0.1  # of a pause, added by chance: what is to be tried for three days is tried no less
READY_MAX: Final = 64
REST_S_MAX: Final = 3_600.0
MISHAP_S: Final = 5.0  # after a defect or trouble of our own
HEADERS: Final = {
    "Content-Type": "application/cloudevents+json; charset=utf-8",
    "User-Agent": "marketd",
    "Accept-Encoding": "identity",
}

log = logging.getLogger("marketd.webhooks")

Over = Callable[[Endpoint, Why], Awaitable[None]]


class RoundLimits(Struct, frozen=True):
    """
    When a delivery is tried again, after how long of nothing but failures an endpoint is given up, how many requests
    may be under way, and when breakers open; seconds.
    """

    retries_s: tuple[float, ...] = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    patience_s: float = 259_200
    endpoint_at_once_max: int = 8
    at_once_max: int = 256
    unproven_at_once_max: int = 16
    failures_max: int = 5
    open_s: float = 30


class NotDelivered(Exception):
    """An attempt that did not succeed."""

    def __init__(self, outcome: Answered | Unreached) -> None:
        super().__init__(_why(outcome))
        self.outcome = outcome


class _Round:
    """What is under way to one endpoint, and what of it is known: `room` is how many requests it may have now."""

    def __init__(self, webhook_id: str, breaker: Breaker, *, is_proven: bool) -> None:
        self.webhook_id, self.breaker, self.is_proven = webhook_id, breaker, is_proven
        self.room = 1
        self.is_going = False
        self.has_news = False
        self.ready: deque[Due] = deque()
        self.in_hand: set[str] = set()
        self.rest = Interruptible()

    def hurry(self) -> None:
        """Have it look again."""
        self.has_news = True
        self.rest.interrupt()


class Rounds:
    """Goes the rounds of all endpoints, once it has begun; `endpoints` are those there are, by their ids."""

    def __init__(
        self,
        deliveries: Deliveries,
        endpoints: Mapping[str, Endpoint],
        line: Line,
        signer: WebhookSigner,
        clock: Clock,
        limits: RoundLimits,
        on_over: Over,
    ) -> None:
        self._deliveries, self._endpoints = deliveries, endpoints
        self._line, self._signer, self._clock, self._limits = line, signer, clock, limits
        self._on_over = on_over
        self._tasks: asyncio.TaskGroup | None = None
        self._rounds: dict[str, _Round] = {}
        self._trusted: frozenset[str] = frozenset()
        self._hands = asyncio.Semaphore(limits.at_once_max)
        self._unproven = asyncio.Semaphore(limits.unproven_at_once_max)
        self._counts = dict.fromkeys(("delivered", "failed_attempts"), 0)
        self._past = sum_of([])

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Let those who were hurried before go now, and all others when they are."""
        self._tasks = tasks
        for round_ in self._rounds.values():
            self._start(round_)

    def trust(self, webhook_ids: Iterable[str]) -> None:
        """Take these for endpoints that answer, as they did when the last service ended."""
        self._trusted = frozenset(webhook_ids)

    def statistics(self) -> dict[str, int]:
        """What is under way, and what came of it since the start."""
        going = sum(round_.is_going for round_ in self._rounds.values())
        return {"rounds": going, "in_hand": sum(len(r.in_hand) for r in self._rounds.values()), **self._counts}

    def circuit(self) -> Circuit:
        """The breakers of all endpoints as one, which names none of them."""
        circuits = [round_.breaker.statistics() for round_ in self._rounds.values()]
        states = {circuit.state for circuit in circuits}
        error = next((circuit.last_error for circuit in circuits if circuit.last_error), None)
        summed = sum_of([self._past, *circuits])
        return replace(
            summed,
            state="open" if "open" in states else "half-open" if "half-open" in states else "closed",
            failures_in_row=max((circuit.failures_in_row for circuit in circuits), default=0),
            last_error=error,
        )

    def last_failure(self, webhook_id: str) -> str | None:
        """Say how an attempt at an endpoint last failed, if any has since the start."""
        round_ = self._rounds.get(webhook_id)
        error = round_.breaker.statistics().last_error if round_ else None
        return error.removeprefix(f"{NotDelivered.__name__}: ") if error else None

    def hurry(self, webhook_id: str, *, anew: bool = False) -> None:
        """Look at once what there is for an endpoint; `anew`: there is reason to think that it will take it."""
        round_ = self._rounds.get(webhook_id)
        if round_ is None:
            limits = self._limits
            breaker = Breaker(CIRCUIT, self._clock, failures_max=limits.failures_max, open_s=limits.open_s)
            round_ = self._rounds[webhook_id] = _Round(webhook_id, breaker, is_proven=webhook_id in self._trusted)
        if anew:
            round_.ready.clear()
            round_.breaker.probe()
        round_.hurry()
        self._start(round_)

    def _start(self, round_: _Round) -> None:
        if self._tasks is not None and not round_.is_going:
            round_.is_going = True
            self._tasks.create_task(self._go_round(round_))

    def forget(self, webhook_id: str) -> None:
        """Have done with an endpoint that is gone; its counts stay in the sum."""
        round_ = self._rounds.pop(webhook_id, None)
        if round_ is not None:
            self._past = sum_of([self._past, round_.breaker.statistics()])
            round_.hurry()

    async def _go_round(self, round_: _Round) -> None:
        """Send until nothing waits any more."""
        try:
            while round_.webhook_id in self._endpoints:
                round_.has_news = False
                try:
                    is_over = await self._step(round_)
                except (StorageError, BusError) as error:
                    log.warning("webhook/%s: its deliveries can't be read: %s", round_.webhook_id, error)
                    await self._rest(round_, MISHAP_S)
                    continue
                except Exception:  # a defect at one endpoint must not stop the others
                    log.exception("webhook/%s: its round crashed", round_.webhook_id)
                    await self._rest(round_, MISHAP_S)
                    continue
                if is_over and not round_.has_news:
                    return
        finally:
            round_.is_going = False

    async def _step(self, round_: _Round) -> bool:
        """Begin one attempt, or rest until there is reason to look again; give back whether there is nothing left."""
        endpoint = self._endpoints[round_.webhook_id]
        state = round_.breaker.state
        only_tests = endpoint.disabled is not None or state == "open"
        if only_tests:
            round_.ready.clear()
        if not round_.ready:
            await self._fetch(round_, only_tests=only_tests)
        room = 1 if state == "half-open" else round_.room
        if round_.ready and len(round_.in_hand) < room:
            due = round_.ready.popleft()
            round_.in_hand.add(due.delivery_id)
            assert self._tasks is not None
            self._tasks.create_task(self._attempt(round_, due))
            return False
        if round_.in_hand:
            await self._rest(round_, REST_S_MAX)
            return False
        next_at = await self._deliveries.next_at(round_.webhook_id, only_tests=endpoint.disabled is not None)
        if next_at is None:
            return True
        rest_s = max((next_at - self._clock.now_ms()) / 1000, self._limits.open_s if only_tests else 0)
        if rest_s > 0:
            await self._rest(round_, rest_s)
        return False

    async def _fetch(self, round_: _Round, *, only_tests: bool) -> None:
        known, now_ms = frozenset(round_.in_hand), self._clock.now_ms()  # which may be done by the time it is found
        count_max = READY_MAX + len(known)
        found = await self._deliveries.due(round_.webhook_id, now_ms, count_max, only_tests=only_tests)
        round_.ready.extend(due for due in found if due.delivery_id not in known)

    async def _rest(self, round_: _Round, seconds: float) -> None:
        """Rest, unless there is or comes news."""
        if round_.has_news:
            return
        async with round_.rest.going():
            await self._clock.sleep(min(seconds, REST_S_MAX))

    async def _attempt(self, round_: _Round, due: Due) -> None:
        """Make one attempt when there is room for it, if the endpoint still wants it then."""
        try:
            async with AsyncExitStack() as places:
                if not round_.is_proven:
                    await places.enter_async_context(self._unproven)
                await places.enter_async_context(self._hands)
                endpoint = self._endpoints.get(round_.webhook_id)
                if endpoint is None or (endpoint.disabled is not None and due.source != "test"):
                    return
                tried = await self._send(round_, endpoint, due)
            if tried is not None:
                await self._settle(endpoint, tried)
        except (StorageError, BusError) as error:  # it stays due, and is sent again under the same id
            log.warning("webhook/%s: an attempt can't be noted: %s", round_.webhook_id, error)
            await self._clock.sleep(MISHAP_S)
        except Exception:  # a defect in one delivery must not stop the others
            log.exception("webhook/%s: the delivery %s crashed", round_.webhook_id, due.delivery_id)
            await self._clock.sleep(MISHAP_S)
        finally:
            round_.in_hand.discard(due.delivery_id)
            round_.hurry()

    async def _send(self, round_: _Round, endpoint: Endpoint, due: Due) -> Tried | None:
        """Make one request; give back how it went, or None where the breaker let nobody through."""
        at, begun_s = self._clock.now_ms(), self._clock.monotonic_s()
        headers = HEADERS | self._signer.headers(endpoint, due.message_id, at, due.body)

        async def posted() -> Answered | Unreached:
            outcome = await self._line.post(endpoint.url, headers, due.body)
            if isinstance(outcome, Answered) and outcome.is_success:
                return outcome
            raise NotDelivered(outcome)

        try:
            outcome = await (posted() if due.source == "test" else round_.breaker.call(posted, NotDelivered))
            round_.room, round_.is_proven = min(round_.room * 2, self._limits.endpoint_at_once_max), True
        except BreakerOpen:
            return None
        except NotDelivered as failed:
            outcome = failed.outcome
            round_.room, round_.is_proven = 1, False
        took_ms = int((self._clock.monotonic_s() - begun_s) * 1000)
        if isinstance(outcome, Answered):
            attempt = Attempt(at, took_ms, outcome.status, None, outcome.body)
        else:
            attempt = Attempt(at, took_ms, None, outcome.why, b"")
        state, next_at = self._follows(due, outcome)
        return Tried(endpoint.webhook_id, due.delivery_id, due.step, attempt, state, next_at, due.source != "test")

    def _follows(self, due: Due, outcome: Answered | Unreached) -> tuple[State, int | None]:
        """Say what becomes of a delivery, and when it is tried again."""
        if isinstance(outcome, Answered) and outcome.is_success:
            return "delivered", None
        is_gone = isinstance(outcome, Answered) and outcome.status == GONE
        if is_gone or due.source == "test" or due.step >= len(self._limits.retries_s):
            return "failed", None
        pause_s = self._limits.retries_s[due.step]
        pause_s = pause_s * (1 - JITTER) + jittered(self._clock, pause_s * 2 * JITTER)
        asked_s = outcome.retry_after_s if isinstance(outcome, Answered) else 0
        return "pending", self._clock.now_ms() + int(max(pause_s, asked_s) * 1000)

    async def _settle(self, endpoint: Endpoint, tried: Tried) -> None:
        """Put the attempt on record; have the endpoint disabled where it wants no more, or has failed for too long."""
        failing_since = await self._deliveries.note(tried)
        self._counts["delivered" if tried.state == "delivered" else "failed_attempts"] += 1
        if not tried.counts or endpoint.disabled is not None:
            return
        if tried.attempt.status == GONE:
            await self._on_over(endpoint, "gone")
        elif failing_since is not None and tried.attempt.at >= failing_since + self._limits.patience_s * 1000:
            await self._on_over(endpoint, "failing")


def sum_of(circuits: Iterable[Circuit]) -> Circuit:
    """Add up the counts of breakers."""
    counted = [(c.calls, c.failures, c.refused, c.opened, c.successes) for c in circuits]
    calls, failures, refused, opened, successes = map(sum, zip((0,) * 5, *counted, strict=True))
    return Circuit(CIRCUIT, "closed", 0, calls, failures, refused, opened, None, successes)


def _why(outcome: Answered | Unreached) -> str:
    return f"status {outcome.status}" if isinstance(outcome, Answered) else outcome.why
