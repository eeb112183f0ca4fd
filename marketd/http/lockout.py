"""
The lockout: after too many failures in a row the next attempt has to wait, longer each time.

One lockout counts by account, including accounts that do not exist, so that it does not reveal which do. Another, with
a higher limit, counts by the client's network address. Many people may share one, and a success there proves nothing,
so its failures are forgotten only with time. Both are kept in memory, for at most `keys_max` keys; a restart clears
them.
"""

from collections import OrderedDict
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple

from marketd.clock import Clock
from marketd.http.turns import Turns

WAITING_MAX: Final = 64


class _Failures(NamedTuple):
    in_a_row: int
    locked_until_s: float


class Lockout:
    """
    Counts failures in a row by key; if `forget_s` is given, one is forgotten every `forget_s` after the last lock.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failures_max: int,
        lockout_s: float,
        lockout_s_max: float,
        forget_s: float | None = None,
        keys_max: int = 50_000,
    ) -> None:
        self._clock, self._keys_max, self._forget_s = clock, keys_max, forget_s
        self._failures_max, self._lockout_s, self._lockout_s_max = failures_max, lockout_s, lockout_s_max
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._turns = Turns[str](WAITING_MAX, "attempts at one account")

    def turn(self, key: str) -> AbstractAsyncContextManager[None]:
        """
        Let one attempt at an account run at a time, so that each sees the outcome of the one before; raise `Busy`.
        """
        return self._turns.of(key)

    def wait_s(self, key: str) -> float:
        """Say how long this key has to wait before the next attempt; 0 if not at all."""
        known = self._failures.get(key)
        return max(0.0, known.locked_until_s - self._clock.monotonic_s()) if known else 0.0

    def failed(self, key: str) -> None:
        """Count a failure; from number `failures_max` on, each locks the key, twice as long as the one before."""
        count = self._remembered(self._failures.pop(key, None)) + 1
        beyond = count - self._failures_max
        lock_s = min(self._lockout_s * 2 ** min(beyond, 32), self._lockout_s_max) if beyond >= 0 else 0.0
        self._failures[key] = _Failures(count, self._clock.monotonic_s() + lock_s)
        if len(self._failures) > self._keys_max:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures."""
        self._failures.pop(key, None)

    def _remembered(self, known: _Failures | None) -> int:
        if known is None:
            return 0
        if self._forget_s is None:
            return known.in_a_row
        passed_s = max(0.0, self._clock.monotonic_s() - known.locked_until_s)
        return max(0, known.in_a_row - int(passed_s / self._forget_s))
