"""
The one composition root: which part is made of what, in which order they come up, and how all go down again.

    async with running(settings, clock) as service:     # log, bus, actors, read models: the service without its front
        async with front(service) as url:               # and with it

Each part is up before those that lean on it, and goes down after them.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Final

from marketd.actors.account import ACCOUNT
from marketd.actors.account import Answer as AccountAnswer
from marketd.actors.buyer import BUYER
from marketd.actors.buyer import Answer as BuyerAnswer
from marketd.actors.fulfilment import Fulfilment, FulfilmentLimits
from marketd.actors.house import House, HouseLimits
from marketd.actors.notices.journal import Journal
from marketd.actors.notices.port import CIRCUIT
from marketd.actors.notices.postman import Postman
from marketd.actors.notices.tokens import MailTokens
from marketd.actors.order import ORDER
from marketd.actors.order import Answer as OrderAnswer
from marketd.actors.payments.processor import CIRCUIT as PAYMENTS
from marketd.actors.payments.stripe_news import StripeNews
from marketd.actors.product import PRODUCT
from marketd.actors.product import Answer as ProductAnswer
from marketd.actors.runtime import ActorLimits
from marketd.actors.watch import AwaitOutcome, OrderWatch
from marketd.bus.breaker import Breaker
from marketd.bus.codec import Codec, reasons_by_code
from marketd.bus.nats import NatsBus
from marketd.bus.server import NatsServer
from marketd.clock import Clock
from marketd.config.folder import Folder, opened
from marketd.config.guarding import make_admission, make_answers, make_lines, make_once, make_rates
from marketd.config.mailing import make_carrier, make_writer, postman_limits
from marketd.config.paying import make_news, make_processor
from marketd.config.settings import Settings
from marketd.http.admission import Admission
from marketd.http.app import make_app
from marketd.http.cors import Cors
from marketd.http.encodings import Encodings
from marketd.http.ended import EndedSessions
from marketd.http.kept import KeptPages
from marketd.http.keyring import KeyRing
from marketd.http.keys import (
    ADDRESS_LOCKOUT,
    ADMISSION,
    BUS,
    CARDS,
    CIRCUITS,
    CORS,
    ENCODINGS,
    ENDED,
    FILES,
    LIMITS,
    LINKS,
    LOCKOUT,
    MAIL_TOKENS,
    ONCE,
    PAGES,
    PASSWORDS,
    PROXIES,
    RATES,
    READINESS,
    STRIPE_NEWS,
    TOKENS,
    FrontLimits,
    PartLimits,
    Readiness,
)
from marketd.http.lines import Lines
from marketd.http.lockout import Lockout
from marketd.http.passwords import Passwords
from marketd.http.proxies import Proxies
from marketd.http.server import serving
from marketd.http.tokens import (
    AccessTokens,
    DownloadLinks,
    load_answers_key,
    load_link_key,
    load_mail_key,
    load_signing_keys,
)
from marketd.storage.cards import EncodedProduct, ProductCards, ReadProduct
from marketd.storage.catalog import CATALOG, BrowseProducts
from marketd.storage.files import FileStore
from marketd.storage.finding import Finder, FindRelated, FoundPage, Related, Suggest, Suggestions
from marketd.storage.history import History, OrderHistory, ReadHistory
from marketd.storage.images import ImageLimits, Shrinker
from marketd.storage.index_process import IndexNeeds, IndexProcess
from marketd.storage.library import LIBRARY, Library
from marketd.storage.log import LogCodec
from marketd.storage.orders import ORDERS, OrderPage
from marketd.storage.people import PEOPLE, EndedOnes, Person, ReadEnded, Seller, ended_since
from marketd.storage.projector import AskReached, Projector, Reached
from marketd.storage.reviews import REVIEWS, ReviewFound, Reviews
from marketd.storage.sales import SALES
from marketd.storage.search import Alike, FindAlike, Found, Renewed, Search, Spell, Spelt
from marketd.storage.sqlite import SqliteLog

AGGREGATES: Final = (ACCOUNT, PRODUCT, ORDER, BUYER)
MODELS: Final = (PEOPLE, CATALOG, REVIEWS, SALES, ORDERS, LIBRARY)
DECISIONS: Final = AccountAnswer | ProductAnswer | OrderAnswer | BuyerAnswer
FINDINGS: Final = (
    EncodedProduct
    | FoundPage
    | Suggestions
    | Related
    | ReviewFound
    | Reviews
    | OrderPage
    | Library
    | Person
    | Seller
    | EndedOnes
    | History
)
ANSWERS: Final = DECISIONS | FINDINGS | Reached | Found | Spelt | Alike

log = logging.getLogger("marketd")


@dataclass
class Service:
    """Everything that runs, without its front."""

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
    breakers: list[Breaker]
    projector: Projector
    house: House
    fulfilment: Fulfilment
    news: StripeNews | None
    postman: Postman
    mail_tokens: MailTokens
    watch: OrderWatch
    is_stopping: bool = False

    @property
    def nats_url(self) -> str:
        """Where NATS is."""
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
        is_ready = connected and is_caught_up and self.log.trouble is None and not self.is_stopping
        parts = {
            "bus": {"state": "ok" if connected else "down"},
            "log": {"state": "failing" if self.log.trouble else "ok", **self.log.statistics()},
            "readModels": {"state": "ok" if is_caught_up else "behind", "behind": behind, **models},
            "actors": {"state": "ok", **self.house.statistics()},
            "search": {"state": "ok" if self.finder.generation else "fallback", **self.index.statistics()},
            "fulfilment": {"state": "ok", **self.fulfilment.statistics()},
            "payments": {"state": self._state_of(PAYMENTS)},
            "mail": {"state": self._state_of(CIRCUIT), **self.postman.statistics()},
        }
        return Readiness(is_ready, parts)

    def _state_of(self, circuit: str) -> str:
        """What waits for somebody outside keeps nobody from anything else, so it has no say in whether we are ready."""
        return "ok" if all(b.state == "closed" for b in self.breakers if b.name == circuit) else "down"


def message_codec() -> Codec:
    """Make the codec of all commands and queries."""
    queries: set[Any] = {AskReached, AwaitOutcome, ReadHistory, ReadProduct}
    queries |= {BrowseProducts, Suggest, FindRelated, Search, Spell, FindAlike, Renewed}
    queries.update(query for model in MODELS for query in model.answers)
    commands = [aggregate.commands for aggregate in AGGREGATES]
    reasons = reasons_by_code({aggregate.kind: aggregate.reasons for aggregate in AGGREGATES})
    return Codec(reduce(or_, [*commands, *queries]), ANSWERS, reasons)


def log_codec() -> LogCodec:
    """Make the codec of all events and of the answers that are kept with them."""
    upcasts = {tag: upcast for aggregate in AGGREGATES for tag, upcast in aggregate.upcasts.items()}
    return LogCodec(reduce(or_, [aggregate.events for aggregate in AGGREGATES]), DECISIONS, upcasts)


@asynccontextmanager
async def running(settings: Settings, clock: Clock, url: str | None = None) -> AsyncIterator[Service]:
    """Run everything but the front, which is found at `url`; raise what stands in the way of starting."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = stack.enter_context(opened(Path(settings.data.dir), settings.storage.free_bytes_min))
        events = await enter(event_log(folder, settings))
        payments = _breaker(PAYMENTS, settings, clock)
        processor = await enter(make_processor(settings, folder, clock, payments))
        projector = await enter(
            Projector(folder.reads, events, MODELS, read_wait_s_max=settings.storage.read_wait_s_max)
        )
        shrinker = Shrinker(_image_limits(settings))
        files = FileStore(folder.files, shrinker, free_bytes_min=settings.uploads.free_bytes_min)
        await files.prepare()
        server = None
        if settings.nats.url is None:
            server = await enter(NatsServer(store=folder.nats, port=settings.nats.port, clock=clock))
        bus = await enter(_bus(settings, server, clock))
        house = await enter(_house(settings, events, clock))
        fulfilment = Fulfilment(bus, events, processor, Journal(), clock, _fulfilment_limits(settings))
        mail_tokens, mail_breaker = MailTokens(load_mail_key(folder.keys)), _breaker(CIRCUIT, settings, clock)
        carrier, writer = make_carrier(settings, folder), make_writer(settings, mail_tokens, url)
        postman = Postman(bus, events, carrier, writer, mail_breaker, clock, postman_limits(settings))
        watch = OrderWatch(bus, events, clock)
        await house.open(bus)
        await projector.open(bus)
        cards = ProductCards(projector)
        await cards.open(bus)
        breaker = _breaker("search", settings, clock)
        finder = Finder(bus, projector, cards, breaker, clock, wait_s_max=settings.search.wait_s_max)
        await finder.open()
        index = IndexProcess(_index_needs(settings, folder, server), clock, finder.welcome)
        await OrderHistory(events).open(bus)
        await watch.open()
        runs = [projector.run(), fulfilment.run(), postman.run(), watch.run(), bus.wait_lost()]
        await enter(_background(*runs, *([_indexing(projector, index)] if settings.search.enabled else [])))
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
            breakers=[breaker, mail_breaker, payments],
            projector=projector,
            house=house,
            fulfilment=fulfilment,
            news=make_news(settings, clock, payments, fulfilment),
            postman=postman,
            mail_tokens=mail_tokens,
            watch=watch,
        )


