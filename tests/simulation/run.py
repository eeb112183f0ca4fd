"""Runs by the number: which seed is the first to break a law, and what happened in it."""

from collections.abc import Iterable
from typing import Final

from tests.simulation.world import World

LAST_FACTS: Final = 40


def first_broken(seeds: Iterable[int]) -> World | None:
    """Live through them until a law is broken."""
    for seed in seeds:
        world = World(seed)
        world.run()
        if world.broken:
            return world
    return None


def told(world: World, *, whole: bool = False) -> str:
    """Tell what happened in a run, the whole or its end, and how to live through it again."""
    facts = world.trace if whole else world.trace[-LAST_FACTS:]
    return "\n".join(
        [
            f"seed {world.seed}: {world.broken or 'no law was broken'}",
            f"    {world.weather}",
            f"    {world.limits}",
            *(f"    {fact[0]:12.6f} s  {' '.join(map(str, fact[1:]))}" for fact in facts),
            f"again: make simulate SEEDS=1 SEED={world.seed}",
        ]
    )
