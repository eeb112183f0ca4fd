"""The metrics of all parts, under the names that docs/metrics.md explains: read from each part on each scrape."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, get_args

from marketd import __version__
from marketd.actors.fulfilment import Fulfilment
from marketd.actors.house import House
from marketd.actors.notices.courier import Courier
from marketd.actors.payments.stripe_news import StripeNews
from marketd.bus.breaker import Circuit, State
from marketd.bus.nats import NatsBus
from marketd.bus.relay import Relay
from marketd.clock import Clock
from marketd.config.mailing import Notices
from marketd.config.wiring import Service
from marketd.http.admission import Admission
from marketd.http.lines import Lines
from marketd.http.metrics import Metrics
from marketd.http.streams import Streams
from marketd.http.traffic import Traffic
from marketd.measures import Histogram, Measure, Outcomes, Sample, Source
from marketd.pulse import Pulse
from marketd.storage.database import StorageError
from marketd.storage.index_process import IndexProcess
from marketd.storage.orders import count_open_alerts
from marketd.storage.projector import Projector
from marketd.storage.room import Room
from marketd.storage.sqlite import SqliteLog
from marketd.storage.views import Views

STATES: Final = get_args(State)
ENDS: Final = ("sent", "rejected", "given_up")  # of notices


def counter(name: str, told: str, value: float) -> Measure:
    """Make a counter without labels."""
    return Measure("counter", name, told, (), [Sample((), value)])


def gauge(name: str, told: str, value: float) -> Measure:
    """Make a gauge without labels."""
    return Measure("gauge", name, told, (), [Sample((), value)])


def histogram(name: str, told: str, value: Histogram) -> Measure:
    """Make a histogram without labels."""
    return Measure("histogram", name, told, (), [Sample((), value)])


def outcomes(name: str, told: str, label: str, found: Outcomes) -> Iterable[Measure]:
    """Make a counter of outcomes and a histogram of durations."""
    counts = [Sample(key, count) for key, count in found.counts.items()]
    yield Measure("counter", f"{name}s_total", f"{told}, by how they ended", (label, "outcome"), counts)
    times = [Sample((key,), value) for key, value in found.times.items()]
    yield Measure("histogram", f"{name}_duration_seconds", f"{told}, how long each took", (label,), times)


def of_build() -> Iterable[Measure]:
    """Give the version of marketd."""
    version = [Sample((__version__,), 1)]
    yield Measure("gauge", "marketd_build_info", "The version that runs", ("version",), version)


def of_breakers(circuits_now: Callable[[], Sequence[Circuit]]) -> Source:
    """Measure the circuit breakers: the state that each is in has the value 1, the others 0."""

    def tell() -> Iterable[Measure]:
        circuits = circuits_now()
        states = [Sample((c.name, state), float(c.state == state)) for c in circuits for state in STATES]
        yield Measure("gauge", "marketd_circuit_breaker_state", "1 for its state", ("breaker", "state"), states)
        calls = [
            Sample((c.name, outcome), count)
            for c in circuits
            for outcome, count in (("success", c.successes), ("failure", c.failures), ("rejected", c.refused))
        ]
        told = "Calls through a breaker; rejected ones were not let through"
        yield Measure("counter", "marketd_circuit_breaker_calls_total", told, ("breaker", "outcome"), calls)
        opened = [Sample((c.name,), c.opened) for c in circuits]
        yield Measure("counter", "marketd_circuit_breaker_opened_total", "Times it opened", ("breaker",), opened)

    return tell


def of_bus(bus: NatsBus) -> Source:
    """Measure what is asked on the bus, and the connection to NATS."""

    def tell() -> Iterable[Measure]:
        line = bus.statistics()
        yield from outcomes("marketd_bus_ask", "Commands and queries asked", "message", bus.asks)
        yield gauge("marketd_bus_connected", "1 while the line to NATS is up", float(bool(line["connected"])))
        yield gauge("marketd_bus_requests_in_hand", "Requests over NATS being answered", line["in_hand"])
        yield counter("marketd_bus_reconnects_total", "Times the line to NATS was made again", line["reconnects"])

    return tell


def of_actors(house: House) -> Source:
    """Measure the actors that are awake, their mailboxes, and their turns."""

    def tell() -> Iterable[Measure]:
        now, kinds = house.statistics(), house.kinds()
        yield gauge("marketd_actors_awake", "Actors in memory", now["awake"])
        yield gauge("marketd_mailbox_messages", "Messages that wait in mailboxes", now["mailbox_depth"])
        yield gauge("marketd_mailbox_deepest_messages", "Those in the fullest one", now["mailbox_depth_deepest"])
        by = ("aggregate",)
        times = [Sample((name,), kind.turn_times) for name, kind in kinds.items()]
        yield Measure("histogram", "marketd_actor_turn_duration_seconds", "Turns of actors", by, times)
        letters = [Sample((name,), kind.turn_letters) for name, kind in kinds.items()]
        yield Measure("histogram", "marketd_actor_turn_messages", "Messages decided in one turn", by, letters)
        crashes = [Sample((name,), kind.crashes) for name, kind in kinds.items()]
        yield Measure("counter", "marketd_actor_crashes_total", "Turns and decisions that crashed", by, crashes)

    return tell


def of_log(events: SqliteLog) -> Source:
    """Measure how the log is written."""

    def tell() -> Iterable[Measure]:
        now = events.statistics()
        yield gauge("marketd_log_position", "The position of the newest record", now["head"])
        yield gauge("marketd_log_queued_commits", "Commits that wait to be written", now["queued_commits"])
        yield histogram("marketd_log_append_commits", "Commits written in one transaction", events.batch_commits)
        yield histogram("marketd_log_append_duration_seconds", "Transactions, fsync included", events.batch_times)
        yield counter("marketd_log_append_failures_total", "Transactions that failed", now["failed_batches"])
        appended = [Sample((name,), count) for name, count in events.events.items()]
        yield Measure("counter", "marketd_events_total", "Events appended since the start", ("event",), appended)

    return tell


def of_models(projector: Projector, events: SqliteLog) -> Source:
    """Measure how far the read models are behind the log."""

    def tell() -> Iterable[Measure]:
        standings, head = projector.statistics(), events.head
        lags = [Sample((name,), head - standing.position) for name, standing in standings.items()]
        yield Measure("gauge", "marketd_read_model_lag_commits", "Records it has not taken in yet", ("model",), lags)
        halted = [Sample((name,), float(standing.halted is not None)) for name, standing in standings.items()]
        yield Measure("gauge", "marketd_read_model_halted", "1 where it has failed and stands", ("model",), halted)

    return tell


def of_saga(fulfilment: Fulfilment) -> Source:
    """Measure the steps of the sagas; how the orders ended is in `marketd_events_total`."""

    def tell() -> Iterable[Measure]:
        now = fulfilment.statistics()
        yield from outcomes("marketd_saga_step", "Askings of a saga's step", "step", fulfilment.steps)
        yield gauge("marketd_saga_open_orders", "Orders that may not be at their end", now["open_orders"])
        yield gauge("marketd_saga_waiting_orders", "Those of them that wait for us", fulfilment.waiting)

    return tell


def of_followers(
    fulfilment: Fulfilment, notices: Notices, courier: Courier, relay: Relay, events: SqliteLog, clock: Clock
) -> Source:
    """Measure how far the followers of the log are behind it, what they have in progress, and how notices ended."""

    def tell() -> Iterable[Measure]:
        postman, channels = notices.postman, {"email": notices.by_mail, "push": notices.by_push}
        heard = {"fulfilment": fulfilment.statistics()["position"], "mail": postman.statistics()["position"]}
        heard |= {"webhooks": courier.heard, "events": relay.statistics()["position"]}
        heard |= {f"notices by {name}": channel.statistics()["position"] for name, channel in channels.items()}
        lags = [Sample((name,), events.head - position) for name, position in heard.items()]
        told = "Records it has not heard of yet"
        yield Measure("gauge", "marketd_follower_lag_commits", told, ("follower",), lags)
        oldest = {"fulfilment": fulfilment.oldest_at, "mail": postman.oldest_at}
        oldest |= {f"notices by {name}": channel.oldest_at for name, channel in channels.items()}
        now_ms = clock.now_ms()
        ages = [Sample((name,), max(0, now_ms - (at or now_ms)) / 1000) for name, at in oldest.items()]
        told = "How old the oldest thing in hand is; 0 where there is none"
        yield Measure("gauge", "marketd_follower_oldest_seconds", told, ("follower",), ages)
        waiting = postman.statistics()["waiting"]
        yield gauge("marketd_mail_waiting_accounts", "Accounts that may await mail", waiting)
        now = {name: channel.statistics() for name, channel in channels.items()}
        open_ones = [Sample((name,), counts["waiting"]) for name, counts in now.items()]
        yield Measure("gauge", "marketd_notices_waiting", "Notices in hand that wait", ("channel",), open_ones)
        ends = [Sample((name, end), counts[end]) for name, counts in now.items() for end in ENDS]
        yield Measure("counter", "marketd_notices_total", "Notices that came to an end", ("channel", "end"), ends)

    return tell


def of_room(room: Room) -> Source:
    """Tell how much of the disk is free."""

    def tell() -> Iterable[Measure]:
        yield gauge("marketd_disk_free_bytes", "Free space where the data directory is", room.free_bytes)

    return tell


def of_relay(relay: Relay) -> Source:
    """Measure how the public events are published; the lag of the relay is among those of the followers."""

    def tell() -> Iterable[Measure]:
        yield gauge("marketd_events_relay_up", "0 while public events wait in the log", float(relay.trouble is None))
        published = relay.statistics()["published"]
        yield counter("marketd_events_published_total", "Public events put into the stream", published)

    return tell


def of_webhooks(courier: Courier) -> Source:
    """Measure the webhooks, and the posts to them."""

    def tell() -> Iterable[Measure]:
        now = courier.statistics()
        posts = [Sample(("delivered",), now["delivered"]), Sample(("failed",), now["failed_attempts"])]
        told = "Posts to webhooks, by how they ended; failed ones are tried again"
        yield Measure("counter", "marketd_webhook_posts_total", told, ("outcome",), posts)
        yield gauge("marketd_webhook_posts_in_hand", "Posts to webhooks that are under way", now["in_hand"])
        states = {"enabled": now["endpoints"] - now["disabled"], "disabled": now["disabled"]}
        endpoints = [Sample((state,), count) for state, count in states.items()]
        yield Measure("gauge", "marketd_webhook_endpoints", "Webhooks that there are", ("state",), endpoints)

    return tell


def of_index(index: IndexProcess) -> Source:
    """Measure the process of the search index."""

    def tell() -> Iterable[Measure]:
        now = index.statistics()
        yield gauge("marketd_search_index_up", "1 while its process runs", float(now["pid"] is not None))
        yield gauge("marketd_search_index_resting", "1 while it waits to be asked", float(index.is_resting))
        yield counter("marketd_search_index_starts_total", "Times it was started", now["starts"] or 0)

    return tell


def of_front(admission: Admission, lines: Lines, streams: Streams) -> Source:
    """Measure the connections, event streams and requests of the front."""

    def tell() -> Iterable[Measure]:
        now = admission.statistics()
        yield gauge("marketd_http_connections", "Open connections", len(lines))
        yield gauge("marketd_http_event_streams", "Open event streams", streams.statistics()["open"])
        yield gauge("marketd_http_requests_in_hand", "Requests being answered", now["in_hand"])
        yield gauge("marketd_http_requests_in_hand_max", "How many may be at present", now["in_hand_max"])
        yield counter("marketd_http_overloads_total", "Requests sent away by admission", now["refused"])

    return tell


def of_views(views: Views) -> Source:
    """Count the visits of products that are in no seller's figures."""
    told = "Visits that were not counted: too many in a second, or visitors in a day"
    return lambda: [counter("marketd_views_uncounted_total", told, views.statistics()["uncounted"])]


