"""
A connection to NATS, by nats-py, out of which a cancellation comes where it should end something, and over which many
messages go at once.

nats-py keeps one to itself that comes while it waits for a full line to be flushed, and goes on to wait for an answer;
and `asyncio.wait_for`, by which it waits for one, does the same up to Python 3.11 where the answer comes at the same
moment. Who is to end would go on then, and whoever waits for that would wait for ever. The other way round, closing a
line that is broken may raise what nobody outside has to do with.
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
# What a broken line raises: nats-py's own errors, the system's, and what uvloop says of a closed transport.
BROKEN: Final = (NatsError, OSError, RuntimeError)


class Outgoing(NamedTuple):
    """A message with headers, which are our own: nobody looks whether they hold what a header can't."""

    subject: str
    reply: str
    headers: Mapping[str, str]
    payload: bytes


class Connection(Client):
    """A client that is cancelled while it waits for the line, and not only after that; and closed even if it broke."""

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        with heeding():
            return await super()._flush_pending(force_flush)

    async def publish_all(self, messages: Iterable[Outgoing]) -> None:
        """
        Publish all or none, by errors of nats-py. Its own `publish` looks at names and headers by regular expressions,
        and for each message at the line, which was a thirtieth of a purchase.
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
        Send what is still to be sent, and close, whatever has become of the line; raise `TimeoutError` after so long.
        Draining would wait for a server that may be gone.
        """
        try:
            async with asyncio.timeout(wait_s_max):
                with suppress(*BROKEN):  # on a broken line nats-py fails over what it can't send any more
                    await self.close()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():  # or else it is nats-py that has cancelled what it waits for itself
                raise


@contextmanager
def heeding() -> Iterator[None]:
    """End who was to end in this block, whatever has become of the cancellation."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0  # who tidies up after a cancellation still has that one

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
