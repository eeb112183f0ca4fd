"""The real front on a stage: everything behind the bus is scripted, everything before it is real."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import StrOrURL
from msgspec import Struct
from multidict import CIMultiDictProxy
from yarl import URL

from marketd.actors.account import Role
from marketd.actors.notices.signing import WebhookSigner
from marketd.actors.notices.tokens import MailTokens
from marketd.bus.breaker import Breaker
from marketd.bus.port import Answer, Envelope, Handler
from marketd.http.admission import Admission, Orders
from marketd.http.answers import USUAL
from marketd.http.app import make_app
from marketd.http.cors import Cors
from marketd.http.ended import EndedSessions
from marketd.http.kept import KeptPages
from marketd.http.keys import (
    ADDRESS_LOCKOUT,
    ADMISSION,
    BUS,
    CARDS,
    CIRCUITS,
    CORS,
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
    TOKENS,
    TRAFFIC,
    VIEWS,
    WEBHOOK_SIGNER,
    FrontLimits,
    Readiness,
)
from marketd.http.lines import LineLimits, Lines
from marketd.http.lockout import Lockout
from marketd.http.metrics import Metrics
from marketd.http.once import Once
from marketd.http.passwords import Passwords
from marketd.http.proxies import Proxies
from marketd.http.rates import Rates
from marketd.http.server import Tls, serving
from marketd.http.streams import StreamLimits, Streams
from marketd.http.tokens import (
    AccessTokens,
    DownloadLinks,
    Principal,
    load_answers_key,
    load_link_key,
    load_signing_keys,
)
from marketd.http.traffic import Traffic
from marketd.measures import Measure
from marketd.storage.answers import FirstAnswers
from marketd.storage.cards import EncodedProduct
from marketd.storage.files import FileStore
from marketd.storage.projector import AskReached, Reached
from marketd.storage.views import Visit
from tests.clock import TestClock
from tests.http.conformance import assert_conforms

PAGES_MAX = 3
PUBLIC_KEY = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
HEAD = 7  # the log position that every answer of the fake bus stands for
ONCE_WAIT_S = 5
SLOW_S = 2
SCRAPER = "the-scrapers-own-token"
RATES_HERE: dict[str, Any] = {
    "window_s": 60,
    "user_requests_max": 10,
    "address_requests_max": 5,
    "auth_requests_max": 3,
    "clients_max": 100,
}
LINES_HERE = LineLimits()
LIMITS_HERE = FrontLimits(body_bytes_max=64 * 1024, upload_bytes_max=1_000, reply_wait_s_max=10, wait_s_max=30)

Script = Struct | Exception | Callable[[Any], Struct | Coroutine[Any, Any, Struct] | None] | None


class FakeBus:
    """Answers each type of message as scripted, an exception by raising it, and notes who was asked for what."""

    def __init__(self) -> None:
        self.script: dict[type[Struct], Script] = {}
        self.asked: list[tuple[str, Envelope]] = []
        self.awaited: list[int] = []
        self.not_seen: Exception | None = None  # what comes of waiting for the read models

    def answers(self, message: type[Struct], answer: Script) -> None:
        self.script[message] = answer

    async def ask(self, subject: str, envelope: Envelope) -> Answer:
        message = envelope.message
        if isinstance(message, AskReached):
            self.awaited.append(envelope.at_least)
            if self.not_seen:
                raise self.not_seen
            return Answer(Reached(HEAD), HEAD)
        self.asked.append((subject, envelope))
        assert type(message) in self.script, f"nobody wrote an answer to {message}"
        answer: Any = self.script[type(message)]
        if callable(answer):
            answer = answer(message)
        if isinstance(answer, Coroutine):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer, HEAD)

    async def serve(self, subject: str, handler: Handler) -> None:
        raise AssertionError("the front serves nothing")

    @property
    def messages(self) -> list[tuple[str, Struct]]:
        """Who was asked for what, in order."""
        return [(subject, envelope.message) for subject, envelope in self.asked]

    @property
    def last(self) -> Envelope:
        return self.asked[-1][1]


class FakeCards:
    """The cards that are kept in memory."""

    def __init__(self) -> None:
        self.cards: dict[str, EncodedProduct] = {}

    def kept(self, product_id: str) -> EncodedProduct | None:
        return self.cards.get(product_id)


class FakeViews:
    """Notes who looks at what."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []

    def note(self, visit: Visit) -> None:
        self.visits.append(visit)


class Client(TestClient[web.Request, web.Application]):
    """
    A client that holds every answer to its usual headers, once each; and to the document of the API, unless a test has
    the impossible happen.
    """

    is_strict = True

    async def _request(self, method: str, path: StrOrURL, **kwargs: Any) -> ClientResponse:
        response = await super()._request(method, path, **kwargs)
        body = await response.read()
        assert {1} == {len(response.headers.getall(name, ())) for name in (*USUAL, "X-Request-Id")}, response
        if self.is_strict:
            assert_conforms(response.method, response.url.path, response.status, response.headers, body)
        return response


class FrontServer(TestServer):
    """The server as it is, where aiohttp's client for tests expects a server for tests."""

    lines: Lines
    tls: Tls | None = None

    async def start_server(self, loop: asyncio.AbstractEventLoop | None = None, **kwargs: Any) -> None:
        listener = socket.create_server((self.host, 0))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._root = URL(f"http://{self.host}:{self.port}")
        self._end = AsyncExitStack()
        serves = serving(self.app, listener, self.lines, self.tls, backlog_max=16, shutdown_s_max=1)
        await self._end.enter_async_context(serves)

    async def close(self) -> None:
        await self._end.aclose()


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def media_type(self) -> str:
        return self.headers["Content-Type"].partition(";")[0]

    @property
    def faults(self) -> list[str]:
        """The fields at fault that a problem document names, in the order of the alphabet."""
        assert 400 == self.status, self
        return sorted(fault["pointer"] for fault in self.json()["errors"])


