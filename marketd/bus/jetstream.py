"""
The stream of public events in JetStream, by nats-py, over a line of its own: whoever catches up there keeps no command
waiting.

Messages go out one after the other without waiting for each answer, and each says which number it has to follow, and
which message of ours: so after the first that is not taken the server takes none of the rest, though somebody else had
published just as many. Answers are counted until all are there.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from marketd.bus.connection import BROKEN, Connection, Outgoing, heeding
from marketd.bus.nats import (
    CLOSE_WAIT_S_MAX,
    NOBODYS_SUBJECT,
    PENDING_BYTES_MAX,
    PING_INTERVAL_S,
    RECONNECT_WAIT_S,
    CarrierLost,
)
from marketd.bus.stream import (
    Behind,
    Consumers,
    Last,
    Message,
    StreamAway,
    StreamLimits,
    StreamMoved,
    StreamRefused,
    StreamRepeated,
)
from marketd.deadlines import Deadlines

ID: Final = "Nats-Msg-Id"
AFTER: Final = "Nats-Expected-Last-Sequence"
AFTER_ID: Final = "Nats-Expected-Last-Msg-Id"
OURS: Final = "marketd.integrator"  # by which the consumers that we made are told from others
WRONG_LAST: Final = frozenset({10070, 10071, 10164})
NOBODY: Final = b'{"error":{"description":"there is no stream that takes it"}}'  # what an empty answer says

log = logging.getLogger("marketd.events")


class _Refusal(Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class _Taken(Struct, frozen=True):
    """The server's answer to a message: its number, or why there is none."""

    seq: int = 0
    duplicate: bool = False
    error: _Refusal | None = None


