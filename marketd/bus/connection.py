"""
A NATS client (nats-py) that does not swallow cancellations, and that publishes many messages at once.

nats-py swallows a cancellation that arrives while it waits for a full send buffer to be flushed, and goes on to wait
for the answer. `asyncio.wait_for`, with which it waits, does the same up to Python 3.11 if the answer arrives at the
same moment. The cancelled task would go on, and a caller that waits for its end would wait for ever. Conversely,
closing a broken connection may raise errors and cancellations that are internal to nats-py.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

from nats.aio.client import Client
from nats.errors import BadSubjectError, ConnectionClosedError, ConnectionDrainingError, MaxPayloadError
from nats.errors import Error as NatsError
from nats.protocol.command import hpub_cmd

HEAD: Final = "NATS/1.0\r\n"
# What a broken connection raises: nats-py's own errors, the system's, and uvloop's for a closed transport.
BROKEN: Final = (NatsError, OSError, RuntimeError)


class Outgoing(NamedTuple):
    """A message with headers, which must be our own: they are not checked for characters that a header can't hold."""

    subject: str
    reply: str
    headers: Mapping[str, str]
    payload: bytes


class Connection(Client):
    """A client that can be cancelled while it waits for a flush, and closed even if its connection is broken."""

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        with heeding():
            return await super()._flush_pending(force_flush)

    async def publish_all(self, messages: Iterable[Outgoing]) -> None:
        """
        Publish all messages, or raise an error of nats-py and publish none. nats-py's own `publish` checks subjects and
        headers with regular expressions and flushes for each message, which took a thirtieth of a purchase.
        """
        if self.is_closed:
            raise ConnectionClosedError
        if self.is_draining_pubs:
            raise ConnectionDrainingError
        commands, size = [], 0
        for subject, reply, headers, payload in messages:
            if not subject or " " in subject or not subject.isprintable():
                raise BadSubjectError
            if len(payload) > self.max_payload:
                raise MaxPayloadError
            head = "".join([HEAD, *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"])
            commands.append(hpub_cmd(subject, reply, head.encode(), payload))
            size += len(payload)
        self.stats["out_msgs"] += len(commands)
        self.stats["out_bytes"] += size
        await self._send_command(b"".join(commands))
        await self._flush_pending()

    async def cut(self, wait_s_max: float) -> None:
        """
        Send what is pending and close, whatever state the connection is in; raise `TimeoutError` after `wait_s_max`.
        Draining would wait for a server that may be gone.
        """
        try:
            async with asyncio.timeout(wait_s_max):
                with suppress(*BROKEN):  # on a broken connection nats-py fails to send what is pending
                    await self.close()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():  # otherwise nats-py cancelled a task of its own, for which it waits
                raise


@contextmanager
def heeding() -> Iterator[None]:
    """Raise `CancelledError` when the block ends, if the task was cancelled within it and that was swallowed."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0  # a task that cleans up after a cancellation still counts it

    def is_to_end() -> bool:
        return task is not None and task.cancelling() > before

    try:
        yield
    except Exception:
        if is_to_end():
            raise asyncio.CancelledError from None
        raise
    if is_to_end():
        raise asyncio.CancelledError
