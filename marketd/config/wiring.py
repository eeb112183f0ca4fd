"""
The one composition root: what each part is made of, in which order they start, and how they all stop.

    async with running(settings, clock) as service:     # log, bus, actors, read models: the service without its front
        async with front(service, listener):            # and with it (fronting.py)

Each part starts before those that depend on it, and stops after them.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from marketd import __version__
from marketd.actors.fulfilment import Fulfilment, FulfilmentLimits
from marketd.actors.house import House, HouseLimits
from marketd.actors.notices.channels import PushServices
from marketd.actors.notices.journal import Journal
from marketd.actors.payments.processor import CIRCUIT as PAYMENTS
from marketd.actors.payments.stripe_news import StripeNews
from marketd.actors.runtime import ActorLimits
from marketd.actors.watch import OrderWatch
from marketd.bus.breaker import Breaker, Circuit
from marketd.bus.micro import MicroServices
from marketd.bus.nats import NatsBus
from marketd.bus.relay import Relay
from marketd.bus.server import NatsServer
from marketd.clock import Clock
from marketd.config.background import background
from marketd.config.codecs import AGGREGATES, MODELS, log_codec, message_codec, micro_services
from marketd.config.counting import counting
from marketd.config.folder import Folder, opened
from marketd.config.guarding import make_breaker
from marketd.config.mailing import Notices, notifying
from marketd.config.paying import make_news, make_processor
from marketd.config.relaying import made_relay, make_server, renewing
from marketd.config.settings import Settings
from marketd.config.tracing import traced
from marketd.config.webhooking import Webhooking, webhooking
from marketd.http.keys import Readiness
from marketd.measures import Measures
from marketd.storage.cards import ProductCards
from marketd.storage.files import FileStore
from marketd.storage.finding import Finder
from marketd.storage.history import OrderHistory
from marketd.storage.images import ImageLimits, Shrinker
from marketd.storage.index_process import IndexNeeds, IndexProcess
from marketd.storage.projector import Projector
from marketd.storage.room import Room
from marketd.storage.sqlite import SqliteLog
from marketd.storage.views import Views

PROGRESS_S: Final = 2.0
CLAIM_REPLIES: Final = 3  # of the buyer, of the product, of the order

log = logging.getLogger("marketd")


@dataclass
class Service:
    """Everything that runs, except the front."""

    settings: Settings
    clock: Clock
    folder: Folder
    server: NatsServer | None
    bus: NatsBus
    log: SqliteLog
    files: FileStore
    cards: ProductCards
    finder: Finder
    index: IndexProcess
    breakers: list[Breaker | PushServices]
    projector: Projector
    house: House
    fulfilment: Fulfilment
    news: StripeNews | None
    notices: Notices
    webhooks: Webhooking
    watch: OrderWatch
    relay: Relay
    room: Room
    views: Views
    measures: Measures = field(default_factory=Measures)
    is_filling: bool = False  # with the sample catalogue
    is_stopping: bool = False

    @property
    def nats_url(self) -> str:
        """The URL of the NATS server."""
        return self.server.url if self.server else str(self.settings.nats.url)

    def readiness(self) -> Readiness:
        """Say whether each part works, and whether the read models have caught up."""
        models = {
            name: {"position": standing.position, "halted": standing.halted is not None}
            for name, standing in self.projector.statistics().items()
        }
        connected = bool(self.bus.statistics()["connected"])
        behind = self.log.head - self.projector.position
        is_caught_up = behind <= self.settings.storage.lag_commits_max and not any(m["halted"] for m in models.values())
        is_sound = self.log.trouble is None and self.projector.trouble is None
        courier = self.webhooks.courier
        disk = self.room.state
        is_sound = is_sound and disk != "full"
        is_ready = connected and is_caught_up and is_sound and not (self.is_filling or self.is_stopping)
        parts = {
            "bus": {"state": "ok" if connected else "down"},
            "disk": {"state": disk, **self.room.statistics()},
            "log": {"state": "failing" if self.log.trouble else "ok", **self.log.statistics()},
            "readModels": {"state": "ok" if is_caught_up else "behind", "behind": behind, **models},
            "actors": {"state": "ok", **self.house.statistics()},
            "search": {"state": self._state_of_search(), **self.index.statistics()},
            "fulfilment": {"state": "failing" if self.fulfilment.trouble else "ok", **self.fulfilment.statistics()},
            "payments": {"state": self._state_of(PAYMENTS)},
            **self.notices.parts(),
            "webhooks": {"state": "failing" if courier.trouble else "ok", **courier.statistics()},
            "events": {"state": "down" if self.relay.trouble else "ok", **self.relay.statistics()},
            **({"sample": {"state": "filling"}} if self.is_filling else {}),
        }
        return Readiness(is_ready, parts)

    def circuits(self) -> list[Circuit]:
        """Show the circuit breaker of each external service; those of all webhooks as one."""
        return [*(breaker.statistics() for breaker in self.breakers), self.webhooks.courier.rounds.circuit()]

    def _state_of_search(self) -> str:
        if self.index.is_resting:
            return "resting"
        return "ok" if self.finder.generation else "fallback"

    def _state_of(self, circuit: str) -> str:
        """
        Give the state of a circuit; it does not affect readiness: waiting for an external service holds up nothing
        else.
        """
        return "ok" if all(b.state == "closed" for b in self.breakers if b.name == circuit) else "down"


@asynccontextmanager
async def running(settings: Settings, clock: Clock, url: str | None = None) -> AsyncIterator[Service]:
    """Run everything but the front, which is at `url`; raise what prevents the start."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await enter(traced(settings.traces.endpoint, settings.traces.share))
        folder = stack.enter_context(opened(Path(settings.data.dir), settings.storage.free_bytes_min))
        events = await enter(event_log(folder, settings))
        payments = make_breaker(PAYMENTS, settings, clock)
        processor = await enter(make_processor(settings, folder, clock, payments))
        projector = await enter(_projector(settings, folder, events))
        room = Room(folder.path, free_bytes_min=settings.uploads.free_bytes_min)
        files = _file_store(settings, folder)
        await files.prepare()
        server = await enter(make_server(settings, folder, clock)) if settings.nats.url is None else None
        bus = await enter(_bus(settings, server, clock))
        house = await enter(_house(settings, events, clock))
        fulfilment = Fulfilment(bus, events, processor, Journal(), clock, _fulfilment_limits(settings))
        notices = await enter(notifying(settings, folder, clock, bus, events, projector, url))
        webhooks = await enter(webhooking(settings, folder, bus, events, clock))
        watch = OrderWatch(bus, events, clock)
        relay = await enter(made_relay(settings, folder, server, bus, events, clock))
        await house.open(bus)
        await projector.open(bus)
        cards = ProductCards(projector)
        await cards.open(bus)
        breaker = make_breaker("search", settings, clock)
        index = IndexProcess(_index_needs(settings, folder, server), clock, rest_s=settings.search.rest_s or None)
        finder = Finder(bus, projector, cards, breaker, clock, wake=index.wake, wait_s_max=settings.search.wait_s_max)
        await finder.open()
        await OrderHistory(events).open(bus)
        await watch.open()
        views = await enter(counting(settings, folder, bus, projector, clock))
        runs = [projector.run(clock), fulfilment.run(), *notices.runs, webhooks.courier.run(), watch.run()]
        runs += [relay.run(), bus.wait_lost(), room.run(clock)]
        runs += [renewing(relay, server, room, clock)] if server else []
        await enter(background(*runs, *([_indexing(projector, index, finder)] if settings.search.enabled else [])))
        yield Service(
            settings=settings,
            clock=clock,
            folder=folder,
            server=server,
            bus=bus,
            log=events,
            files=files,
            cards=cards,
            finder=finder,
            index=index,
            breakers=[breaker, notices.mail_breaker, notices.push_services, payments],
            projector=projector,
            house=house,
            fulfilment=fulfilment,
            news=make_news(settings, clock, payments, fulfilment),
            notices=notices,
            webhooks=webhooks,
            watch=watch,
            relay=relay,
            room=room,
            views=views,
        )


