"""The requests in hand: counted, so that the end can wait for them. Once it does, newcomers are sent away."""

import asyncio
from types import TracebackType


class InHand:
    """Entered by every request that is let in."""

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
        """Let nobody in any more, and wait until all are out."""
        self.is_closing = True
        if self._count:
            await self._none.wait()