@asynccontextmanager
async def front(service: Service, listener: socket.socket) -> AsyncIterator[None]:
    """Answer HTTP on a bound socket; at the end take no more requests, and finish those in hand."""
    settings, clock = service.settings, service.clock
    signing, linking = load_signing_keys(service.folder.keys, clock), load_link_key(service.folder.keys)
    passwords = Passwords(
        threads=settings.auth.password_threads,
        queue_max=settings.auth.password_queue_max,
        memory_kib=settings.auth.argon2_memory_kib,
        time_cost=settings.auth.argon2_time_cost,
    )
    await passwords.prepare()
    app = make_app(clock, body_bytes_max=settings.http.body_bytes_max)
    app[BUS] = service.bus
    app[CARDS] = service.cards
    app[CIRCUITS] = lambda: [breaker.statistics() for breaker in service.breakers]
    app[PAGES] = pages = KeptPages(settings.search.pages_max)
    service.finder.on_renewed(pages.on_renewed)
    service.projector.on_applied(pages.on_applied)
    app[FILES] = service.files
    app[PASSWORDS] = passwords
    app[TOKENS] = tokens = AccessTokens(signing, clock, minutes=settings.auth.access_minutes)
    app[MAIL_TOKENS] = service.mail_tokens
    app[ENDED] = await _ended(service)
    app[LINKS] = DownloadLinks(linking, clock, minutes=settings.downloads.link_minutes)
    app[LOCKOUT], app[ADDRESS_LOCKOUT] = _lockouts(settings, clock)
    app[LIMITS] = _front_limits(settings)
    limits = settings.http
    app[CORS] = Cors(limits.cors_origins, limits.cors_max_age_s)
    app[ENCODINGS] = Encodings(limits.compressed_bytes_min, limits.compressed_kept_bytes_max)
    app[PROXIES] = Proxies(limits.trusted_proxies, limits.forwarded_by)
    ring = KeyRing(service.folder.keys, tokens, clock, check_s=settings.auth.keys_check_s)
    app[ADMISSION] = admission = make_admission(settings, clock, service.fulfilment)
    if settings.limits.enabled:
        app[RATES] = make_rates(settings, clock)
    if service.news is not None:
        app[STRIPE_NEWS] = service.news
    lines, answers = make_lines(settings, clock, app[PROXIES]), make_answers(settings, service.folder.answers, clock)
    app[READINESS] = lambda: _with_front(service.readiness(), admission, lines)
    app[ONCE] = make_once(settings, answers, load_answers_key(service.folder.keys), clock)
    try:
        async with (
            answers,
            _background(ring.run(), answers.run(), admission.run(), lines.run()),
            serving(app, listener, lines, backlog_max=limits.backlog_max, shutdown_s_max=limits.shutdown_s_max),
        ):
            try:
                yield
            finally:
                service.is_stopping = True
                service.watch.release()
    finally:
        passwords.close()


