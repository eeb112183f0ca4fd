"""
The open connections: how many there may be in total and per client, and how long a slow one is tolerated.

aiohttp has one timer, for idle connections; it runs from the start of the connection, or from the last response, until
a request's head is complete, so a head sent byte by byte holds a connection as long as silence does. Here each
connection tells since when a head has been arriving and how many bytes are unsent, and a sweep closes the slow ones.
When nearly all connections are taken, idle ones are closed early; when the unsent bytes of all clients together are too
many, the connections with the most of them are closed.

A closed connection exists until its client has received what is unsent, so it is watched like any other until it is
lost. So is a rejected one, which does not count towards the limits.
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
TURNED_AWAY_S_MAX: Final = 2.0  # how long a rejected client has to receive its response
CROWDED: Final = 0.8  # the share of connections from which idle ones are closed early
CROWDED_IDLE_S_MAX: Final = 5.0

log = logging.getLogger("marketd.http")


class LineLimits(Struct, frozen=True):
    """The limits of connections; see the settings of the same names."""

    connections_max: int = 2_000
    address_connections_max: int | None = 256
    head_read_s_max: float = 10
    keep_alive_s_max: float = 75
    send_stall_s_max: float = 60
    unsent_bytes_max: int = 256 * 1024 * 1024


class Line(Protocol):
    """A connection, as the sweep sees it. Times are those of the event loop's clock."""

    head_since_s: float | None

    @property
    def address(self) -> str:
        """The address of the client."""
        ...

    def idle_since_s(self) -> float | None:
        """Say since when no request is in progress; None while one is."""
        ...

    def unsent_bytes(self) -> int:
        """Say how many bytes wait to be received by the client."""
        ...

    def is_closing(self) -> bool:
        """Say whether it is closed, and exists only for what is unsent."""
        ...

    def end_slow(self) -> None:
        """Answer that the head took too long, and close the connection."""
        ...

    def hang_up(self) -> None:
        """Close the connection without a response."""
        ...


class _Stall(Struct):
    unsent_bytes: int
    since_s: float


class Lines:
    """
    All connections of one server; `run` it. A trusted proxy's serve many clients, so the limit per client is not
    theirs.
    """

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
        """Register a connection; say whether there is room for it."""
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
        """Forget a connection, whether or not it was accepted."""
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
        """Close the connections that are too slow."""
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
        """Keep the unsent bytes of all connections within their limit."""
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
        if not unsent_bytes and not line.is_closing():  # bytes that wait below TLS are not counted
            self._stalls.pop(line, None)
        elif known is None or known.unsent_bytes != unsent_bytes:
            self._stalls[line] = _Stall(unsent_bytes, now_s)
        else:
            is_stranger = line in self._turned_away  # it has less time
            return now_s - known.since_s > (TURNED_AWAY_S_MAX if is_stranger else self.limits.send_stall_s_max)
        return False