def of_pulse(pulse: Pulse) -> Source:
    """Measure how late the event loop is."""
    told = "How late something due was done"
    return lambda: [histogram("marketd_event_loop_lag_seconds", told, pulse.late)]


def of_news(news: StripeNews | None) -> Source:
    """Count the refunds that Stripe accepted, and that failed later."""
    told = "Refunds that the processor took on, and then reported as failed"
    return lambda: [counter("marketd_payments_refunds_failed_total", told, news.failed_refunds if news else 0)]


async def of_deliveries(courier: Courier) -> list[Measure]:
    """Measure the deliveries that wait; nothing if they can't be read."""
    try:
        found = await courier.backlog()
    except StorageError:
        return []
    counts = [Sample(("enabled",), found.waiting), Sample(("disabled",), found.disabled)]
    return [
        Measure("gauge", "marketd_webhook_waiting_deliveries", "Deliveries that wait to be sent", ("state",), counts),
        gauge("marketd_webhook_late_seconds", "How long ago the first that waits was to be tried", found.late_s),
    ]


async def of_alerts(projector: Projector) -> list[Measure]:
    """Count the open alerts; nothing if they can't be read."""
    try:
        found = await projector.read(count_open_alerts, None)
    except StorageError:
        return []
    return [gauge("marketd_alerts_open", "Alerts that nobody has seen to", found)]


def make_metrics(
    service: Service, traffic: Traffic, pulse: Pulse, admission: Admission, lines: Lines, streams: Streams
) -> Metrics:
    """Make the metrics of the service; other parts add theirs to `service.measures`."""
    measures, events, courier = service.measures, service.log, service.webhooks.courier
    for source in (
        of_build,
        of_breakers(service.circuits),
        traffic.measures,
        of_front(admission, lines, streams),
        of_bus(service.bus),
        of_actors(service.house),
        of_log(events),
        of_models(service.projector, events),
        of_followers(service.fulfilment, service.notices, courier, service.relay, events, service.clock),
        of_relay(service.relay),
        of_room(service.room),
        of_webhooks(courier),
        of_saga(service.fulfilment),
        of_news(service.news),
        of_index(service.index),
        of_views(service.views),
        of_pulse(pulse),
    ):
        measures.add(source)

    async def look() -> list[Measure]:
        return [*measures.read(), *await of_alerts(service.projector), *await of_deliveries(courier)]

    wanted = service.settings.metrics
    return Metrics(look, wanted.networks, wanted.token)
