"""Counts the requests in progress, so that shutdown can wait for them; from then on new ones are rejected."""

import asyncio
from types import TracebackType


class InHand:
    """Entered by every request that is admitted."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self.is_closing = False

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count -= 1
        if self.is_closing and not self._count:
            self._none.set()

    async def wait_none(self) -> None:
        """Admit no more requests, and wait until none is in progress."""
        self.is_closing = True
        if self._count:
            await self._none.wait()
