"""The courier of a whole small service, on memory twins and a clock that the test moves."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from msgspec import Struct
from msgspec.structs import replace

from marketd.actors import product, webhook
from marketd.actors.address import Address
from marketd.actors.house import House, HouseLimits
from marketd.actors.notices.courier import Courier, CourierLimits
from marketd.actors.notices.enquiries import Enquiries
from marketd.actors.notices.posting import Answered, Line, LineLimits, Unreached
from marketd.actors.notices.rounds import RoundLimits
from marketd.actors.notices.signing import WebhookSigner
from marketd.actors.notices.standings import Standings
from marketd.actors.runtime import ActorLimits
from marketd.actors.webhook import Endpoint, Secret
from marketd.bus.memory import MemoryBus
from marketd.bus.port import Envelope
from marketd.bus.subjects import command_subject, query_subject
from marketd.clock import new_id
from marketd.config.codecs import AGGREGATES, message_codec
from marketd.config.webhooking import teller
from marketd.storage.deliveries import Deliveries
from marketd.storage.enquiries import Delivery, DeliveryPage, ListDeliveries, ReadDelivery
from marketd.storage.pages import Page
from tests.actors.desk import OFFER
from tests.actors.watched import WatchedLog
from tests.clock import TestClock, settle
from tests.storage.open_books import Books

CODEC: Final = message_codec()
SHOP: Final = "https://shop.example"
DAY_S: Final = 24 * 60 * 60
ROUNDS: Final = RoundLimits(endpoint_at_once_max=4, at_once_max=8, unproven_at_once_max=2, failures_max=3, open_s=30)
LIMITS: Final = CourierLimits(ROUNDS, waiting_max=50, keep_days=30, kept_max=100)
HOOK: Final = Endpoint("w1", "https://books.example/", ("*",), "", "own", (Secret("s1"),), 1, 1)
OK: Final = Answered(200, b"thanks")
ERROR: Final = Answered(500)
SILENCE: Final = Unreached("there was no answer within 15 s")


class Sent(NamedTuple):
    """A request that was made: when, where to, under which id, and what."""

    at_s: float
    url: str
    id: str
    event: dict[str, Any]

    @property
    def about(self) -> str:
        return str(self.event["subject"])


class FarLine(Line):
    """A line to receivers that answer as the test says, by their URL; it survives a crash of the service."""

    def __init__(self, clock: TestClock) -> None:
        super().__init__(LineLimits())
        self._clock = clock
        self.sent: list[Sent] = []
        self.under_way = 0
        self.most_under_way = 0
        self.answers: dict[str, Answered | Unreached] = {}
        self.took_s: dict[str, float] = {}
        self.is_broken = False
        self.on_post: Callable[[Sent], None] = lambda sent: None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered | Unreached:
        sent = Sent(self._clock.monotonic_s(), url, headers["webhook-id"], json.loads(body))
        self.sent.append(sent)
        self.on_post(sent)
        if self.is_broken:
            raise ZeroDivisionError("a defect")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if took_s := self.took_s.get(url):
                await self._clock.sleep(took_s)
            return self.answers.get(url, OK)
        finally:
            self.under_way -= 1

    def to(self, url: str) -> list[Sent]:
        return [sent for sent in self.sent if sent.url == url]

    @property
    def abouts(self) -> list[str]:
        """What the events are about, in order."""
        return [sent.about for sent in self.sent]


class Dispatch:
    """One process; its log, its books and the line may outlive it."""

    def __init__(
        self, log: WatchedLog, clock: TestClock, line: FarLine, books: Books, limits: CourierLimits = LIMITS
    ) -> None:
        self.log, self.clock, self.line, self.books = log, clock, line, books
        self.bus = MemoryBus(clock, CODEC)
        self.house = House(AGGREGATES, log, clock, HouseLimits(), ActorLimits())
        self.deliveries = Deliveries(Path("webhooks.db"), files=books.open)
        signer = WebhookSigner(bytes(32))
        tell = teller(log, SHOP)
        self.courier = Courier(self.bus, log, tell, self.deliveries, line, signer, clock, limits)
        again = teller(log, SHOP)
        self.enquiries = Enquiries(self.courier, self.deliveries, log, again, clock, source=SHOP, replay_events_max=20)
        self._stack = AsyncExitStack()
        self._commands = 0

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.house)
        await self.house.open(self.bus)
        await self.courier.open()
        await self.enquiries.open(self.bus)
        await Standings(self.courier, self.deliveries).open(self.bus)
        self._run = asyncio.create_task(self.courier.run())
        await settle(50)
        return self

    async def __aexit__(self, *raised: object) -> None:
        """The process dies: nothing is finished."""
        self._run.cancel()
        await asyncio.wait([self._run])
        await self._stack.aclose()

    async def tell(self, address: Address, command: Struct) -> Any:
        return (await self.bus.ask(command_subject(address), self._envelope(command))).value

    async def ask(self, query: Struct) -> Any:
        answer = await self.bus.ask(query_subject(type(query)), self._envelope(query))
        return answer.value

    def _envelope(self, message: Struct) -> Envelope:
        deadline = self.clock.now_ms() + 10_000
        return Envelope(new_id(self.clock), message, "r1", deadline, at_least=self.log.head)

    async def register(self, owner: str = "sue", endpoint: Endpoint = HOOK, **changes: Any) -> Endpoint:
        made = replace(endpoint, **changes)
        await self.tell(Address("webhook", owner), webhook.Register(made, endpoints_max=100))
        await self.settled()
        return made

    async def board(self, owner: str = "sue") -> dict[str, Endpoint]:
        found = await self.tell(Address("webhook", owner), webhook.ListEndpoints())
        return {endpoint.webhook_id: endpoint for endpoint in found.endpoints}

    async def lists(self, *keys: str, seller: str = "sue") -> None:
        """Put products on sale, which is told."""
        for key in keys:
            listing = product.List(seller, OFFER, None, (), self.clock.now_ms())
            await self.tell(Address("product", key), listing)
        await self.settled()

    async def passes(self, seconds: float) -> None:
        """Let the time pass."""
        await self.clock.advance(seconds)
        await self.settled()

    async def settled(self) -> None:
        await settle(300)

    async def all(self, webhook_id: str = "w1") -> list[Delivery]:
        """All deliveries of an endpoint, the oldest first."""
        page: DeliveryPage = await self.ask(ListDeliveries(webhook_id, page=Page(1, 100)))
        return list(reversed(page.deliveries))

    async def only(self, webhook_id: str = "w1") -> Delivery:
        """The one delivery of an endpoint, with its attempts."""
        (delivery,) = await self.all(webhook_id)
        found: Delivery = await self.ask(ReadDelivery(webhook_id, delivery.delivery_id))
        return found
