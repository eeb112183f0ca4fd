"""The keys of what a handler finds in the application, and in a request."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Struct

from marketd.actors.notices.signing import WebhookSigner
from marketd.actors.notices.tokens import MailTokens
from marketd.bus.breaker import Circuit
from marketd.bus.port import Bus
from marketd.clock import Clock
from marketd.http.admission import Admission
from marketd.http.buckets import Allowance
from marketd.http.cors import Cors
from marketd.http.encodings import Encodings
from marketd.http.ended import EndedSessions
from marketd.http.in_hand import InHand
from marketd.http.kept import KeptPages
from marketd.http.lockout import Lockout
from marketd.http.passwords import Passwords
from marketd.http.proxies import Proxies
from marketd.http.streams import Streams
from marketd.http.tokens import AccessTokens, DownloadLinks
from marketd.http.traffic import Traffic
from marketd.measures import Measure
from marketd.storage.cards import EncodedProduct
from marketd.storage.files import FileStore
from marketd.storage.views import Visit


class PartLimits(Struct, frozen=True):
    """How long each part of a gathered response may take; see the settings of the same names."""

    reviews_wait_s_max: float = 1
    related_wait_s_max: float = 1
    access_wait_s_max: float = 1
    seller_wait_s_max: float = 1
    lists_wait_s_max: float = 1
    purchases_wait_s_max: float = 1


class WebhookLimits(Struct, frozen=True):
    """The limits of webhooks; see the settings of the same names."""

    endpoints_max: int = 20
    allow_http: bool = False
    allow_private: bool = False
    replay_wait_s_max: float = 30


class FrontLimits(Struct, frozen=True):
    """What the front allows; see the settings of the same names."""

    body_bytes_max: int = 1024 * 1024
    body_read_s_max: float = 30
    upload_bytes_max: int = 1024**3
    upload_window_s: float = 30
    upload_window_bytes_min: int = 16 * 1024
    reply_wait_s_max: float = 10
    wait_s_max: float = 30
    refresh_days: int = 30
    page_hours: int = 168
    has_sandbox_cards: bool = True
    has_integrators: bool = True
    verify_hours: int = 48
    reset_minutes: int = 60
    reset_answer_s: float = 0.25
    mails_hour_max: int = 5
    public_url: str | None = None
    push_private_allowed: bool = False
    range_days_max: int = 3700
    parts: PartLimits = PartLimits()
    webhooks: WebhookLimits = WebhookLimits()


class Readiness(Struct, frozen=True):
    """Whether everything works, and the state of each part."""

    is_ready: bool
    parts: dict[str, Any]


class Cards(Protocol):
    """A cache of products, each as encoded JSON."""

    def kept(self, product_id: str) -> EncodedProduct | None:
        """Give the product if it is in memory; otherwise ask `market.query.product`."""
        ...


class Quotas(Protocol):
    """Counts the requests of each client."""

    def take(self, request: web.Request) -> Allowance | None:
        """Count a request; None if it is not limited."""
        ...


class News(Protocol):
    """Receives what an outside service posts to us."""

    def take(self, body: bytes, signature: str) -> bool:
        """Take in a body; say whether its signature is valid."""
        ...


class Scraping(Protocol):
    """The metrics, and the check of who may read them."""

    def check(self, request: web.Request) -> None:
        """Accept a request, or raise a `Problem`."""
        ...

    async def look(self) -> Iterable[Measure]:
        """Gather the current metrics."""
        ...


class Counting(Protocol):
    """Counts views of products."""

    def note(self, visit: Visit) -> None:
        """Count a visit."""
        ...


class Repeats(Protocol):
    """Recognises repeated requests."""

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request that came with an Idempotency-Key."""
        ...

    def turn(self, request: bytes) -> AbstractAsyncContextManager[None]:
        """Let requests with this name enter the block one at a time."""
        ...


ADDRESS_LOCKOUT: Final = web.AppKey("address_lockout", Lockout)
ADMISSION: Final = web.AppKey("admission", Admission)
BUS: Final = web.AppKey("bus", Bus)
CARDS: Final = web.AppKey("cards", Cards)
DOCUMENT: Final = web.AppKey("document", bytes)
CLOCK: Final = web.AppKey("clock", Clock)
CORS: Final = web.AppKey("cors", Cors)
ENCODINGS: Final = web.AppKey("encodings", Encodings)
ENDED: Final = web.AppKey("ended", EndedSessions)
FILES: Final = web.AppKey("files", FileStore)
IN_HAND: Final = web.AppKey("in_hand", InHand)
LIMITS: Final = web.AppKey("limits", FrontLimits)
LINKS: Final = web.AppKey("links", DownloadLinks)
LOCKOUT: Final = web.AppKey("lockout", Lockout)
MAIL_TOKENS: Final = web.AppKey("mail_tokens", MailTokens)
METRICS: Final[web.AppKey[Scraping]] = web.AppKey("metrics")
PUSH_KEY: Final = web.AppKey("push_key", str)
ONCE: Final[web.AppKey[Repeats]] = web.AppKey("once")
PAGES: Final = web.AppKey("pages", KeptPages)
PASSWORDS: Final = web.AppKey("passwords", Passwords)
PROXIES: Final = web.AppKey("proxies", Proxies)
CIRCUITS: Final[web.AppKey[Callable[[], list[Circuit]]]] = web.AppKey("circuits")
RATES: Final[web.AppKey[Quotas]] = web.AppKey("rates")
FILLING: Final[web.AppKey[Callable[[], bool]]] = web.AppKey("filling")  # with the sample, which no limit must stop
READINESS: Final[web.AppKey[Callable[[], Readiness]]] = web.AppKey("readiness")
STREAMS: Final = web.AppKey("streams", Streams)
STRIPE_NEWS: Final[web.AppKey[News]] = web.AppKey("stripe_news")
TRAFFIC: Final = web.AppKey("traffic", Traffic)
TOKENS: Final = web.AppKey("tokens", AccessTokens)
WEBHOOK_SIGNER: Final = web.AppKey("webhook_signer", WebhookSigner)
VIEWS: Final[web.AppKey[Counting]] = web.AppKey("views")

REQUEST_ID: Final = web.RequestKey("request_id", str)
