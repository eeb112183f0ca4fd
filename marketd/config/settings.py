"""
Every setting and every limit of the system: its type, its bounds, its default and its description.

The one rule: a setting is one line here and nowhere else. Loading, checking, printing and the documentation follow from
that line, so `Meta` always has a description, bounds for every number, `extra=SECRET` for what must not be shown, and
`extra={"check": …}` for what bounds can't express: a function from a value to what was expected instead, or None. A
limit is named with its unit before the `max`; a field `x` beside a field `x_max` may not be above it.
"""

from ipaddress import ip_network
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from marketd.config.forms import BearerToken, LeafUrl, NatsUrl, Origin, SigningSecret, Source, StripeKey, WebUrl
from marketd.config.telling import SECRET, Mail, Push
from marketd.config.webhook_settings import Webhooks

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


def _networks_fault(networks: tuple[str, ...]) -> str | None:
    """Say what was expected, if these are not networks."""
    try:
        for network in networks:
            ip_network(network)
    except ValueError:
        return "networks such as 10.0.0.0/8 or fd00::/8, or single addresses"
    return None


class Http(Struct, frozen=True):
    """The HTTP front: where it listens and what it accepts."""

    host: Annotated[str, Meta(description="the address to listen on", min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(description="the TCP port to listen on; 0 takes a free one", ge=0, le=65535)] = 8080
    public_url: Annotated[
        WebUrl | None,
        Meta(description="what clients call the service, no slash at the end; made of host and port if empty"),
    ] = None
    tls_certificate: Annotated[
        str | None, Meta(description="the file of the certificate and those above it, in PEM; no TLS if empty")
    ] = None
    tls_key: Annotated[str | None, Meta(description="the file of its key, in PEM, unencrypted")] = None
    tls_check_s: Annotated[
        float, Meta(description="how often a running service looks whether these files have changed", gt=0, le=86400)
    ] = 10.0
    tls_handshake_s_max: Annotated[float, Meta(description="the time that a TLS handshake may take", gt=0, le=600)] = (
        10.0
    )
    backlog_max: Annotated[int, Meta(description="connections waiting to be accepted", ge=1, le=65535)] = 1024
    connections_max: Annotated[int, Meta(description="connections open at once", ge=1, le=1_000_000)] = 2000
    keep_alive_s_max: Annotated[
        float, Meta(description="how long a connection may stay open with nothing asked", gt=0, le=3600)
    ] = 75.0
    head_read_s_max: Annotated[
        float, Meta(description="the time that a request's head may take to arrive", gt=0, le=600)
    ] = 10.0
    send_stall_s_max: Annotated[
        float, Meta(description="how long a client may take nothing of an answer", gt=0, le=3600)
    ] = 60.0
    unsent_bytes_max: Annotated[
        int,
        Meta(
            description="what may wait in memory until clients take it, of all answers together", ge=MIB, le=KIB * GIB
        ),
    ] = 256 * MIB
    body_bytes_max: Annotated[int, Meta(description="the largest body, uploads aside", ge=1, le=GIB)] = MIB
    body_read_s_max: Annotated[
        float, Meta(description="the time that a body may take to arrive, uploads aside", gt=0, le=600)
    ] = 30.0
    wait_s_max: Annotated[float, Meta(description="the longest `Prefer: wait`", ge=0, le=600)] = 30.0
    streams_max: Annotated[int, Meta(description="event streams open at once", ge=0, le=1_000_000)] = 1000
    user_streams_max: Annotated[int, Meta(description="event streams of one user", ge=0, le=1_000_000)] = 10
    stream_silence_s_max: Annotated[
        float, Meta(description="how long an event stream may be silent before a heartbeat", gt=0, le=600)
    ] = 15.0
    compressed_bytes_min: Annotated[int, Meta(description="the smallest body that is compressed", ge=1, le=GIB)] = KIB
    compressed_kept_bytes_max: Annotated[
        int, Meta(description="compressed bodies that are kept in memory, in bytes", ge=0, le=GIB)
    ] = 8 * MIB
    cors_origins: Annotated[
        tuple[Origin, ...], Meta(description="the origins whose pages may call the service; `*` for all")
    ] = ()
    cors_max_age_s: Annotated[
        int, Meta(description="how long a browser may remember what such a page may do", ge=0, le=86400)
    ] = 600
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="the networks of the proxies whose word is taken for who a client is",
            extra={"check": _networks_fault},
        ),
    ] = ()
    forwarded_by: Annotated[
        Literal["x-forwarded", "forwarded"],
        Meta(description="how they tell: by `X-Forwarded-For` and its like, or by `Forwarded`"),
    ] = "x-forwarded"
    shutdown_s_max: Annotated[float, Meta(description="the time requests in hand have to finish", ge=0, le=600)] = 10.0


