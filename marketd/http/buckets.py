"""
Token buckets: how many requests one client may send in a time window.

A client's bucket holds the tokens of one window and refills evenly. It is stored as one number: the time when it will
be full again (the generic cell rate algorithm of ITU-T I.371). A full bucket need not be stored, so only those in use
are kept, at most `clients_max`. When there is no room, all new clients share one bucket: a client that keeps changing
its address gets no new bucket each time, and takes nothing from known clients.
"""

import math
from collections import OrderedDict
from typing import Final, NamedTuple

from marketd.clock import Clock

NEWCOMERS: Final = "\0"


class Quota(NamedTuple):
    """A maximum number of requests in a window of seconds."""

    name: str
    requests_max: int
    window_s: int


class Allowance(NamedTuple):
    """The values of the headers (draft-ietf-httpapi-ratelimit-headers-10), and how long to wait: 0 if allowed."""

    policy: str
    left: str
    wait_s: float


class Buckets:
    """The buckets of one quota, by client."""

    def __init__(self, quota: Quota, clock: Clock, clients_max: int) -> None:
        self._clock, self._clients_max = clock, clients_max
        self._window_s, self._each_s = float(quota.window_s), quota.window_s / quota.requests_max
        self._full_at_s: OrderedDict[str, float] = OrderedDict()  # the least recently used first
        self._name = quota.name
        self._policy = f'"{quota.name}";q={quota.requests_max};w={quota.window_s}'

    def __len__(self) -> int:
        return len(self._full_at_s)

    def take(self, client: str) -> Allowance:
        """Take one token from a client's bucket, if it has one."""
        now_s, full_at_s = self._clock.monotonic_s(), self._full_at_s
        if client not in full_at_s and len(full_at_s) >= self._clients_max and not self._made_room(now_s):
            client = NEWCOMERS
        missing_s = max(full_at_s.get(client, 0.0) - now_s, 0.0)
        wait_s = missing_s + self._each_s - self._window_s
        if wait_s <= 1e-9:
            wait_s, missing_s = 0.0, missing_s + self._each_s
        full_at_s[client] = now_s + missing_s
        full_at_s.move_to_end(client)
        left = int((self._window_s - missing_s) / self._each_s + 1e-9)
        return Allowance(self._policy, f'"{self._name}";r={left};t={math.ceil(missing_s)}', wait_s)

    def _made_room(self, now_s: float) -> bool:
        """Drop the least recently used bucket, if it is full by now."""
        client, full_at_s = next(iter(self._full_at_s.items()))
        if full_at_s > now_s:
            return False
        del self._full_at_s[client]
        return True