@dataclass
class Stage:
    """The front and what stands behind it."""

    client: Client
    bus: FakeBus
    clock: TestClock
    files: FileStore
    tokens: AccessTokens
    links: DownloadLinks
    lockout: Lockout
    address_lockout: Lockout
    ended: EndedSessions
    passwords: Passwords
    keys: Path
    lines: Lines
    admission: Admission
    answers: FirstAnswers
    once: Once
    traffic: Traffic
    streams: Streams
    mail_tokens: MailTokens = field(default_factory=lambda: MailTokens(bytes(32)))
    orders: Orders = field(default=Orders(0, 0))
    cards: FakeCards = field(default_factory=FakeCards)
    views: FakeViews = field(default_factory=FakeViews)
    is_filling: bool = False
    readiness: Readiness = field(default=Readiness(True, {}))
    pages: KeptPages = field(default_factory=lambda: KeptPages(PAGES_MAX))
    breakers: list[Breaker] = field(default_factory=list)

    async def measured(self) -> list[Measure]:
        """What is counted on the stage: by the front alone."""
        return self.traffic.measures()

    def bearer(self, user_id: str, role: Role = "buyer", session_id: str = "s1") -> dict[str, str]:
        """The header of who is signed in."""
        return {"Authorization": f"Bearer {self.tokens.issue(Principal(user_id, role, session_id))}"}

    async def call(
        self, method: str, path: str | URL, body: object = None, *, user: str = "", role: Role = "buyer", **options: Any
    ) -> Reply:
        """Send a request, with a JSON body if one is given and signed in if a user is; read the whole answer."""
        headers = {**(self.bearer(user, role) if user else {}), **options.pop("headers", {})}
        if body is not None:
            options["json"] = body
        async with self.client.request(method, path, headers=headers, allow_redirects=False, **options) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def raw(self, request: bytes) -> bytes:
        """Send bytes as they are, and read until the front hangs up."""
        reader, writer = await asyncio.open_connection(self.client.host, self.client.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def staged(
    folder: Path,
    limits: FrontLimits = LIMITS_HERE,
    *,
    cors: Cors | None = None,
    proxies: Proxies | None = None,
    line_limits: LineLimits = LINES_HERE,
    tls: Tls | None = None,
    is_counting: bool = False,
    scraper_token: str | None = SCRAPER,
) -> AsyncIterator[Stage]:
    """Put the front up; its passwords are hashed as cheaply as Argon2 can, requests are counted if asked for."""
    clock, bus, keys = TestClock(), FakeBus(), folder / "keys"
    app = make_app(clock, body_bytes_max=limits.body_bytes_max)
    server = FrontServer(app)
    server.lines, server.tls = Lines(clock, line_limits), tls
    answers = FirstAnswers(folder / "answers.db", clock, keep_hours=24, owner_keys_max=100)
    stage = Stage(
        client=Client(server),
        bus=bus,
        clock=clock,
        files=FileStore(folder / "files"),
        tokens=AccessTokens(load_signing_keys(keys, clock), clock, minutes=15),
        links=DownloadLinks(load_link_key(keys), clock, minutes=15),
        lockout=Lockout(clock, failures_max=3, lockout_s=60, lockout_s_max=200),
        address_lockout=Lockout(clock, failures_max=20, lockout_s=60, lockout_s_max=200, forget_s=60),
        ended=EndedSessions(clock, access_minutes=15, sessions_max=10),
        passwords=Passwords(threads=1, queue_max=4, memory_kib=8, time_cost=1),
        keys=keys,
        lines=server.lines,
        admission=Admission(clock, in_hand_min=2, in_hand_max=100, delay_s_max=0.4, orders=lambda: stage.orders),
        answers=answers,
        streams=Streams(StreamLimits(streams_max=3, user_streams_max=2)),
        traffic=Traffic(app.router.routes(), clock, slow_s=SLOW_S),
        once=Once(answers, load_answers_key(keys), clock, wait_s_max=ONCE_WAIT_S, answer_bytes_max=1_000),
    )
    await stage.files.prepare()
    app[BUS], app[CARDS], app[FILES], app[LIMITS], app[LINKS] = bus, stage.cards, stage.files, limits, stage.links
    app[LOCKOUT], app[PASSWORDS], app[TOKENS] = stage.lockout, stage.passwords, stage.tokens
    app[ADDRESS_LOCKOUT], app[ENDED], app[MAIL_TOKENS] = stage.address_lockout, stage.ended, stage.mail_tokens
    app[WEBHOOK_SIGNER], app[PUSH_KEY] = WebhookSigner(bytes(32)), PUBLIC_KEY
    app[FILLING] = lambda: stage.is_filling
    app[READINESS] = lambda: stage.readiness
    app[PAGES], app[CIRCUITS] = stage.pages, lambda: [breaker.statistics() for breaker in stage.breakers]
    app[CORS], app[PROXIES] = cors or app[CORS], proxies or app[PROXIES]
    app[ADMISSION], app[VIEWS] = stage.admission, stage.views
    app[ONCE] = stage.once
    app[TRAFFIC], app[STREAMS] = stage.traffic, stage.streams
    stage.ended.on_end(stage.streams.end_session)
    app[METRICS] = Metrics(stage.measured, ["127.0.0.0/8", "::1"], scraper_token)
    if is_counting:
        app[RATES] = Rates(clock, **RATES_HERE)
    try:
        async with stage.answers, stage.client:
            yield stage
    finally:
        stage.passwords.close()