class Data(Struct, frozen=True):
    """Where persistent data is kept."""

    dir: Annotated[str, Meta(description="the directory of the log, the read models and the uploads", min_length=1)] = (
        "data"
    )


class Nats(Struct, frozen=True):
    """The NATS server that carries messages: our own, or one that already runs."""

    url: Annotated[NatsUrl | None, Meta(description="a server that already runs; our own is started if empty")] = None
    user: Annotated[str | None, Meta(description="who we are to the server at `url`")] = None
    password: Annotated[str | None, Meta(description="what proves it", extra=SECRET)] = None
    port: Annotated[int, Meta(description="the TCP port of our own server; 0 takes a free one", ge=0, le=65535)] = 0
    leaf_url: Annotated[
        LeafUrl | None, Meta(description="a hub that our own server connects to as a leaf node: docs/edge.md")
    ] = None
    leaf_user: Annotated[str | None, Meta(description="who we are to the hub")] = None
    leaf_password: Annotated[str | None, Meta(description="what proves it", extra=SECRET)] = None
    in_process: Annotated[
        bool, Meta(description="whether what is asked and answered in one process skips the server")
    ] = True
    start_s_max: Annotated[float, Meta(description="the time our own server has to start", gt=0, le=600)] = 10.0


class Events(Struct, frozen=True):
    """The public events: how long the streams keep them. Older ones are in the log, and can be replayed."""

    keep_days: Annotated[float, Meta(description="how long an event is kept for who has yet to read it", gt=0)] = 30.0
    keep_bytes_max: Annotated[
        int,
        Meta(
            description="how many bytes of them are kept; the oldest go first. The server has half as much in memory",
            ge=MIB,
            le=KIB * GIB,
        ),
    ] = 64 * MIB
    duplicate_window_s: Annotated[
        float, Meta(description="how long the server recognises a repeat by its id, and has it in memory", ge=1, le=600)
    ] = 120.0
    window_events_max: Annotated[
        int, Meta(description="events that go out before their receipt is waited for", ge=1, le=10_000)
    ] = 128
    answer_wait_s_max: Annotated[float, Meta(description="the longest wait for that receipt", gt=0, le=600)] = 5.0
    retry_s: Annotated[float, Meta(description="the first pause before they are tried again", gt=0, le=600)] = 0.2
    retry_s_max: Annotated[float, Meta(description="the longest pause before that", gt=0, le=600)] = 2.0
    ack_wait_s: Annotated[
        float,
        Meta(description="an event that an integrator has not acknowledged for so long comes again", ge=1, le=86400),
    ] = 30.0
    unacknowledged_max: Annotated[
        int, Meta(description="events that an integrator may have taken and not acknowledged", ge=1, le=5000)
    ] = 1000
    source: Annotated[
        Source | None, Meta(description="what they name as their source; `http.public_url`, else `/marketd` if empty")
    ] = None


