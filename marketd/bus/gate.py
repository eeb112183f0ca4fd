"""
The gate: admits the integrators in the register, each with its consumers, without disconnecting the others.
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
    """Ask the gate to read the register again and apply it."""


class Gate:
    """Applies the register to the server and the streams."""

    def __init__(self, register: Register, server: NatsServer, streams: Mapping[str, EventStream]) -> None:
        self._register, self._server, self._streams = register, server, streams
        self._preparing = asyncio.Lock()  # two at once would both try to remove the same consumer

    async def open(self, bus: Bus) -> None:
        """Serve `LookAgain` and `ListIntegrators`."""
        await bus.serve(query_subject(LookAgain), self._answer)
        await bus.serve(query_subject(ListIntegrators), self._list)

    async def prepare(self) -> None:
        """Create the streams, each with a consumer for every integrator; raise a `StreamError`."""
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
        """List the integrators in the register, with how far behind each is in all streams together."""
        try:
            behind = [await stream.behind() for stream in self._streams.values()]
        except StreamError as error:
            raise BusError(str(error)) from None
        guests = []
        for one in self._register.read():
            waiting, unacknowledged = map(sum, zip(*(of.get(one.name, Behind(0, 0)) for of in behind), strict=True))
            guests.append(Guest(one.name, tuple(one.subjects), one.created_at, waiting, unacknowledged))
        return Answer(Guests(tuple(guests)), 0)
