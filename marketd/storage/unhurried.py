"""
Follow the log with pauses: under load, records are collected into larger batches.

Each batch has a fixed cost, whatever its size: a transaction, a round trip to the server, and every handover of the GIL
to the thread that does it. Under load, a follower without pauses processes many small batches and slows the writers
down. So there is a pause after a batch of `MANY` or more records, but not while the follower is far behind.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from marketd.clock import Clock
from marketd.storage.log import EventLog, Recorded

MANY: Final = 8  # the size of a batch from about a hundred orders a second
PAUSE_S: Final = 0.01
FAR_RECORDS: Final = 512


async def unhurried(events: EventLog, after: int, clock: Clock) -> AsyncGenerator[Sequence[Recorded], None]:
    """Follow the log for ever, as `tail` does, with pauses under load."""
    async with aclosing(events.tail(after)) as batches:
        async for batch in batches:
            yield batch
            if len(batch) >= MANY and events.head - batch[-1].position < FAR_RECORDS:
                await clock.sleep(PAUSE_S)