class Log(Struct, frozen=True):
    """What is written to stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="the least important line that is written")
    ] = "info"
    format: Annotated[
        Literal["text", "json"], Meta(description="how a line is written: for people, or as a JSON object")
    ] = "text"
    slow_request_s: Annotated[
        float, Meta(description="a request that takes longer leaves a line; 0 leaves none", ge=0, le=3600)
    ] = 0.0


class Metrics(Struct, frozen=True):
    """`GET /metrics`, for Prometheus and its like."""

    enabled: Annotated[bool, Meta(description="whether requests are counted, and counts to be had")] = True
    networks: Annotated[
        tuple[str, ...],
        Meta(
            description="the networks that may look without a token; what an unknown proxy forwards is of none",
            extra={"check": _networks_fault},
        ),
    ] = ("127.0.0.0/8", "::1/128")
    token: Annotated[
        BearerToken | None, Meta(description="the bearer token that everybody else needs", extra=SECRET)
    ] = None


class Traces(Struct, frozen=True):
    """Traces by OpenTelemetry; they need the extra `otel`."""

    endpoint: Annotated[
        WebUrl | None, Meta(description="where spans are sent by OTLP over HTTP, such as `http://host:4318/v1/traces`")
    ] = None
    share: Annotated[
        float, Meta(description="the share of traces begun here that is recorded, from 0 to 1", ge=0, le=1)
    ] = 1.0


class Auth(Struct, frozen=True):
    """Sessions, and the protection against guessed passwords."""

    access_minutes: Annotated[int, Meta(description="how long an access token is good", ge=1, le=1440)] = 15
    refresh_days: Annotated[int, Meta(description="how long a refresh token is good", ge=1, le=3650)] = 30
    failures_max: Annotated[int, Meta(description="wrong passwords in a row before the lockout", ge=1, le=1000)] = 10
    lockout_s: Annotated[float, Meta(description="the first lockout; later ones are longer", ge=0, le=86400)] = 60.0
    lockout_s_max: Annotated[float, Meta(description="the longest lockout", ge=0, le=86400)] = 3600.0
    address_failures_max: Annotated[
        int, Meta(description="wrong passwords from one network address before its lockout", ge=1, le=1_000_000)
    ] = 500
    address_forget_s: Annotated[
        float, Meta(description="the time after which one failure of a network address is forgotten", gt=0, le=86400)
    ] = 10.0
    lockouts_max: Annotated[
        int, Meta(description="accounts, and as many network addresses, whose failures are remembered", ge=1)
    ] = 50_000
    ended_sessions_max: Annotated[
        int, Meta(description="ended sessions remembered until their access tokens expire", ge=0, le=10_000_000)
    ] = 100_000
    page_hours: Annotated[int, Meta(description="how long a browser stays signed in", ge=1, le=8760)] = 168
    verify_hours: Annotated[
        int, Meta(description="how long the token that confirms an e-mail address is good", ge=1, le=720)
    ] = 48
    reset_minutes: Annotated[int, Meta(description="how long the token for a new password is good", ge=1, le=1440)] = 60
    reset_answer_s: Annotated[
        float, Meta(description="how long the answer takes whether there is an account to reset or not", ge=0, le=10)
    ] = 0.25
    mails_hour_max: Annotated[int, Meta(description="mails of one sort to one account an hour", ge=1, le=100)] = 5
    keys_check_s: Annotated[
        float, Meta(description="how often a running service looks for new signing keys", gt=0, le=3600)
    ] = 2.0
    password_threads: Annotated[int, Meta(description="passwords hashed at once", ge=1, le=64)] = 2
    password_queue_max: Annotated[int, Meta(description="passwords waiting to be hashed", ge=1, le=100_000)] = 64
    argon2_memory_kib: Annotated[int, Meta(description="the memory of one Argon2id hash, in KiB", ge=8, le=4 * MIB)] = (
        19456
    )
    argon2_time_cost: Annotated[int, Meta(description="the passes of one Argon2id hash", ge=1, le=100)] = 2


class Idempotency(Struct, frozen=True):
    """Responses stored for requests that are repeated with their Idempotency-Key."""

    keep_hours: Annotated[float, Meta(description="how long an answer is kept", gt=0, le=8760)] = 24.0
    wait_s_max: Annotated[
        float, Meta(description="the longest wait for the first request under a key", gt=0, le=600)
    ] = 30.0
    answer_bytes_max: Annotated[int, Meta(description="the largest answer that is kept", ge=0, le=GIB)] = 2 * MIB
    owner_keys_max: Annotated[
        int, Meta(description="keys kept of one user, or of one address; the oldest go first", ge=1, le=100_000_000)
    ] = 100_000


class Limits(Struct, frozen=True):
    """How much one client may request. The lockout of accounts is in `[auth]`."""

    enabled: Annotated[bool, Meta(description="whether there are such limits; without them, one can test the load")] = (
        True
    )
    window_s: Annotated[int, Meta(description="the window in which requests are counted", ge=1, le=86_400)] = 60
    user_requests_max: Annotated[int, Meta(description="requests of one user in a window", ge=1, le=1_000_000)] = 3000
    address_requests_max: Annotated[
        int, Meta(description="requests of one address in a window, nobody signed in", ge=1, le=1_000_000)
    ] = 3000
    auth_requests_max: Annotated[
        int, Meta(description="requests to sign up, in and out of one address in a window", ge=1, le=1_000_000)
    ] = 300
    clients_max: Annotated[int, Meta(description="clients counted apart", ge=1, le=10_000_000)] = 100_000
    address_connections_max: Annotated[
        int, Meta(description="connections of one address open at once", ge=1, le=1_000_000)
    ] = 256


class Overload(Struct, frozen=True):
    """Overload: how many requests are accepted, and which are rejected at once."""

    delay_s_max: Annotated[
        float, Meta(description="how long what is in hand may take at the pace at which it goes", gt=0, le=60)
    ] = 0.4
    in_hand_min: Annotated[
        int, Meta(description="requests in hand, and orders under way, that may always be", ge=1, le=100_000)
    ] = 128
    in_hand_max: Annotated[
        int, Meta(description="requests in hand, and orders under way, in a burst", ge=1, le=100_000)
    ] = 512


class Uploads(Struct, frozen=True):
    """Uploads by sellers."""

    bytes_max: Annotated[int, Meta(description="the largest upload", ge=1, le=KIB * GIB)] = GIB
    free_bytes_min: Annotated[
        int,
        Meta(
            description="free disk space that uploads, products, reviews and new accounts leave to sales",
            ge=0,
            le=KIB * GIB,
        ),
    ] = 64 * MIB
    window_s: Annotated[float, Meta(description="the window in which some of an upload must come", gt=0, le=3600)] = (
        30.0
    )
    window_bytes_min: Annotated[int, Meta(description="how much of it must come in a window", ge=0, le=GIB)] = 16 * KIB


class Images(Struct, frozen=True):
    """The smaller variants of uploaded images, each made by a process of its own."""

    pixels_max: Annotated[int, Meta(description="the largest image, in pixels", ge=1, le=1_000_000_000)] = 50_000_000
    memory_bytes_max: Annotated[
        int, Meta(description="the memory that making one may take", ge=128 * MIB, le=64 * GIB)
    ] = GIB
    cpu_s_max: Annotated[int, Meta(description="the processor's time that making one may take", ge=1, le=600)] = 10
    wait_s_max: Annotated[float, Meta(description="the longest wait for one", gt=0, le=600)] = 30.0
    at_once_max: Annotated[int, Meta(description="how many are made at once", ge=1, le=64)] = 2
    queue_max: Annotated[int, Meta(description="how many wait to be made", ge=0, le=100_000)] = 64


class Downloads(Struct, frozen=True):
    """Downloads by buyers."""

    link_minutes: Annotated[int, Meta(description="how long a download link is good", ge=1, le=525_600)] = 15
    mail_link_hours: Annotated[
        int, Meta(description="how long the download links of a mailed receipt are good", ge=1, le=8760)
    ] = 168


class Frontends(Struct, frozen=True):
    """The responses for apps and pages, assembled from parts; a part that takes longer is left out."""

    reviews_wait_s_max: Annotated[float, Meta(description="the longest wait for reviews", gt=0, le=60)] = 1.0
    related_wait_s_max: Annotated[float, Meta(description="the longest wait for related products", gt=0, le=60)] = 1.0
    access_wait_s_max: Annotated[float, Meta(description="the longest wait for who owns what", gt=0, le=60)] = 1.0
    seller_wait_s_max: Annotated[float, Meta(description="the longest wait for the seller's card", gt=0, le=60)] = 1.0
    lists_wait_s_max: Annotated[float, Meta(description="the longest wait for a list of products", gt=0, le=60)] = 1.0
    purchases_wait_s_max: Annotated[float, Meta(description="the longest wait for one's purchases", gt=0, le=60)] = 1.0


class Actors(Struct, frozen=True):
    """The actors' mailboxes, turns and sleep."""

    mailbox_depth_max: Annotated[int, Meta(description="messages waiting for one actor", ge=1, le=1_000_000)] = 4096
    turn_messages_max: Annotated[int, Meta(description="messages an actor takes in one turn", ge=1, le=100_000)] = 128
    awake_max: Annotated[
        int,
        Meta(
            description="places for actors awake at once; one that has collected much takes several",
            ge=1,
            le=10_000_000,
        ),
    ] = 5000
    idle_s: Annotated[float, Meta(description="an actor without mail for so long is put to sleep", gt=0, le=86400)] = (
        300.0
    )
    snapshot_every: Annotated[int, Meta(description="records from one snapshot to the next", ge=1, le=1_000_000)] = 32
    reply_wait_s_max: Annotated[float, Meta(description="the longest wait for an actor's reply", gt=0, le=600)] = 10.0
    redecide_max: Annotated[
        int, Meta(description="how often a turn is decided again after a conflict", ge=0, le=100)
    ] = 4