async def wait_caught_up(service: Service) -> None:
    """Wait until the read models have caught up with the log, and log the progress."""
    async with aclosing(service.projector.wait_caught_up()) as steps:
        told_s = service.clock.monotonic_s()
        async for position, head in steps:
            if service.clock.monotonic_s() - told_s > PROGRESS_S:
                told_s = service.clock.monotonic_s()
                log.info("read models: %d of %d records (%d %%)", position, head, position * 100 // head)


async def _indexing(projector: Projector, index: IndexProcess, finder: Finder) -> None:
    """Run the index once the catalogue has caught up: an index of half of it would hide the other half."""
    async with aclosing(projector.wait_caught_up()) as steps:
        async for _ in steps:
            pass
    await index.run(finder.welcome, finder.farewell)


def event_log(folder: Folder, settings: Settings) -> SqliteLog:
    """Make the log of a data directory; enter it."""
    limits = settings.storage
    return SqliteLog(
        folder.events,
        log_codec(),
        batch_commits_max=limits.batch_commits_max,
        queue_commits_max=limits.queue_commits_max,
        recent_commits_max=limits.recent_commits_max,
        check_commits=limits.check_commits,
    )


@asynccontextmanager
async def _bus(settings: Settings, server: NatsServer | None, clock: Clock) -> AsyncIterator[NatsBus]:
    """Connect to NATS, and show the tools of NATS what is asked over it."""
    wanted = settings.nats
    bus = NatsBus(
        server.url if server else str(wanted.url),
        message_codec(),
        clock,
        user=server.user if server else wanted.user,
        password=server.password if server else wanted.password,
        in_process=wanted.in_process,
        connect_s_max=wanted.start_s_max,
    )
    async with bus:
        await MicroServices(micro_services(), __version__, bus.tally, clock).open(bus)
        yield bus


def _projector(settings: Settings, folder: Folder, events: SqliteLog) -> Projector:
    return Projector(folder.reads, events, MODELS, read_wait_s_max=settings.storage.read_wait_s_max)


def _file_store(settings: Settings, folder: Folder) -> FileStore:
    shrinker = Shrinker(_image_limits(settings))
    return FileStore(folder.files, shrinker, free_bytes_min=settings.uploads.free_bytes_min)


def _house(settings: Settings, events: SqliteLog, clock: Clock) -> House:
    limits = settings.actors
    actor_limits = ActorLimits(
        mailbox_depth_max=limits.mailbox_depth_max,
        turn_messages_max=limits.turn_messages_max,
        redecide_max=limits.redecide_max,
        snapshot_every=limits.snapshot_every,
    )
    return House(AGGREGATES, events, clock, HouseLimits(limits.awake_max, limits.idle_s), actor_limits)


def _fulfilment_limits(settings: Settings) -> FulfilmentLimits:
    limits = settings.saga
    return FulfilmentLimits(
        retry_s=limits.retry_s,
        retry_s_max=limits.retry_s_max,
        patience_s=limits.patience_s,
        claim_s=max(limits.claim_s, CLAIM_REPLIES * settings.actors.reply_wait_s_max),
        reply_wait_s_max=settings.actors.reply_wait_s_max,
        processor_wait_s_max=limits.processor_wait_s_max,
        orders_max=limits.orders_max,
    )


def _image_limits(settings: Settings) -> ImageLimits:
    limits = settings.images
    return ImageLimits(
        pixels_max=limits.pixels_max,
        memory_bytes_max=limits.memory_bytes_max,
        cpu_s_max=limits.cpu_s_max,
        wait_s_max=limits.wait_s_max,
        at_once_max=limits.at_once_max,
        queue_max=limits.queue_max,
    )


def _index_needs(settings: Settings, folder: Folder, server: NatsServer | None) -> IndexNeeds:
    return IndexNeeds(
        folder=str(folder.search),
        catalogue=str(folder.reads),
        url=server.url if server else str(settings.nats.url),
        user=server.user if server else settings.nats.user,
        password=server.password if server else settings.nats.password,
        log_level=settings.log.level,
        log_format=settings.log.format,
        traces_endpoint=settings.traces.endpoint,
        traces_share=settings.traces.share,
    )
