"""
Makes from the settings what protects the front (stored responses, admission, rate limits, connections and streams), and
the circuit breakers of external services.
"""

from collections.abc import Callable
from pathlib import Path

from marketd.actors.fulfilment import Fulfilment
from marketd.bus.breaker import Breaker
from marketd.clock import Clock
from marketd.config.settings import Settings
from marketd.http.admission import Admission, Orders
from marketd.http.ended import EndedSessions
from marketd.http.lines import LineLimits, Lines
from marketd.http.once import Once
from marketd.http.proxies import Proxies
from marketd.http.rates import Rates
from marketd.http.streams import StreamLimits, Streams
from marketd.storage.answers import FirstAnswers


def make_breaker(name: str, settings: Settings, clock: Clock) -> Breaker:
    """Make the circuit breaker of one external service."""
    limits = settings.breakers
    return Breaker(name, clock, failures_max=limits.failures_max, open_s=limits.open_s)


def make_answers(settings: Settings, path: Path, clock: Clock) -> FirstAnswers:
    """Make the store of first responses; enter and run it."""
    limits = settings.idempotency
    return FirstAnswers(path, clock, keep_hours=limits.keep_hours, owner_keys_max=limits.owner_keys_max)


def make_once(settings: Settings, answers: FirstAnswers, secret: bytes, clock: Clock) -> Once:
    """Make the executor of requests with an idempotency key."""
    limits = settings.idempotency
    return Once(answers, secret, clock, wait_s_max=limits.wait_s_max, answer_bytes_max=limits.answer_bytes_max)


def make_admission(settings: Settings, clock: Clock, fulfilment: Fulfilment) -> Admission:
    """Make the admission control; run it."""
    limits = settings.overload
    return Admission(
        clock,
        in_hand_min=limits.in_hand_min,
        in_hand_max=limits.in_hand_max,
        delay_s_max=limits.delay_s_max,
        orders=lambda: Orders(fulfilment.waiting, fulfilment.done),
    )


def make_rates(settings: Settings, clock: Clock, is_lifted: Callable[[], bool]) -> Rates:
    """Make the rate limits, which do not hold as long as they are lifted."""
    limits = settings.limits
    return Rates(
        clock,
        window_s=limits.window_s,
        user_requests_max=limits.user_requests_max,
        address_requests_max=limits.address_requests_max,
        auth_requests_max=limits.auth_requests_max,
        clients_max=limits.clients_max,
        is_lifted=is_lifted,
    )


def make_streams(settings: Settings, ended: EndedSessions) -> Streams:
    """Make the register of open event streams, which end with their sessions."""
    limits = settings.http
    streams = Streams(
        StreamLimits(
            streams_max=limits.streams_max,
            user_streams_max=limits.user_streams_max,
            stream_silence_s_max=limits.stream_silence_s_max,
        )
    )
    ended.on_end(streams.end_session)
    return streams


def make_lines(settings: Settings, clock: Clock, proxies: Proxies) -> Lines:
    """Make the register of open connections; run it."""
    limits = settings.http
    bounds = LineLimits(
        connections_max=limits.connections_max,
        address_connections_max=settings.limits.address_connections_max if settings.limits.enabled else None,
        head_read_s_max=limits.head_read_s_max,
        keep_alive_s_max=limits.keep_alive_s_max,
        send_stall_s_max=limits.send_stall_s_max,
        unsent_bytes_max=limits.unsent_bytes_max,
    )
    return Lines(clock, bounds, proxies.trusts)