class Storage(Struct, frozen=True):
    """The event log and what reads it."""

    batch_commits_max: Annotated[int, Meta(description="commits written in one transaction", ge=1, le=100_000)] = 512
    queue_commits_max: Annotated[int, Meta(description="commits waiting to be written", ge=1, le=10_000_000)] = 10_000
    recent_commits_max: Annotated[int, Meta(description="commits kept in memory for readers", ge=0, le=10_000_000)] = (
        4096
    )
    read_wait_s_max: Annotated[
        float, Meta(description="the longest wait for a read model to catch up", ge=0, le=600)
    ] = 1.0
    lag_commits_max: Annotated[
        int, Meta(description="commits that the read models may be behind and still count as caught up", ge=0)
    ] = 1000
    free_bytes_min: Annotated[
        int, Meta(description="free disk space without which the service does not start", ge=0)
    ] = 16 * MIB
    check_commits: Annotated[int, Meta(description="the last commits, checked at the start", ge=0, le=10_000_000)] = (
        5000
    )


class Search(Struct, frozen=True):
    """The search index, in a process of its own."""

    enabled: Annotated[bool, Meta(description="whether there is an index; without it the database answers")] = True
    wait_s_max: Annotated[float, Meta(description="the longest wait for the index", gt=0, le=60)] = 1.0
    rest_s: Annotated[
        float, Meta(description="unasked for so long, the index ends until somebody asks; 0: never", ge=0, le=86_400)
    ] = 60.0
    pages_max: Annotated[int, Meta(description="pages of results kept in memory", ge=0, le=1_000_000)] = 1000


