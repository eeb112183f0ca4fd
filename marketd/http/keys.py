"""What a handler may find in the application, and in a request."""

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
    """How long each part of a gathered answer may take; see the settings of the same names."""

    reviews_wait_s_max: float = 1
    related_wait_s_max: float = 1
    access_wait_s_max: float = 1
    seller_wait_s_max: float = 1
    lists_wait_s_max: float = 1
    purchases_wait_s_max: float = 1


class WebhookLimits(Struct, frozen=True):
    """What webhooks may be; see the settings of the same names."""

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
    """Products that are kept ready, each as the JSON that goes out."""

    def kept(self, product_id: str) -> EncodedProduct | None:
        """Give the card if it is in memory; else `market.query.product` has it."""
        ...


class Quotas(Protocol):
    """Who counts what each client asks."""

    def take(self, request: web.Request) -> Allowance | None:
        """Count a request; None where nothing is counted."""
        ...


class News(Protocol):
    """Who takes in what somebody outside posts to us."""

    def take(self, body: bytes, signature: str) -> bool:
        """Take it in; give back whether it was from them."""
        ...


class Scraping(Protocol):
    """Who knows what is counted, and who may look."""

    def check(self, request: web.Request) -> None:
        """Let a request pass, or raise a `Problem`."""
        ...

    async def look(self) -> Iterable[Measure]:
        """Gather what is counted now."""
        ...


class Counting(Protocol):
    """Who counts how often things are looked at."""

    def note(self, visit: Visit) -> None:
        """Have a visit counted."""
        ...


class Repeats(Protocol):
    """Who knows what was asked before."""

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request that came with an Idempotency-Key."""
        ...

    def turn(self, request: bytes) -> AbstractAsyncContextManager[None]:
        """Have one after the other enter of those by this name."""
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
READINESS: Final[web.AppKey[Callable[[], Readiness]]] = web.AppKey("readiness")
STREAMS: Final = web.AppKey("streams", Streams)
STRIPE_NEWS: Final[web.AppKey[News]] = web.AppKey("stripe_news")
TRAFFIC: Final = web.AppKey("traffic", Traffic)
TOKENS: Final = web.AppKey("tokens", AccessTokens)
WEBHOOK_SIGNER: Final = web.AppKey("webhook_signer", WebhookSigner)
VIEWS: Final[web.AppKey[Counting]] = web.AppKey("views")

REQUEST_ID: Final = web.RequestKey("request_id", str)
