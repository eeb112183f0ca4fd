"""The receivers of webhooks, over a wire that we do not own: they may not hear, or hear and not be heard."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from marketd.actors.notices.courier import CourierLimits
from marketd.actors.notices.posting import Answered, Line, LineLimits, Unreached
from marketd.actors.notices.rounds import RoundLimits
from marketd.actors.webhook import Endpoint, Secret
from tests.simulation.laws import Laws

if TYPE_CHECKING:
    from tests.simulation.world import World

POST_S_MAX: Final = 0.2
HOST: Final = "https://hooks.example/"
RETRIES: Final = 400  # more than a bad day takes
ROUNDS: Final = RoundLimits(retries_s=(0.5,) * RETRIES, failures_max=3, open_s=5)
LIMITS: Final = CourierLimits(ROUNDS, reply_wait_s_max=3)


def endpoint_of(owner_id: str, at: int) -> Endpoint:
    """Make somebody's one endpoint, by which its owner is known."""
    return Endpoint(f"w-{owner_id}", f"{HOST}{owner_id}", ("*",), "", "own", (Secret("s1"),), at, at)


class FarLine(Line):
    """The way to the receivers."""

    def __init__(self, world: World) -> None:
        super().__init__(LineLimits())
        self._world = world

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered | Unreached:
        world, owner_id, message_id = self._world, url.removeprefix(HOST), headers["webhook-id"]
        await asyncio.sleep(world.chance.uniform(0, POST_S_MAX))
        fate = world.chance.choice(["unheard", "unanswered", "failed"]) if world.by_chance(world.weather.notice) else ""
        if fate != "unheard":
            world.judge(partial(Laws.on_post, owner_id=owner_id, message_id=message_id))
        if fate:
            world.unsure.add((f"w-{owner_id}", message_id))
        await asyncio.sleep(world.chance.uniform(0, POST_S_MAX))
        return Unreached("no answer") if fate in ("unheard", "unanswered") else Answered(500 if fate else 200)