class Analytics(Struct, frozen=True):
    """What sellers see of their sales, and how views are counted."""

    range_days_max: Annotated[int, Meta(description="the longest time asked about", ge=1, le=36_600)] = 3700
    live_pause_s: Annotated[float, Meta(description="the shortest pause between live totals", gt=0, le=60)] = 0.5
    visitors_day_max: Annotated[int, Meta(description="visitors counted in a day", ge=0, le=10_000_000)] = 100_000


class Breakers(Struct, frozen=True):
    """The circuit breakers of external services."""

    failures_max: Annotated[int, Meta(description="failures in a row that open one", ge=1, le=1000)] = 5
    open_s: Annotated[float, Meta(description="how long nobody is let through then", gt=0, le=3600)] = 30.0


class Saga(Struct, frozen=True):
    """The steps of an order: how they are retried, and how long they may take."""

    retry_s: Annotated[float, Meta(description="the first pause before a step is asked again", gt=0, le=86400)] = 0.2
    retry_s_max: Annotated[
        float, Meta(description="the longest pause before a step is asked again", gt=0, le=86400)
    ] = 30.0
    patience_s: Annotated[float, Meta(description="a step silent for so long is undone", gt=0, le=604_800)] = 600.0
    claim_s: Annotated[
        float,
        Meta(
            description="what is set aside for an order that nobody places goes back then, but not before three"
            " times `actors.reply_wait_s_max`",
            gt=0,
            le=86_400,
        ),
    ] = 30.0
    orders_max: Annotated[int, Meta(description="orders walked at once", ge=1, le=100_000)] = 256
    processor_wait_s_max: Annotated[
        float, Meta(description="the longest wait for the payment processor, at one asking", gt=0, le=600)
    ] = 30.0


class Payments(Struct, frozen=True):
    """The payment processor."""

    processor: Annotated[Literal["sandbox", "stripe"], Meta(description="who charges and refunds")] = "sandbox"
    sandbox_delay_ms: Annotated[int, Meta(description="how long the sandbox takes to answer", ge=0, le=600_000)] = 0
    stripe_secret_key: Annotated[
        StripeKey | None, Meta(description="the secret key of the Stripe account, which Stripe needs", extra=SECRET)
    ] = None
    stripe_webhook_secret: Annotated[
        SigningSecret | None,
        Meta(description="the signing secret of the endpoint `/webhooks/stripe`; there is none if empty", extra=SECRET),
    ] = None
    stripe_webhook_tolerance_s: Annotated[
        int, Meta(description="how far the clock of what comes to that endpoint may be off", ge=1, le=86_400)
    ] = 300
    stripe_url: Annotated[WebUrl, Meta(description="where Stripe is")] = "https://api.stripe.com"
    stripe_wait_s_max: Annotated[float, Meta(description="the longest wait for one answer of Stripe", gt=0, le=600)] = (
        8.0
    )


class Settings(Struct, frozen=True):
    """All settings; a field is a section of the TOML file."""

    http: Http = Http()
    data: Data = Data()
    nats: Nats = Nats()
    events: Events = Events()
    log: Log = Log()
    metrics: Metrics = Metrics()
    traces: Traces = Traces()
    auth: Auth = Auth()
    mail: Mail = Mail()
    push: Push = Push()
    idempotency: Idempotency = Idempotency()
    limits: Limits = Limits()
    overload: Overload = Overload()
    uploads: Uploads = Uploads()
    images: Images = Images()
    downloads: Downloads = Downloads()
    frontends: Frontends = Frontends()
    actors: Actors = Actors()
    storage: Storage = Storage()
    search: Search = Search()
    analytics: Analytics = Analytics()
    breakers: Breakers = Breakers()
    saga: Saga = Saga()
    payments: Payments = Payments()
    webhooks: Webhooks = Webhooks()
