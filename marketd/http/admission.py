"""
Admission control: under overload some requests are rejected at once, so that the others are served in time.

There are two queues: the requests in progress, and the orders whose saga has work to do in this process, because
accepting an order is the smaller part of its work. By Little's law a queue no longer than its throughput times a delay
drains within that delay, so that many entries are always allowed. A burst may exceed that length, up to a maximum; but
once a queue has stayed above it for `PATIENCE_S` it is no burst, and further entries are rejected ("Fail at Scale", ACM
Queue 13(8); CoDel, RFC 8289). Rejecting costs a fraction of serving: it comes before tokens, bodies and counters.

Requests that are answered without waiting, as most reads are, never stand in these queues: they wait in the kernel, and
there are no more of them than connections.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Final

from aiohttp import web
from msgspec import Struct

from marketd.clock import Clock
from marketd.http.operation import EVENT_STREAM, operation_of
from marketd.http.problems import RETRY_AFTER_S, Overloaded
from marketd.http.weights import prefers

LOOK_S: Final = 0.025
PATIENCE_S: Final = 0.5
CALM_S: Final = 1.0  # a new burst is allowed only after this long without a rejection
SMOOTHING: Final = 0.05  # the weight of the newest sample in the moving average of the throughput
UNCOUNTED: Final = nullcontext()


class Queue:
    """Tracks one queue's throughput, and sets its maximum length."""

    def __init__(self, clock: Clock, *, length_min: int, length_max: int, delay_s_max: float) -> None:
        self._clock, self._delay_s_max = clock, delay_s_max
        self._length_min, self._length_max = length_min, length_max
        self._looked_s = self._short_s = clock.monotonic_s()
        self._refused_s = -math.inf
        self._done, self._per_s = 0, 0.0
        self.length_max = length_max

    def look(self, length: int, done: int) -> None:
        """Sample the queue's length and how many entries have ever left it, and set its maximum length."""
        now_s = self._clock.monotonic_s()
        per_s = (done - self._done) / max(now_s - self._looked_s, LOOK_S)
        self._per_s += (per_s - self._per_s) * SMOOTHING
        self._done, self._looked_s = done, now_s
        able = min(max(self._length_min, int(self._per_s * self._delay_s_max)), self._length_max)
        is_calm = now_s - self._refused_s > CALM_S
        if length <= able and is_calm:
            self._short_s = now_s
        self.length_max = able if now_s - self._short_s > PATIENCE_S else self._length_max

    def is_full(self, length: int) -> bool:
        """Say whether a new entry has to be rejected."""
        if length < self.length_max:
            return False
        self._refused_s = self._clock.monotonic_s()
        return True


class Orders(Struct, frozen=True):
    """How many orders have work to do in this process, and how many times such work was done."""

    waiting: int
    done: int


class _Hand:
    """Counts the requests inside and those that have left; each is counted in the `outer` one too."""

    def __init__(self, outer: "_Hand | None" = None) -> None:
        self._outer = outer
        self.count = self.done = 0

    def __enter__(self) -> None:
        self.count += 1
        if self._outer is not None:
            self._outer.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.count -= 1
        self.done += 1
        if self._outer is not None:
            self._outer.__exit__(kind, error, trace)


class Admission:
    """Admission control for requests and orders; `run` keeps its limits up to date."""

    def __init__(
        self, clock: Clock, *, in_hand_min: int, in_hand_max: int, delay_s_max: float, orders: Callable[[], Orders]
    ) -> None:
        bounds = {"length_min": in_hand_min, "length_max": in_hand_max}
        self._requests = Queue(clock, **bounds, delay_s_max=delay_s_max)
        self._sagas = Queue(clock, **bounds, delay_s_max=delay_s_max)
        self._clock, self._orders = clock, orders
        self._in_hand = _Hand()
        self._ordering = _Hand(self._in_hand)
        self._refused = 0

    def statistics(self) -> dict[str, int]:
        """The requests in progress and the waiting orders, the limit of each, and the number of rejections."""
        return {
            "in_hand": self._in_hand.count,
            "in_hand_max": self._requests.length_max,
            "orders": self._orders().waiting + self._ordering.count,
            "orders_max": self._sagas.length_max,
            "refused": self._refused,
        }

    def enter(self, request: web.Request) -> AbstractContextManager[None]:
        """Admit a request for the duration of the block; raise `Overloaded` to reject it."""
        declared = operation_of(request.match_info.handler)
        load = "brief" if declared is None else declared.load
        if load == "vital":
            return UNCOUNTED
        is_full = self._requests.is_full(self._in_hand.count)
        if load == "order" and not is_full:
            is_full = self._sagas.is_full(self._orders().waiting + self._ordering.count)
        if is_full:
            self._refused += 1
            raise Overloaded("too much is going on", retry_after_s=RETRY_AFTER_S)
        if load == "long" or (load == "long if awaited" and _waits(request)):
            return UNCOUNTED
        return self._ordering if load == "order" else self._in_hand

    async def run(self) -> None:
        """Update the limits every `LOOK_S`, for ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Update the limits of both queues."""
        orders = self._orders()
        self._requests.look(self._in_hand.count, self._in_hand.done)
        self._sagas.look(orders.waiting + self._ordering.count, orders.done)


def _waits(request: web.Request) -> bool:
    """Say whether the client asks to wait for something that has not happened yet."""
    return "Prefer" in request.headers or prefers(request, EVENT_STREAM)
