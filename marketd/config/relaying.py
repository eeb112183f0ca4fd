"""
Makes what publishes events, for the composition root: the streams, how long they keep events, and who may read them.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, NoReturn

from marketd.bus.gate import Gate
from marketd.bus.integrators import STREAMS, Register
from marketd.bus.jetstream import JetStream
from marketd.bus.leaf import Hub
from marketd.bus.port import Bus
from marketd.bus.relay import Relay, RelayLimits
from marketd.bus.server import Limits, NatsServer
from marketd.bus.stream import StreamLimits
from marketd.bus.subjects import EVENTS_STREAM
from marketd.clock import Clock
from marketd.config.folder import Folder
from marketd.config.settings import MIB, Settings
from marketd.rests import BackOff
from marketd.storage.log import EventLog
from marketd.storage.room import Room

DAY_S: Final = 86_400
REFUSED_S_MAX: Final = 30.0  # no events were taken for so long: then it is time for another nats-server
RENEWED_S: Final = 60.0  # between one and the next, doubling
RENEWED_S_MAX: Final = 3_600.0
LOOK_S: Final = 5.0
BESIDE_BYTES: Final = 64 * MIB
HEAP_BESIDE_BYTES: Final = 128 * MIB  # the ids of some 2,500 events a second, and buffers: decision 50

log = logging.getLogger("marketd.events")


def make_server(settings: Settings, folder: Folder, clock: Clock) -> NatsServer:
    """Make our own NATS server, with room for the streams, and with accounts for the integrators."""
    nats = settings.nats
    kept = len(STREAMS) * settings.events.keep_bytes_max
    return NatsServer(
        store=folder.nats,
        port=nats.port,
        clock=clock,
        guests=Register(folder.integrators).read(),
        hub=Hub(nats.leaf_url, nats.leaf_user, nats.leaf_password) if nats.leaf_url else None,
        limits=Limits(
            store_bytes_max=max(kept + BESIDE_BYTES, Limits().store_bytes_max),
            heap_bytes_max=kept + HEAP_BESIDE_BYTES,  # twice the memory that the kept events can need
        ),
    )


def make_stream(settings: Settings, name: str, url: str | None, user: str | None, password: str | None) -> JetStream:
    """Make one of the streams at a server, by default that of the settings; enter it."""
    wanted = settings.events
    limits = StreamLimits(
        keep_s=wanted.keep_days * DAY_S,
        keep_bytes_max=wanted.keep_bytes_max,
        duplicate_window_s=wanted.duplicate_window_s,
        answer_wait_s_max=wanted.answer_wait_s_max,
        ack_wait_s=wanted.ack_wait_s,
        unacknowledged_max=wanted.unacknowledged_max,
    )
    if url is None:
        url, user, password = settings.nats.url, settings.nats.user, settings.nats.password
    return JetStream(str(url), name, STREAMS[name], limits, user=user, password=password)


def source_of(settings: Settings) -> str:
    """Give what the events name as their source."""
    return settings.events.source or settings.http.public_url or "/marketd"


async def renewing(relay: Relay, server: NatsServer, room: Room, clock: Clock) -> NoReturn:
    """
    Start our own nats-server again where it answers and takes no events though the disk has room, for ever. After a
    full disk its streams refuse everything until it is started again (seen with 2.15.1).
    """
    waits = BackOff(clock, RENEWED_S, RENEWED_S_MAX)
    while True:
        await clock.sleep(LOOK_S)
        if not relay.refused_s:
            waits.reset()
        elif relay.refused_s >= REFUSED_S_MAX and room.state != "full":
            log.warning("public events are refused for %.0f s: nats-server is started again", relay.refused_s)
            server.renew()
            await waits.rest()


@asynccontextmanager
async def made_relay(
    settings: Settings, folder: Folder, server: NatsServer | None, bus: Bus, events: EventLog, clock: Clock
) -> AsyncIterator[Relay]:
    """Make the relay and, for our own server, the gate for integrators."""
    url, user, password = (server.url, server.user, server.password) if server else (None, None, None)
    wanted = settings.events
    limits = RelayLimits(
        window_events_max=wanted.window_events_max,
        retry_s=wanted.retry_s,
        retry_s_max=wanted.retry_s_max,
        keep_s=wanted.keep_days * DAY_S,
    )
    async with AsyncExitStack() as stack:
        names = STREAMS if server else (EVENTS_STREAM,)
        streams = {
            name: await stack.enter_async_context(make_stream(settings, name, url, user, password)) for name in names
        }
        prepare: Callable[[], Awaitable[None]] = partial(streams[EVENTS_STREAM].prepare, {})
        if server is not None:
            gate = Gate(Register(folder.integrators), server, streams)
            await gate.open(bus)
            prepare = gate.prepare
        yield Relay(events, streams[EVENTS_STREAM], source_of(settings), prepare, clock, limits)
