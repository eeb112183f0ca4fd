"""Waiting until whoever follows the log has nothing more to do than wait."""

from typing import Protocol

from tests.actors.watched import WatchedLog
from tests.clock import settle


class Follows(Protocol):
    def statistics(self) -> dict[str, int]: ...


async def come_to_rest(follower: Follows, log: WatchedLog, waiting: int = 0) -> None:
    """Let everybody work until so many wait, all of the log is heard, and nothing is on its way."""
    for _ in range(200):
        await settle(10)
        statistics = follower.statistics()
        if (statistics["position"], statistics["waiting"]) == (log.head, waiting):
            await settle(50)
            return
    raise AssertionError(follower.statistics())
