"""
An event loop that leaves nothing to chance: what is ready runs in an order that a seed decides, and time is a number.

When nothing is ready, the time jumps to the next timer; so an hour costs as much as what happens in it. There are no
threads, no sockets and no signals. Tasks belong to an owner, who can die: then all its tasks are cancelled, in the
order in which they were begun.

    Stuck       nothing is ready and no timer runs: whoever waits would wait for ever
    Endless     more steps than any run should need
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from typing import Any, Final, TypeVar

T = TypeVar("T")

_Loop: Any = asyncio.AbstractEventLoop  # as Any, because it asks for sockets, signals and processes too

STEPS_MAX: Final = 400_000
TASKS_KEPT: Final = 64  # an owner forgets those that are done whenever it has twice as many as were left last time


class Stuck(Exception):
    """Whoever waits would wait for ever."""


class Endless(Exception):
    """More steps than any run should need."""


class Owner:
    """Whose tasks live and die together."""

    def __init__(self) -> None:
        self.is_alive = True
        self._tasks: list[asyncio.Task[Any]] = []
        self._crowd = TASKS_KEPT

    def take(self, task: asyncio.Task[Any]) -> None:
        """Be the owner of a new task."""
        self._tasks.append(task)
        if len(self._tasks) > self._crowd:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._crowd = 2 * len(self._tasks) + TASKS_KEPT

    def die(self) -> None:
        """Let no task take another step but to clean up."""
        self.is_alive = False
        for task in self._tasks:
            task.cancel()


class OwnedTask(asyncio.Task[Any]):
    """A task that knows whose it is; those that it begins are the same owner's."""

    owner: Owner


class SeededLoop(_Loop):  # type: ignore[misc]
    """`disorder` is how often the next callback is drawn by lot, rather than the first that was ready."""

    def __init__(self, seed: int, disorder: float = 1) -> None:
        self._chance = Random(seed).random
        self._disorder = disorder
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._now_s = 0.0
        self._timers_set = 0
        self._is_halted = False
        self.steps = 0
        self.nobody = Owner()
        self.mishaps: list[str] = []  # what callbacks raised

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._now_s

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers_set += 1
        heapq.heappush(self._timers, (when, self._timers_set, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is left out when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None, **rest: Any
    ) -> asyncio.Task[T]:
        """Begin a task of whoever is at work."""
        at_work = asyncio.current_task(self)
        return self.begin(coro, at_work.owner if isinstance(at_work, OwnedTask) else self.nobody, context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what a callback raised; that nobody asked how something ended is no mishap here."""
        error = context.get("exception")
        if "never retrieved" not in context["message"]:
            self.mishaps.append(f"{context['message']}: {error!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    # What a simulation asks of it.

    def begin(self, coro: Coroutine[Any, Any, T], owner: Owner, context: Context | None = None) -> asyncio.Task[T]:
        """Begin a task of this owner's."""
        task = OwnedTask(coro, loop=self, name="", context=context)
        task.owner = owner
        owner.take(task)
        return task

    def halt(self) -> None:
        """Let nobody take another step."""
        self._is_halted = True

    def run(self, coro: Coroutine[Any, Any, T]) -> T | None:
        """Run until it is done, and give what it gave back; None if it was halted before."""
        main = self.begin(coro, self.nobody)
        asyncio._set_running_loop(self)
        try:
            while not (main.done() or self._is_halted):
                self._step()
        finally:
            asyncio._set_running_loop(None)
        return main.result() if main.done() else None

    def bury(self, *owners: Owner) -> None:
        """Let these, and nobody, die, and clean up: nothing is left to be torn down by the garbage collector."""
        asyncio._set_running_loop(self)
        try:
            for owner in (*owners, self.nobody):
                owner.die()
            while self._ready:
                self._run_one()
        finally:
            asyncio._set_running_loop(None)

    def _step(self) -> None:
        if not self._ready:
            self._let_time_pass()
        self._run_one()

    def _run_one(self) -> None:
        ready = self._ready
        chosen = 0
        if len(ready) > 1 and (self._disorder == 1 or self._chance() < self._disorder):
            chosen = int(self._chance() * len(ready))
        handle = ready.pop(chosen)
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Endless(f"{STEPS_MAX} steps, and it is {self._now_s:.3f} s")
        if not handle._cancelled:
            handle._run()

    def _let_time_pass(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Stuck(f"nobody has anything to do after {self._now_s:.3f} s")
        self._now_s = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(timers)[2])
