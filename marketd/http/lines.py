"""
The open connections: how many there may be, of all and of one client, and how long one may keep us waiting.

aiohttp knows one timer, for a connection on which nothing is asked; it runs from the connection's start, or from the
last answer, until a request's head is whole, so a head that comes byte by byte holds a line just as long as silence.
Here each line tells since when a head is on its way and whether what we send is taken, and a sweep ends those that are
too slow. When nearly all lines are taken, silent ones are ended early; when too much waits to be taken by all clients
together, those are ended for whom most does.

A line that was closed is there until its client has taken what is unsent, so until it is lost it is looked after like
any other; one that was turned away is, too, and takes nobody's place.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from msgspec import Struct

from marketd.clock import Clock
from marketd.http.client import network_of

SWEEP_S: Final = 1.0
TURNED_AWAY_S_MAX: Final = 2.0  # who was turned away has so long to take what was said
CROWDED: Final = 0.8  # of all lines
CROWDED_IDLE_S_MAX: Final = 5.0

log = logging.getLogger("marketd.http")


class LineLimits(Struct, frozen=True):
    """What the lines may take; see the settings of the same names."""

    connections_max: int = 2_000
    address_connections_max: int | None = 256
    head_read_s_max: float = 10
    keep_alive_s_max: float = 75
    send_stall_s_max: float = 60
    unsent_bytes_max: int = 256 * 1024 * 1024


class Line(Protocol):
    """A connection, as the sweep sees it. Moments are those of the loop's clock."""

    head_since_s: float | None

    @property
    def address(self) -> str:
        """Whose it is."""
        ...

    def idle_since_s(self) -> float | None:
        """Say since when nothing is asked, None while something is."""
        ...

    def unsent_bytes(self) -> int:
        """Say how much waits to be taken by the client."""
        ...

    def is_closing(self) -> bool:
        """Say whether it is closed, and there for what is unsent alone."""
        ...

    def end_slow(self) -> None:
        """Say that the head took too long, and hang up."""
        ...

    def hang_up(self) -> None:
        """Hang up without a word."""
        ...


class _Stall(Struct):
    unsent_bytes: int
    since_s: float


class Lines:
    """All connections of one server; `run` it. Those of a proxy of ours are many clients', and not bounded as one's."""

    def __init__(
        self, clock: Clock, limits: LineLimits, is_proxy: Callable[[str], bool] = lambda address: False
    ) -> None:
        self._clock, self.limits, self._is_proxy = clock, limits, is_proxy
        self._open: dict[Line, str] = {}
        self._turned_away: set[Line] = set()
        self._by_network: Counter[str] = Counter()
        self._stalls: dict[Line, _Stall] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Line]:
        return iter([*self._open, *self._turned_away])

    def opened(self, line: Line) -> bool:
        """Take a connection in, or say that there is no room for it."""
        network, limits = network_of(line.address), self.limits
        of_one_max = limits.address_connections_max
        is_crowd = of_one_max is not None and self._by_network[network] >= of_one_max
        if len(self._open) >= limits.connections_max or (is_crowd and not self._is_proxy(line.address)):
            self._turned_away.add(line)
            return False
        self._open[line] = network
        self._by_network[network] += 1
        return True

    def closed(self, line: Line) -> None:
        """Forget a connection, whether or not it was taken in."""
        network = self._open.pop(line, None)
        self._turned_away.discard(line)
        self._stalls.pop(line, None)
        if network is None:
            return
        self._by_network[network] -= 1
        if not self._by_network[network]:
            del self._by_network[network]

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await self._clock.sleep(SWEEP_S)
            self.sweep(asyncio.get_running_loop().time())

    def sweep(self, now_s: float) -> None:
        """End the lines that are too slow."""
        limits = self.limits
        is_crowded = len(self._open) > limits.connections_max * CROWDED
        idle_s_max = min(CROWDED_IDLE_S_MAX, limits.keep_alive_s_max) if is_crowded else limits.keep_alive_s_max
        for line in self:
            idle_since_s = line.idle_since_s()
            if line.head_since_s is not None and now_s - line.head_since_s > limits.head_read_s_max:
                line.end_slow()
            elif idle_since_s is not None and now_s - idle_since_s > idle_s_max:
                line.hang_up()
            elif self._is_stalled(line, now_s):
                log.info("%s takes nothing of what it asked for: hanging up", line.address)
                line.hang_up()
        self._relieve()

    def _relieve(self) -> None:
        """Keep what waits for all of them within its bound."""
        waiting = {line: unsent_bytes for line in self if (unsent_bytes := line.unsent_bytes())}
        surplus = sum(waiting.values()) - self.limits.unsent_bytes_max
        if surplus <= 0:
            return
        for line in sorted(waiting, key=waiting.__getitem__, reverse=True):
            log.warning("too much waits to be taken, by %s most: hanging up", line.address)
            line.hang_up()
            surplus -= waiting[line]
            if surplus <= 0:
                return

    def _is_stalled(self, line: Line, now_s: float) -> bool:
        unsent_bytes, known = line.unsent_bytes(), self._stalls.get(line)
        if not unsent_bytes and not line.is_closing():  # what waits below TLS is in nobody's count
            self._stalls.pop(line, None)
        elif known is None or known.unsent_bytes != unsent_bytes:
            self._stalls[line] = _Stall(unsent_bytes, now_s)
        else:
            is_stranger = line in self._turned_away  # and in nobody's count
            return now_s - known.since_s > (TURNED_AWAY_S_MAX if is_stranger else self.limits.send_stall_s_max)
        return False
