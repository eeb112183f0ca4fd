"""The dashboard for Grafana, written from a table: a row is a panel, its unit, and what is asked of Prometheus."""

import json
from typing import Any, Final

COLUMNS: Final = 3
WIDTH, HEIGHT = 8, 8
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
RATE: Final = "[$__rate_interval]"

Panel = tuple[str, str, tuple[tuple[str, str], ...]]


def quantiles(histogram: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """Ask for the median and the 99th percentile of a histogram."""
    kept = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return tuple(
        (f"histogram_quantile({q}, sum by ({kept}) (rate({histogram}_bucket{RATE})))", f"p{round(q * 100)}{legend}")
        for q in (0.5, 0.99)
    )


def rate(counter: str, *by: str) -> tuple[str, str]:
    """Ask how much a counter grows a second."""
    return f"sum by ({', '.join(by)}) (rate({counter}{RATE}))", " ".join(f"{{{{{label}}}}}" for label in by)


PANELS: Final[tuple[Panel, ...]] = (
    ("Requests by status", "reqps", (rate("marketd_http_requests_total", "status"),)),
    ("Requests by route", "reqps", (rate("marketd_http_requests_total", "method", "route"),)),
    ("Latency of requests", "s", quantiles("marketd_http_request_duration_seconds")),
    ("Latency by route", "s", quantiles("marketd_http_request_duration_seconds", "route")[1:]),
    (
        "At the door",
        "short",
        (
            ("marketd_http_connections", "connections"),
            ("marketd_http_event_streams", "event streams"),
            ("marketd_http_requests_in_hand", "in hand"),
            ("marketd_http_requests_in_hand_max", "in hand, at most"),
            ("rate(marketd_http_overloads_total[$__rate_interval])", "sent away a second"),
        ),
    ),
    (
        "Breakers (open, or half-open)",
        "short",
        (
            ('marketd_circuit_breaker_state{state!="closed"}', "{{breaker}} {{state}}"),
            rate("marketd_circuit_breaker_opened_total", "breaker"),
        ),
    ),
    ("Calls through breakers", "ops", (rate("marketd_circuit_breaker_calls_total", "breaker", "outcome"),)),
    (
        "Money to be seen to by hand",
        "short",
        (
            ("marketd_alerts_open", "open alerts"),
            ("marketd_payments_refunds_failed_total", "refunds that failed late"),
        ),
    ),
    (
        "Orders",
        "short",
        (
            ('sum by (event) (increase(marketd_events_total{event=~"order[.](placed|completed|failed|refunded)"}[1h]))',
             "{{event}} in an hour"),
            ("marketd_saga_open_orders", "open"),
            ("marketd_saga_waiting_orders", "waiting for us"),
        ),
    ),
    ("Steps of sagas", "ops", (rate("marketd_saga_steps_total", "step", "outcome"),)),
    ("How long steps take", "s", quantiles("marketd_saga_step_duration_seconds", "step")[1:]),
    ("Events", "ops", (rate("marketd_events_total", "event"),)),
    ("Asks by how they ended", "ops", (rate("marketd_bus_asks_total", "outcome"),)),
    ("How long asks take", "s", quantiles("marketd_bus_ask_duration_seconds")),
    (
        "The line to NATS",
        "short",
        (
            ("marketd_bus_connected", "connected"),
            ("marketd_bus_requests_in_hand", "requests in hand"),
            ("increase(marketd_bus_reconnects_total[$__rate_interval])", "made again"),
        ),
    ),
    ("Turns of actors", "s", quantiles("marketd_actor_turn_duration_seconds", "aggregate")[1:]),
    ("Messages a turn", "short", quantiles("marketd_actor_turn_messages")),
    (
        "Actors and mailboxes",
        "short",
        (
            ("marketd_actors_awake", "awake"),
            ("marketd_mailbox_messages", "messages waiting"),
            ("marketd_mailbox_deepest_messages", "in the fullest mailbox"),
            rate("marketd_actor_crashes_total", "aggregate"),
        ),
    ),
    ("Commits a transaction", "short", quantiles("marketd_log_append_commits")),
    ("Transactions of the log", "s", quantiles("marketd_log_append_duration_seconds")),
    (
        "The log",
        "short",
        (
            ("rate(marketd_log_position[$__rate_interval])", "records a second"),
            ("marketd_log_queued_commits", "queued commits"),
            ("rate(marketd_log_append_failures_total[$__rate_interval])", "failures a second"),
        ),
    ),
    (
        "Behind the log",
        "short",
        (
            ("marketd_read_model_lag_commits", "{{model}}"),
            ("marketd_follower_lag_commits", "{{follower}}"),
            ("marketd_read_model_halted > 0", "{{model}} is halted"),
        ),
    ),
    (
        "Search and mail",
        "short",
        (
            ("marketd_search_index_up", "index up"),
            ("marketd_search_index_resting", "index rests"),
            ("increase(marketd_search_index_starts_total[$__rate_interval])", "index started"),
            ("marketd_mail_waiting_accounts", "accounts that await mail"),
        ),
    ),
    (
        "Webhooks",
        "short",
        (
            rate("marketd_webhook_posts_total", "outcome"),
            ("marketd_webhook_waiting_deliveries", "waiting, webhook {{state}}"),
            ("marketd_webhook_late_seconds", "seconds late"),
            ('marketd_webhook_endpoints{state="disabled"}', "disabled webhooks"),
        ),
    ),
    (
        "Public events over NATS",
        "short",
        (
            ("rate(marketd_events_published_total[$__rate_interval])", "published a second"),
            ("marketd_events_relay_up == 0", "they wait in the log"),
        ),
    ),
    ("The oldest thing in hand", "s", (("marketd_follower_oldest_seconds", "{{follower}}"),)),
    ("Notices", "ops", (rate("marketd_notices_total", "channel", "end"),)),
    ("Lag of the event loop", "s", quantiles("marketd_event_loop_lag_seconds")),
    ("Memory", "bytes", (("process_resident_memory_bytes", "resident"),)),
    ("Processor", "percentunit", (("rate(process_cpu_seconds_total[$__rate_interval])", "of one core"),)),
    (
        "Open files",
        "short",
        (("process_open_fds", "open"), ("process_max_fds", "at most")),
    ),
)  # fmt: skip


def dashboard() -> str:
    """Write the dashboard as Grafana takes it in; it asks which Prometheus to use."""
    panels = [_panel(number, *panel) for number, panel in enumerate(PANELS)]
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    whole = {
        "title": "marketd",
        "uid": "marketd",
        "tags": ["marketd"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": panels,
    }
    return json.dumps(whole, indent=1) + "\n"


def _panel(number: int, title: str, unit: str, asked: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
        for index, (expression, legend) in enumerate(asked)
    ]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": number % COLUMNS * WIDTH, "y": number // COLUMNS * HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