async def wait_caught_up(service: Service) -> None:
    """Wait until the read models have come to where the log is, saying how far they are."""
    async with aclosing(service.projector.wait_caught_up()) as steps:
        told_s = service.clock.monotonic_s()
        async for position, head in steps:
            if service.clock.monotonic_s() - told_s > PROGRESS_S:
                told_s = service.clock.monotonic_s()
                log.info("read models: %d of %d records (%d %%)", position, head, position * 100 // head)


PROGRESS_S: Final = 2.0


async def _indexing(projector: Projector, index: IndexProcess) -> None:
    """Keep the index once the catalogue is whole: an index of half of it would hide the other half."""
    async with aclosing(projector.wait_caught_up()) as steps:
        async for _ in steps:
            pass
    await index.run()


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


def _bus(settings: Settings, server: NatsServer | None, clock: Clock) -> NatsBus:
    wanted = settings.nats
    return NatsBus(
        server.url if server else str(wanted.url),
        message_codec(),
        clock,
        user=server.user if server else wanted.user,
        password=server.password if server else wanted.password,
        in_process=wanted.in_process,
        connect_s_max=wanted.start_s_max,
    )


def _house(settings: Settings, events: SqliteLog, clock: Clock) -> House:
    limits = settings.actors
    actor_limits = ActorLimits(
        mailbox_depth_max=limits.mailbox_depth_max,
        turn_messages_max=limits.turn_messages_max,
        redecide_max=limits.redecide_max,
        snapshot_every=limits.snapshot_every,
    )
    return House(AGGREGATES, events, clock, HouseLimits(limits.awake_max, limits.idle_s), actor_limits)


def _breaker(name: str, settings: Settings, clock: Clock) -> Breaker:
    limits = settings.breakers
    return Breaker(name, clock, failures_max=limits.failures_max, open_s=limits.open_s)


def _lockouts(settings: Settings, clock: Clock) -> tuple[Lockout, Lockout]:
    """Make that of accounts, and that of network addresses."""
    limits = settings.auth
    of_accounts = Lockout(
        clock,
        failures_max=limits.failures_max,
        lockout_s=limits.lockout_s,
        lockout_s_max=limits.lockout_s_max,
        keys_max=limits.lockouts_max,
    )
    of_addresses = Lockout(
        clock,
        failures_max=limits.address_failures_max,
        lockout_s=limits.lockout_s,
        lockout_s_max=limits.lockout_s_max,
        forget_s=limits.address_forget_s,
        keys_max=limits.lockouts_max,
    )
    return of_accounts, of_addresses


async def _ended(service: Service) -> EndedSessions:
    """Listen first, then look at what was there before, so that no end is missed."""
    limits = service.settings.auth
    ended = EndedSessions(service.clock, access_minutes=limits.access_minutes, sessions_max=limits.ended_sessions_max)
    service.projector.on_applied(ended.on_applied)
    ended.take(await service.projector.read(ended_since, ReadEnded(ended.since)))
    return ended


def _fulfilment_limits(settings: Settings) -> FulfilmentLimits:
    limits = settings.saga
    return FulfilmentLimits(
        retry_s=limits.retry_s,
        retry_s_max=limits.retry_s_max,
        patience_s=limits.patience_s,
        reply_wait_s_max=settings.actors.reply_wait_s_max,
        processor_wait_s_max=limits.processor_wait_s_max,
        orders_max=limits.orders_max,
    )


def _with_front(readiness: Readiness, admission: Admission, lines: Lines) -> Readiness:
    front = {"state": "ok", "connections": len(lines), **admission.statistics()}
    return Readiness(readiness.is_ready, {**readiness.parts, "front": front})


def _front_limits(settings: Settings) -> FrontLimits:
    return FrontLimits(
        body_bytes_max=settings.http.body_bytes_max,
        body_read_s_max=settings.http.body_read_s_max,
        upload_bytes_max=settings.uploads.bytes_max,
        upload_window_s=settings.uploads.window_s,
        upload_window_bytes_min=settings.uploads.window_bytes_min,
        reply_wait_s_max=settings.actors.reply_wait_s_max,
        wait_s_max=settings.http.wait_s_max,
        refresh_days=settings.auth.refresh_days,
        verify_hours=settings.auth.verify_hours,
        reset_minutes=settings.auth.reset_minutes,
        reset_answer_s=settings.auth.reset_answer_s,
        mails_hour_max=settings.auth.mails_hour_max,
        public_url=settings.http.public_url,
        parts=_part_limits(settings),
    )


def _part_limits(settings: Settings) -> PartLimits:
    limits = settings.frontends
    return PartLimits(
        reviews_wait_s_max=limits.reviews_wait_s_max,
        related_wait_s_max=limits.related_wait_s_max,
        access_wait_s_max=limits.access_wait_s_max,
        seller_wait_s_max=limits.seller_wait_s_max,
        lists_wait_s_max=limits.lists_wait_s_max,
        purchases_wait_s_max=limits.purchases_wait_s_max,
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
    )


@asynccontextmanager
async def _background(*runs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let these run for as long as the block lasts; one that fails ends the block."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(run) for run in runs]
        try:
            yield
        finally:
            for task in started:
                task.cancel()
