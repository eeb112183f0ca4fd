"""A clock that the test moves: nobody sleeps but until the test says that the time has come."""

import asyncio
import heapq
import random


class TestClock:
    """Starts at `now_ms`; `advance` wakes, in order, those whose time has come."""

    __test__ = False

    def __init__(self, now_ms: int = 1_700_000_000_000, seed: int = 1) -> None:
        self._start_ms, self._passed_s = now_ms, 0.0
        self._chance = random.Random(seed)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now_ms(self) -> int:
        return self._start_ms + round(self._passed_s * 1000)

    def monotonic_s(self) -> float:
        return self._passed_s

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._passed_s + seconds, self._count, woken))
        await woken

    def random_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)

    def passes(self, seconds: float) -> None:
        """Let time pass at once, as in a computation: nobody wakes meanwhile."""
        self._passed_s += seconds

    @property
    def sleepers(self) -> int:
        """How many sleep."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let the time pass, and those who slept do what they do next."""
        end_s = self._passed_s + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self._passed_s, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self._passed_s = end_s


async def settle(rounds: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(rounds):
        await asyncio.sleep(0)
