"""
Following the log unhurriedly: where many records come at once, more are let come before they are taken in.

A batch costs by itself, whatever is in it: a transaction, a trip to the server, and each exchange of Python's lock with
the thread that does it. Who is prompt under load takes in many small batches, and holds up those who make the records.
So after a batch of `MANY` there is a pause; who is far behind makes none, and where few come each is taken in at once.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from marketd.clock import Clock
from marketd.storage.log import EventLog, Recorded

MANY: Final = 8  # as come together where more than a hundred orders a second do
PAUSE_S: Final = 0.01
FAR_RECORDS: Final = 512


async def unhurried(events: EventLog, after: int, clock: Clock) -> AsyncGenerator[Sequence[Recorded], None]:
    """Follow the log for ever, as `tail` does, with pauses under load."""
    async with aclosing(events.tail(after)) as batches:
        async for batch in batches:
            yield batch
            if len(batch) >= MANY and events.head - batch[-1].position < FAR_RECORDS:
                await clock.sleep(PAUSE_S)
