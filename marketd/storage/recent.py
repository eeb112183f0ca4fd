"""
The newest records of a log, kept in memory for those who follow it, and the news that there are more.

Followers that keep up never touch the file; who falls behind, beyond what is kept, reads pages of it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from marketd.storage.log import Recorded


class Recent:
    """The last records, without gaps, up to `head`: so many, of so many bytes, but the last batch in any case."""

    def __init__(self, head: int, *, records_max: int, bytes_max: int) -> None:
        self.head = head
        self._records_max, self._bytes_max, self._bytes = records_max, bytes_max, 0
        self._records: deque[Recorded] = deque()
        self._batches: deque[tuple[int, int]] = deque()  # how many records each has, and of how many bytes
        self._news = asyncio.Event()

    def add(self, records: Sequence[Recorded], size_bytes: int) -> None:
        """Take in what comes next in the log, and wake the followers."""
        if not records:
            return
        self._records.extend(records)
        self._batches.append((len(records), size_bytes))
        self._bytes += size_bytes
        while (len(self._records) > self._records_max or self._bytes > self._bytes_max) and len(self._batches) > 1:
            self._drop_batch()
        self.head = records[-1].position
        self._news.set()
        self._news = asyncio.Event()

    async def wait_beyond(self, position: int) -> None:
        """Wait until the head is past the position."""
        while self.head <= position:
            await self._news.wait()

    def since(self, after: int, count_max: int) -> list[Recorded] | None:
        """Give what follows the position, or None where that is no longer, or was never, in memory."""
        if not self._records or self._records[0].position > after + 1:
            return None
        skipped = after + 1 - self._records[0].position
        until = min(skipped + count_max, len(self._records))
        return [
            self._records[index] for index in range(skipped, until)
        ]  # from the near end: islice walks from the far one

    def _drop_batch(self) -> None:
        count, size_bytes = self._batches.popleft()
        self._bytes -= size_bytes
        for _ in range(count):
            self._records.popleft()