class _Window:
    """Messages that are on their way, and how many of them were answered."""

    def __init__(self, after: int, count: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._first, self._next, self._end = after + 1, after + 1, after + count

    def answer(self, data: bytes) -> None:
        """Take in the next answer: they come in the order of the messages."""
        try:
            taken = msgspec.json.decode(data or NOBODY, type=_Taken)
        except msgspec.DecodeError as error:
            taken = _Taken(error=_Refusal(description=f"an answer that can't be read: {error}"))
        if taken.error is not None:
            kind = StreamMoved if taken.error.err_code in WRONG_LAST else StreamRefused
            self.fail(kind(taken.error.description))
        elif taken.duplicate:  # by its id, within the duplicate window
            self.fail(StreamRepeated(self._next - self._first))
        elif taken.seq != self._next:
            self.fail(StreamMoved(f"expected the number {self._next}, but the message got {taken.seq}"))
        elif self._next == self._end and not self.done.done():
            self.done.set_result(None)
        self._next += 1

    def fail(self, error: Exception) -> None:
        """End it, if it is not at its end."""
        if not self.done.done():
            self.done.set_exception(error)

    def give_up(self) -> None:
        """Have nobody wait for it any more."""
        if not self.done.cancel() and not self.done.cancelled():
            self.done.exception()  # or asyncio would complain that nobody has looked at it


class JetStream:
    """One stream at a NATS server, of all below a subject; enter it to connect."""

    def __init__(
        self, url: str, name: str, above: str, limits: StreamLimits, *, user: str | None, password: str | None
    ) -> None:
        self._url, self._limits = url, limits
        self._stream, self._above = name, above
        self._user, self._password = user, password
        self._connection, self._deadlines = Connection(), Deadlines()
        self._window: _Window | None = None
        self._windows = 0
        self._look_again: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        connection = self._connection
        options: dict[str, Any] = {
            "name": "marketd events",
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
        }
        try:
            async with asyncio.timeout(self._limits.answer_wait_s_max):
                await connection.connect(self._url, **options)
                self._inbox = connection.new_inbox()
                await connection.subscribe(f"{self._inbox}.*", cb=self._on_answer)
        except (TimeoutError, *BROKEN) as error:
            await self._close()
            raise CarrierLost(f"no connection to NATS at {self._url}: {error!r}") from None
        self._api = connection.jetstream(timeout=self._limits.answer_wait_s_max)
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._close()

    async def _close(self) -> None:
        with suppress(TimeoutError):  # the carrier of commands, on its own line, says so aloud
            await self._connection.cut(CLOSE_WAIT_S_MAX)

    def on_back(self, look_again: Callable[[], None]) -> None:
        self._look_again = look_again

    async def prepare(self, consumers: Consumers) -> None:
        async with self._asking() as api:
            await self._make_stream(api)
            theirs = {info.name: info.config for info in await api.consumers_info(self._stream)}
            ours = {name for name, config in theirs.items() if OURS in (config.metadata or {})}
            for name in ours - consumers.keys():
                await api.delete_consumer(self._stream, name)
            for name, subjects in consumers.items():
                wanted = self._consumer(name, subjects)
                if name not in theirs or _terms_of(theirs[name]) != _terms_of(wanted):
                    await api.add_consumer(self._stream, wanted)  # where there is one, it goes on from where it was

    async def _make_stream(self, api: JetStreamContext) -> None:
        limits = self._limits
        wanted: dict[str, Any] = {
            "subjects": [f"{self._above}.>"],
            "max_age": limits.keep_s,
            "max_bytes": limits.keep_bytes_max,
            "duplicate_window": min(limits.duplicate_window_s, limits.keep_s),
        }
        try:
            there = (await api.stream_info(self._stream)).config
        except NotFoundError:
            await api.add_stream(StreamConfig(name=self._stream, retention=RetentionPolicy.LIMITS, **wanted))
            return
        if any(getattr(there, name) != value for name, value in wanted.items()):
            await api.update_stream(there.evolve(**wanted))  # what else the operator has set there stays

    def _consumer(self, name: str, subjects: Sequence[str]) -> ConsumerConfig:
        """What is not acknowledged comes again, for ever: who never misses a sale may be away for a while."""
        return ConsumerConfig(
            durable_name=name,
            filter_subjects=list(subjects) if len(subjects) > 1 else None,
            filter_subject=subjects[0] if len(subjects) == 1 else None,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._limits.ack_wait_s,
            max_deliver=-1,
            max_ack_pending=self._limits.unacknowledged_max,
            metadata={OURS: name},
        )

    async def behind(self) -> Mapping[str, Behind]:
        async with self._asking() as api:
            infos = await api.consumers_info(self._stream)
        return {info.name: Behind(info.num_pending or 0, info.num_ack_pending or 0) for info in infos}

    async def last(self) -> Last:
        async with self._asking() as api:
            state = (await api.stream_info(self._stream)).state
            if not state.messages:
                return Last(state.last_seq, None)
            try:
                message = await api.get_msg(self._stream, seq=state.last_seq)
            except NotFoundError:  # it was deleted by hand, or its time has come this very moment
                return Last(state.last_seq, None)
            return Last(state.last_seq, (message.headers or {}).get(ID))

    async def publish(self, messages: Sequence[Message], after: int) -> None:
        if not self._connection.is_connected:
            raise StreamAway(f"there is no connection to NATS at {self._url}")
        self._windows += 1
        self._window = window = _Window(after, len(messages))
        reply = f"{self._inbox}.{self._windows}"
        try:
            async with self._asking():
                await self._connection.publish_all(_chained(messages, after, reply))
                await window.done
        finally:
            window.give_up()
            self._window = None

    async def tell(self, messages: Sequence[Message]) -> None:
        """Publish for whoever listens just now, whatever the stream; raise `StreamAway`."""
        if not self._connection.is_connected:
            raise StreamAway(f"there is no connection to NATS at {self._url}")
        async with self._asking():
            await self._connection.publish_all(Outgoing(m.subject, "", {ID: m.id}, m.payload) for m in messages)
            with suppress(NoRespondersError):  # what comes over one line the server takes in order
                await self._connection.request(NOBODYS_SUBJECT, timeout=self._limits.answer_wait_s_max)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[JetStreamContext]:
        """Ask within the time there is, and call the errors by our names."""
        try:
            with self._deadlines.within(self._limits.answer_wait_s_max), heeding():
                yield self._api
        except APIError as error:
            if isinstance(error, ServiceUnavailableError) and not error.description:  # nobody has answered
                raise StreamAway(f"the server at {self._url} has no JetStream, or not yet") from None
            raise StreamRefused(error.description or repr(error)) from None
        except (TimeoutError, *BROKEN) as error:
            raise StreamAway(f"no answer from JetStream at {self._url}: {error!r}") from None

    async def _on_answer(self, message: Msg) -> None:
        if self._window is not None and message.subject.endswith(f".{self._windows}"):  # not of one that was given up
            self._window.answer(message.data)

    async def _on_disconnected(self) -> None:
        if self._window is not None:
            self._window.fail(StreamAway(f"the line to NATS at {self._url} is down"))

    async def _on_reconnected(self) -> None:
        self._look_again()

    async def _on_error(self, error: Exception) -> None:
        log.debug("NATS: %r", error)  # the carrier of commands, on its own line, says so aloud


def _chained(messages: Sequence[Message], after: int, reply: str) -> Iterator[Outgoing]:
    """Have each follow that number, and the message before it."""
    headers: dict[str, str] = {}
    for number, (subject, id, payload) in enumerate(messages, after):
        headers = {ID: id, AFTER: str(number), **({AFTER_ID: headers[ID]} if headers else {})}
        yield Outgoing(subject, reply, headers, payload)


def _terms_of(config: ConsumerConfig) -> tuple[list[str], float | None, int | None]:
    """Say what of a consumer may have to be changed."""
    return list(config.filter_subjects or [config.filter_subject or ""]), config.ack_wait, config.max_ack_pending
