"""The settings of webhooks, by the rules of settings.py."""

from typing import Annotated

from msgspec import Meta, Struct

Pause = Annotated[float, Meta(ge=0, le=604_800)]


class Webhooks(Struct, frozen=True):
    """Webhooks: where events may be posted, and how often it is tried."""

    allow_http: Annotated[bool, Meta(description="whether they may be posted without TLS")] = False
    allow_private: Annotated[
        bool, Meta(description="whether they may be posted to loopback, private and link-local addresses")
    ] = False
    ca_file: Annotated[
        str | None, Meta(description="a file of certificates to trust beside those of the system, in PEM")
    ] = None
    endpoints_max: Annotated[int, Meta(description="webhooks that one person may have", ge=0, le=1000)] = 20
    wait_s_max: Annotated[float, Meta(description="the longest wait for an answer", gt=0, le=120)] = 15.0
    retries_s: Annotated[
        tuple[Pause, ...], Meta(description="the pauses before a delivery is tried again, one after the other")
    ] = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
    patience_s: Annotated[
        float, Meta(description="a webhook that has only failed for so long is disabled", gt=0, le=2_592_000)
    ] = 259_200.0
    endpoint_at_once_max: Annotated[int, Meta(description="requests to one webhook at once", ge=1, le=1000)] = 8
    at_once_max: Annotated[int, Meta(description="requests to all webhooks at once", ge=1, le=10_000)] = 256
    unproven_at_once_max: Annotated[
        int, Meta(description="requests at once to all webhooks that have not answered of late", ge=1, le=1000)
    ] = 16
    lookups_max: Annotated[int, Meta(description="names of hosts looked up at once", ge=1, le=1000)] = 32
    waiting_max: Annotated[
        int, Meta(description="a webhook for which so many deliveries wait is disabled", ge=1, le=10_000_000)
    ] = 100_000
    keep_days: Annotated[float, Meta(description="how long deliveries can be looked at", gt=0, le=3650)] = 30.0
    kept_max: Annotated[
        int, Meta(description="ended deliveries kept of one webhook; the oldest go first", ge=0, le=10_000_000)
    ] = 10_000
    replay_events_max: Annotated[int, Meta(description="events that one replay may send", ge=1, le=1_000_000)] = 10_000
    replay_wait_s_max: Annotated[float, Meta(description="how long they may be looked for", gt=0, le=600)] = 30.0
