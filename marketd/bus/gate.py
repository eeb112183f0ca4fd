"""
The gate: lets those integrators in that stand in the register, each with its consumers, and disconnects nobody else.
"""

import asyncio
from collections.abc import Mapping

from msgspec import Struct

from marketd.bus.guests import Guest, Guests, ListIntegrators
from marketd.bus.integrators import Register, filters
from marketd.bus.port import Answer, Bus, BusError, Envelope
from marketd.bus.server import NatsServer, NotReloaded
from marketd.bus.stream import Behind, EventStream, StreamError
from marketd.bus.subjects import query_subject


class LookAgain(Struct, frozen=True, tag="integrators-look-again"):
    """Ask that the register be read again, and what stands there be so."""


class Gate:
    """Stands between the register and the server."""

    def __init__(self, register: Register, server: NatsServer, streams: Mapping[str, EventStream]) -> None:
        self._register, self._server, self._streams = register, server, streams
        self._preparing = asyncio.Lock()  # what one has just removed the other would not find

    async def open(self, bus: Bus) -> None:
        """Serve who has changed the register, and who wants to know of those in it."""
        await bus.serve(query_subject(LookAgain), self._answer)
        await bus.serve(query_subject(ListIntegrators), self._list)

    async def prepare(self) -> None:
        """Have the streams there, each with the consumers that it is to have; raise a `StreamError`."""
        async with self._preparing:
            guests = self._register.read()
            for name, stream in self._streams.items():
                await stream.prepare({one.name: filters(one)[name] for one in guests})

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        try:
            await self._server.admit(self._register.read())
            await self.prepare()
        except (NotReloaded, StreamError) as error:
            raise BusError(str(error)) from None
        return Answer(None, 0)

    async def _list(self, subject: str, envelope: Envelope) -> Answer:
        """Say who is in the register, and how far behind each is in all streams together."""
        try:
            behind = [await stream.behind() for stream in self._streams.values()]
        except StreamError as error:
            raise BusError(str(error)) from None
        guests = []
        for one in self._register.read():
            waiting, unacknowledged = map(sum, zip(*(of.get(one.name, Behind(0, 0)) for of in behind), strict=True))
            guests.append(Guest(one.name, tuple(one.subjects), one.created_at, waiting, unacknowledged))
        return Answer(Guests(tuple(guests)), 0)
