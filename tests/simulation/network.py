"""
What lies between those who ask and those who serve: messages are lost, late, doubled and overtaken, both ways.

The bus itself is the memory twin; only the way through its codec is a longer one here. Whoever is alive serves, as in a
queue group of NATS; where two are, the lot decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketd.bus.codec import Codec
from marketd.bus.memory import MemoryBus
from marketd.bus.port import Answer, Envelope, Handler

if TYPE_CHECKING:
    from tests.simulation.world import World


class SimulatedBus(MemoryBus):
    """The bus of one process: its handlers, and its way to those of all."""

    def __init__(self, world: World, codec: Codec) -> None:
        super().__init__(world.clock, codec)
        self._world = world

    async def ask(self, subject: str, envelope: Envelope) -> Answer:
        return await self.hand_over(_whoever_serves, subject, envelope)

    async def _through(self, codec: Codec, handler: Handler, subject: str, envelope: Envelope) -> Answer:
        answered = self._world.loop.create_future()
        packed = codec.pack(envelope)
        for delay_s in self._world.copies():
            self._world.loop.call_later(delay_s, self._world.arrive, subject, packed, answered)
        return codec.unpack_answer(await answered)


async def _whoever_serves(subject: str, envelope: Envelope) -> Answer:
    raise AssertionError("the network finds who serves")
