"""
Admission: when more comes than can be done, some of it is sent away at once, so that the rest is done in time.

There are two queues: the requests in hand, and the orders whose saga has something to do here, because accepting an
order is the smaller part of its work. By Little's law a queue no longer than its pace times a delay is worked off
within that delay, and so many may always come. More may come in a burst, up to a bound; but when a queue has stood
above its length for `PATIENCE_S`, it is no burst, and whoever would make it longer is sent away ("Fail at Scale", ACM
Queue 13(8); CoDel, RFC 8289). Refusing costs a fraction of serving: it comes before tokens, bodies and counters.

Answers that are made without waiting for anybody, as most reads are, are never in a queue of ours: they wait in the
kernel for their turn, no more of them than there are connections.
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
CALM_S: Final = 1.0  # nobody was sent away for so long: only then a burst may come again
SMOOTHING: Final = 0.05  # the weight of the newest look at the pace
UNCOUNTED: Final = nullcontext()


class Queue:
    """A queue's pace, and how long it may be."""

    def __init__(self, clock: Clock, *, length_min: int, length_max: int, delay_s_max: float) -> None:
        self._clock, self._delay_s_max = clock, delay_s_max
        self._length_min, self._length_max = length_min, length_max
        self._looked_s = self._short_s = clock.monotonic_s()
        self._refused_s = -math.inf
        self._done, self._per_s = 0, 0.0
        self.length_max = length_max

    def look(self, length: int, done: int) -> None:
        """Take in how long it is and how many have ever left it, and set how long it may be."""
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
        """Say whether somebody has to be sent away."""
        if length < self.length_max:
            return False
        self._refused_s = self._clock.monotonic_s()
        return True


class Orders(Struct, frozen=True):
    """How many orders wait for something to be done here, and how many times something was."""

    waiting: int
    done: int


class _Hand:
    """A count of those inside, and of those who have left; whoever is in it is in the `outer` one too."""

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
    """The requests in hand, and the orders that wait; `run` it."""

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
        """Requests in hand and orders that wait, how many there may be of each, and how many were sent away."""
        return {
            "in_hand": self._in_hand.count,
            "in_hand_max": self._requests.length_max,
            "orders": self._orders().waiting + self._ordering.count,
            "orders_max": self._sagas.length_max,
            "refused": self._refused,
        }

    def enter(self, request: web.Request) -> AbstractContextManager[None]:
        """Let a request in for as long as the block lasts; raise `Overloaded`."""
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
        """Look for ever at how long the queues are."""
        while True:
            await self._clock.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Set how long the queues may be."""
        orders = self._orders()
        self._requests.look(self._in_hand.count, self._in_hand.done)
        self._sagas.look(orders.waiting + self._ordering.count, orders.done)


def _waits(request: web.Request) -> bool:
    """Say whether who is asking wants to wait for what has not happened yet."""
    return "Prefer" in request.headers or prefers(request, EVENT_STREAM)
