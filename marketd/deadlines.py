"""
Deadlines: waits with a timeout, many of which share one timer.

`asyncio.timeout` schedules a timer for each wait, and cancels it. Nearly every wait ends long before its deadline, and
there were twenty in a purchase, which took a twelfth of its time. Here a wait is only recorded, and while there are
any, their deadlines are checked every `LOOK_S`: a timeout may come that much too late.
"""

import asyncio
from math import inf
from types import TracebackType
from typing import Final

LOOK_S: Final = 0.05


class Deadlines:
    """The waits of one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waits: dict[Deadline, None] = {}  # in the order in which they began, so that a simulation is reproducible
        self._first_s = inf  # the earliest deadline
        self._is_looking = False

    def within(self, seconds: float) -> "Deadline":
        """`with deadlines.within(seconds):` ends the block with `TimeoutError` if it takes longer."""
        return Deadline(self, seconds)

    def begin(self, wait: "Deadline", seconds: float) -> None:
        """Record a wait of the current task."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "who waits is a task"
        wait.task, wait.until_s = task, loop.time() + seconds
        self._first_s = min(self._first_s, wait.until_s)
        self._waits[wait] = None
        if not self._is_looking:
            self._is_looking = True
            loop.call_later(LOOK_S, self._look, loop)

    def end(self, wait: "Deadline") -> None:
        """Remove a wait that has ended."""
        self._waits.pop(wait, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        if now_s >= self._first_s:
            over = [wait for wait in self._waits if wait.until_s <= now_s]
            for wait in over:
                del self._waits[wait]
                wait.is_over = True
                wait.task.cancel()
            self._first_s = min((wait.until_s for wait in self._waits), default=inf)
        self._is_looking = bool(self._waits)
        if self._is_looking:
            loop.call_later(LOOK_S, self._look, loop)


class Deadline:
    """
    One wait, made by `Deadlines.within`; when its task is cancelled meanwhile it behaves as `asyncio.timeout` does.
    """

    __slots__ = ("_cancelling", "_deadlines", "_seconds", "is_over", "task", "until_s")

    task: asyncio.Task[object]
    until_s: float

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines, self._seconds, self.is_over = deadlines, seconds, False

    def __enter__(self) -> None:
        self._deadlines.begin(self, self._seconds)
        self._cancelling = self.task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.is_over:
            self._deadlines.end(self)
        elif self.task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
