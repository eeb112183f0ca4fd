"""The HTTP front: everything between a socket and the bus, made from the settings."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from marketd.clock import Clock
from marketd.config.background import background
from marketd.config.guarding import make_admission, make_answers, make_lines, make_once, make_rates, make_streams
from marketd.config.losses import tell_lost_keys
from marketd.config.measuring import make_metrics
from marketd.config.settings import Settings
from marketd.config.webhooking import webhook_limits
from marketd.config.wiring import Service
from marketd.http.admission import Admission
from marketd.http.app import App, make_app
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
    FILLING,
    LIMITS,
    LINKS,
    LOCKOUT,
    MAIL_TOKENS,
    METRICS,
    ONCE,
    PAGES,
    PASSWORDS,
    PROXIES,
    PUSH_KEY,
    RATES,
    READINESS,
    STREAMS,
    STRIPE_NEWS,
    TOKENS,
    TRAFFIC,
    VIEWS,
    WEBHOOK_SIGNER,
    FrontLimits,
    PartLimits,
    Readiness,
)
from marketd.http.lines import Lines
from marketd.http.lockout import Lockout
from marketd.http.passwords import Passwords
from marketd.http.proxies import Proxies
from marketd.http.server import Tls, serving
from marketd.http.tokens import AccessTokens, DownloadLinks, load_answers_key, load_link_key, load_signing_keys
from marketd.http.traffic import Traffic
from marketd.pulse import Pulse
from marketd.storage.people import PEOPLE, ReadEnded, ended_since


@asynccontextmanager
async def front(service: Service, listener: socket.socket, tls: Tls | None = None) -> AsyncIterator[EndedSessions]:
    """Serve HTTP on a bound socket, then finish its requests; yield the ended sessions, which must be whole first."""
    settings, clock = service.settings, service.clock
    _tell_lost_keys(service)
    passwords = Passwords(
        threads=settings.auth.password_threads,
        queue_max=settings.auth.password_queue_max,
        memory_kib=settings.auth.argon2_memory_kib,
        time_cost=settings.auth.argon2_time_cost,
    )
    await passwords.prepare()
    app = make_app(clock, body_bytes_max=settings.http.body_bytes_max)
    _take_parts(app, service)
    _set_limits(app, service)
    app[PASSWORDS] = passwords
    app[TOKENS] = tokens = AccessTokens(
        load_signing_keys(service.folder.keys, clock), clock, minutes=settings.auth.access_minutes
    )
    app[LINKS] = DownloadLinks(load_link_key(service.folder.keys), clock, minutes=settings.downloads.link_minutes)
    app[ENDED] = ended = await _ended(service)
    app[STREAMS] = streams = make_streams(settings, ended)
    ring = KeyRing(service.folder.keys, tokens, clock, check_s=settings.auth.keys_check_s)
    app[ADMISSION] = admission = make_admission(settings, clock, service.fulfilment)
    lines, answers = make_lines(settings, clock, app[PROXIES]), make_answers(settings, service.folder.answers, clock)
    app[READINESS] = lambda: _with_front(service.readiness(), admission, lines, ended)
    pulse = Pulse(clock)
    if settings.metrics.enabled:
        app[TRAFFIC] = traffic = Traffic(app.router.routes(), clock, slow_s=settings.log.slow_request_s)
        app[METRICS] = make_metrics(service, traffic, pulse, admission, lines, streams)
    app[ONCE] = make_once(settings, answers, load_answers_key(service.folder.keys), clock)
    limits = settings.http
    try:
        async with (
            answers,
            background(
                ring.run(), answers.run(), admission.run(), lines.run(), pulse.run(), ended.catch_up(service.log.tail)
            ),
            serving(app, listener, lines, tls, backlog_max=limits.backlog_max, shutdown_s_max=limits.shutdown_s_max),
        ):
            try:
                yield ended
            finally:
                service.is_stopping = True
                streams.release()
                service.watch.release()
    finally:
        passwords.close()


def _take_parts(app: App, service: Service) -> None:
    """Give the front the parts of the service that it asks."""
    app[BUS], app[CARDS], app[CIRCUITS] = service.bus, service.cards, service.circuits
    app[FILES], app[VIEWS] = service.files, service.views
    app[PAGES] = pages = KeptPages(service.settings.search.pages_max, service.index.note_use)
    service.finder.on_renewed(pages.on_renewed)
    service.projector.on_applied(pages.on_applied)
    app[WEBHOOK_SIGNER] = service.webhooks.signer
    app[MAIL_TOKENS], app[PUSH_KEY] = service.notices.tokens, service.notices.push_key.public
    app[FILLING] = lambda: service.is_filling
    if service.news is not None:
        app[STRIPE_NEWS] = service.news


def _set_limits(app: App, service: Service) -> None:
    """Give the front what the settings allow its clients."""
    settings, clock, limits = service.settings, service.clock, service.settings.http
    app[LIMITS] = _front_limits(settings)
    app[LOCKOUT], app[ADDRESS_LOCKOUT] = _lockouts(settings, clock)
    app[CORS] = Cors(limits.cors_origins, limits.cors_max_age_s)
    app[ENCODINGS] = Encodings(limits.compressed_bytes_min, limits.compressed_kept_bytes_max)
    app[PROXIES] = Proxies(limits.trusted_proxies, limits.forwarded_by)
    if settings.limits.enabled:
        app[RATES] = make_rates(settings, clock, app[FILLING])


def _tell_lost_keys(service: Service) -> None:
    if service.folder.answers.exists():  # else no front has ever been here, and these keys are the first
        tell_lost_keys(service.folder, service.log.head, "*.pem", "answers.key")


def _lockouts(settings: Settings, clock: Clock) -> tuple[Lockout, Lockout]:
    """Make the lockout of accounts, and that of network addresses."""
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
    """Make the ended sessions: listen first, then load the earlier ones, so that no end is missed."""
    limits = service.settings.auth
    ended = EndedSessions(service.clock, access_minutes=limits.access_minutes, sessions_max=limits.ended_sessions_max)
    service.projector.on_applied(ended.on_applied)
    until, head = service.projector.statistics()[PEOPLE.name].position, service.log.head
    ended.take(await service.projector.read(ended_since, ReadEnded(ended.since)), until, head)
    return ended


def _with_front(readiness: Readiness, admission: Admission, lines: Lines, ended: EndedSessions) -> Readiness:
    state = "behind" if ended.is_behind else "ok"
    front = {"state": state, "connections": len(lines), **admission.statistics()}
    return Readiness(readiness.is_ready and not ended.is_behind, {**readiness.parts, "front": front})


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
        page_hours=settings.auth.page_hours,
        has_sandbox_cards=settings.payments.processor == "sandbox",
        has_integrators=settings.nats.url is None,  # at another server they are users that its operator makes
        verify_hours=settings.auth.verify_hours,
        reset_minutes=settings.auth.reset_minutes,
        reset_answer_s=settings.auth.reset_answer_s,
        mails_hour_max=settings.auth.mails_hour_max,
        public_url=settings.http.public_url,
        push_private_allowed=settings.push.private_allowed,
        range_days_max=settings.analytics.range_days_max,
        parts=_part_limits(settings),
        webhooks=webhook_limits(settings),
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
