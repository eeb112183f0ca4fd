"""
A connection to NATS, by nats-py, out of which a cancellation comes where it should end something.

nats-py keeps one to itself that comes while it waits for a full line to be flushed, and goes on to wait for an answer;
and `asyncio.wait_for`, by which it waits for one, does the same up to Python 3.11 where the answer comes at the same
moment. Who is to end would go on then, and whoever waits for that would wait for ever.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nats.aio.client import Client


class Connection(Client):
    """A client that is cancelled while it waits for the line, and not only after that."""

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        with heeding():
            return await super()._flush_pending(force_flush)


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
