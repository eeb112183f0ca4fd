"""
The carrier over NATS, by nats-py.

A subject that is served in this very process is answered in the process, unless the switch says otherwise: the
subject is the only address either way. A request published while the line is down may be delivered when it is up
again and its sender long gone; hence the deadline in every envelope, which the one who serves checks before deciding.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, Self

from msgspec.structs import replace
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError

from marketd.actors.aggregate import Refused
from marketd.bus.codec import Codec
from marketd.bus.connection import BROKEN, Connection, heeding
from marketd.bus.memory import MemoryBus, attend
from marketd.bus.port import (
    Answer,
    AnswerTooLarge,
    BusError,
    Busy,
    Envelope,
    Handler,
    NoAnswer,
    NobodyServes,
    Undecodable,
)
from marketd.bus.tally import Tally
from marketd.clock import Clock
from marketd.measures import Outcomes
from marketd.spans import is_recording, span
from marketd.trace import Cause, begin

QUEUE_GROUP: Final = "marketd"
NOBODYS_SUBJECT: Final = "market.query.nobody-serves-this"
REQUESTS_IN_HAND_MAX: Final = 4_096
PENDING_BYTES_MAX: Final = 8 * 1024 * 1024
RECONNECT_WAIT_S: Final = 0.2
PING_INTERVAL_S: Final = 5
CLOSE_WAIT_S_MAX: Final = 5.0
TOLD_AGAIN_S: Final = 60.0  # an error that stays comes five times a second
ERRORS_KNOWN_MAX: Final = 16

log = logging.getLogger("marketd.bus")


class CarrierLost(Exception):
    """There is no connection to NATS, and none is to be had."""


class NatsBus:
    """Asks and serves over one NATS connection; enter it to connect."""

    def __init__(
        self,
        url: str,
        codec: Codec,
        clock: Clock,
        *,
        user: str | None = None,
        password: str | None = None,
        in_process: bool = True,
        connect_s_max: float = 10,
    ) -> None:
        self._url, self._user, self._password = url, user, password
        self._codec, self._clock = codec, clock
        self._in_process = in_process
        self._connect_s_max = connect_s_max
        self.tally = Tally(clock)
        self._local = MemoryBus(clock, tally=self.tally)
        self._connection = Connection()
        self._in_hand = 0
        self.asks = Outcomes()  # by the name of the message
        self._lost = asyncio.Event()
        self._last_error: Exception | None = None
        self._told_until_s: dict[str, float] = {}  # by what the error says
        self._closing = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        try:
            await self._connect()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _connect(self) -> None:
        options: dict[str, Any] = {
            "name": "marketd",
            "user": self._user,
            "password": self._password,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RECONNECT_WAIT_S,
            "ping_interval": PING_INTERVAL_S,
            "max_outstanding_pings": 2,
            "pending_size": PENDING_BYTES_MAX,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_closed,
        }
        try:
            async with asyncio.timeout(self._connect_s_max):
                await self._connection.connect(self._url, **options)
        except (TimeoutError, *BROKEN) as error:
            self._closing = True
            await self._cut()
            why = self._last_error or error or "no answer"
            raise CarrierLost(f"no connection to NATS at {self._url}: {why}") from None

    async def __aexit__(self, *raised: object) -> None:
        """Take no more requests, finish those in hand, and close the line."""
        self._closing = True
        try:
            async with asyncio.timeout(CLOSE_WAIT_S_MAX):
                await self._stack.aclose()
        except TimeoutError:
            log.warning("the line to NATS was cut with %d requests in hand", self._in_hand)
        await self._cut()

    async def _cut(self) -> None:
        try:
            await self._connection.cut(CLOSE_WAIT_S_MAX)
        except TimeoutError:
            log.warning("the line to NATS did not close within %g s", CLOSE_WAIT_S_MAX)

    async def wait_lost(self) -> None:
        """Wait until the connection is closed for good without having been asked to; then raise `CarrierLost`."""
        await self._lost.wait()
        raise CarrierLost(f"NATS at {self._url} closed the connection for good")

    def statistics(self) -> dict[str, Any]:
        """Connection state and counts."""
        return {"connected": self._connection.is_connected, "in_hand": self._in_hand, **self._connection.stats}

    async def serve(self, subject: str, handler: Handler) -> None:
        await self._local.serve(subject, handler)

        async def take(message: Msg) -> None:
            await self._take(handler, message)

        try:
            async with asyncio.timeout(self._connect_s_max):
                await self._connection.subscribe(subject, queue=QUEUE_GROUP, cb=take)
                await self._round_trip()
        except (TimeoutError, *BROKEN) as error:
            raise CarrierLost(f"{subject} can't be served by way of {self._url}: {error!r}") from None

    async def tell_whoever_asks(self, subject: str, answers: Callable[[], Sequence[bytes]]) -> None:
        """Answer plain requests: everybody who serves does, and each of them with all of these."""

        async def take(message: Msg) -> None:
            for answer in answers() if message.reply and not self._closing else ():
                await self._connection.publish(message.reply, answer)

        await self._connection.subscribe(subject, cb=take)

    async def _round_trip(self) -> None:
        """
        Wait until the server knows all that we said before, because what comes over one line it takes in order: nobody
        may be told, by way of another line, that nobody serves. (nats-py's own flush() overtakes what it should flush.)
        """
        with suppress(NoRespondersError), heeding():
            await self._connection.request(NOBODYS_SUBJECT, timeout=self._connect_s_max)

    async def ask(self, subject: str, envelope: Envelope) -> Answer:
        began_s, end = self._clock.monotonic_s(), "broken off"
        name = str(type(envelope.message).__struct_config__.tag)
        with span("ask", name, kind="client", parents=(envelope.trace,)) as asking:
            if asking.traceparent:
                envelope = replace(envelope, trace=asking.traceparent)
            try:
                if self._in_process and (handler := self._local.handler_of(subject)):
                    answer = await self._local.hand_over(handler, subject, envelope)
                else:
                    answer = await self._ask(subject, envelope)
                end = "answered"
            except Refused:
                end = "refused"
                raise
            except BusError as error:
                end = error.code
                raise
            finally:
                asking.say("marketd.outcome", end)
                self.asks.note(name, end, self._clock.monotonic_s() - began_s)
        return answer

    async def _ask(self, subject: str, envelope: Envelope) -> Answer:
        left_s = (envelope.deadline - self._clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(left_s):  # publish() itself may block while the line is down
                named = {"traceparent": envelope.trace} if is_recording() and envelope.trace else None
                packed = self._codec.pack(envelope)
                with heeding():
                    reply = await self._connection.request(subject, packed, timeout=max(left_s, 0.001), headers=named)
        except NoRespondersError:
            raise NobodyServes(f"nobody serves {subject}") from None
        except MaxPayloadError:
            raise Undecodable(f"the message to {subject} is larger than the carrier takes") from None
        except (TimeoutError, *BROKEN) as error:
            raise NoAnswer(f"no answer from {subject}: {str(error) or 'the deadline has passed'}") from None
        return self._codec.unpack_answer(reply.data)

    async def _take(self, handler: Handler, message: Msg) -> None:
        """Begin to answer, at once: a subscription's callbacks come one after the other."""
        if self._closing or self._in_hand >= REQUESTS_IN_HAND_MAX:
            await self._reply(message, self._codec.pack_error(Busy("too many requests in hand")))
            return
        self._in_hand += 1
        self._tasks.create_task(self._answer(handler, message))

    async def _answer(self, handler: Handler, message: Msg) -> None:
        try:
            envelope = self._codec.unpack(message.data)
            begin((Cause(envelope.correlation, envelope.trace),))  # for as long as this task of its own lives
            left_s = (envelope.deadline - self._clock.now_ms()) / 1000
            if left_s <= 0:
                return
            async with asyncio.timeout(left_s):
                packed = self._codec.pack_answer(await attend(handler, message.subject, envelope, self.tally))
        except (Refused, BusError) as error:
            packed = self._codec.pack_error(error)
        except TimeoutError:
            return  # its sender has stopped waiting
        finally:
            self._in_hand -= 1
        await self._reply(message, packed)

    async def _reply(self, message: Msg, packed: bytes) -> None:
        if not message.reply:
            return
        if len(packed) > self._connection.max_payload:
            log.error("an answer on %s has %d bytes, more than the carrier takes", message.subject, len(packed))
            packed = self._codec.pack_error(AnswerTooLarge("the answer is larger than the carrier takes"))
        try:
            await self._connection.publish(message.reply, packed)
        except BROKEN as error:
            log.warning("an answer on %s was lost: %r", message.subject, error)

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, NatsError) or not isinstance(self._last_error, NatsError):
            self._last_error = error  # what the server said tells more than that it then hung up
        if self._is_news(repr(error)):
            log.warning("NATS: %r", error)

    def _is_news(self, said: str) -> bool:
        """Say whether it was not told lately; what is forgotten for want of room is told again."""
        now_s = self._clock.monotonic_s()
        if now_s < self._told_until_s.get(said, now_s):
            return False
        if len(self._told_until_s) >= ERRORS_KNOWN_MAX:
            self._told_until_s.clear()
        self._told_until_s[said] = now_s + TOLD_AGAIN_S
        return True

    async def _on_disconnected(self) -> None:
        if not self._closing:
            log.warning("the line to NATS is down")

    async def _on_reconnected(self) -> None:
        self._told_until_s.clear()
        log.info("the line to NATS is up again")

    async def _on_closed(self) -> None:
        if not self._closing:
            self._lost.set()
