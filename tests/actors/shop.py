"""A whole shop on memory twins: house, bus and fulfilment, a processor and notices that do as the test says."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, Self, TypeVar

from msgspec import Struct

from marketd.actors import buyer, order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.fulfilment import Fulfilment, FulfilmentLimits
from marketd.actors.house import House, HouseLimits
from marketd.actors.money import Money
from marketd.actors.notices.port import NoticeFailed, Receipt
from marketd.actors.payments.processor import Captured, Declined, PaidBack, ProcessorUnavailable, RefundDenied
from marketd.actors.runtime import ActorLimits
from marketd.bus.memory import MemoryBus
from marketd.bus.port import Envelope
from marketd.bus.subjects import command_subject
from marketd.clock import new_id
from marketd.config.codecs import AGGREGATES, message_codec
from tests.actors.desk import OFFER
from tests.actors.watched import WatchedLog
from tests.clock import TestClock, settle

T = TypeVar("T")

CODEC: Final = message_codec()
TURNS_MAX: Final = 2_000
QUIET_TURNS: Final = 8
LIMITS: Final = FulfilmentLimits(retry_s=1, retry_s_max=8, patience_s=60, claim_s=20, checkpoint_every=1)


class FakeProcessor:
    """Keeps the port's promises, except to the orders that it is told not to answer."""

    def __init__(self) -> None:
        self.charges: dict[str, Captured | Declined] = {}
        self.refunds: dict[str, PaidBack | RefundDenied] = {}
        self.asked: list[tuple[str, str]] = []
        self.is_down: Callable[[str, str], bool] = lambda what, order_id: False
        self.loses_answers: Callable[[str, str], bool] = lambda what, order_id: False
        self.is_broken: Callable[[str, str], bool] = lambda what, order_id: False
        self.refunds_fail = False

    @property
    def captured(self) -> set[str]:
        """The orders whose money was taken and has not gone back."""
        taken = {order_id for order_id, outcome in self.charges.items() if isinstance(outcome, Captured)}
        return taken - {order_id for order_id, outcome in self.refunds.items() if isinstance(outcome, PaidBack)}

    async def charge(self, order_id: str, price: Money, payment_method_id: str) -> Captured | Declined:
        self._hear("charge", order_id)
        good = Captured() if payment_method_id == "pm_good" else Declined("no funds")
        outcome = Declined("cancelled") if order_id in self.refunds else good
        return self._answered("charge", order_id, self.charges.setdefault(order_id, outcome))

    async def refund(self, order_id: str) -> PaidBack | RefundDenied:
        self._hear("refund", order_id)
        outcome = RefundDenied("bank says no") if self.refunds_fail else PaidBack()
        return self._answered("refund", order_id, self.refunds.setdefault(order_id, outcome))

    def _hear(self, what: str, order_id: str) -> None:
        self.asked.append((what, order_id))
        if self.is_broken(what, order_id):
            raise ZeroDivisionError("a defect")
        if self.is_down(what, order_id):
            raise ProcessorUnavailable("no connection")

    def _answered(self, what: str, order_id: str, outcome: T) -> T:
        if self.loses_answers(what, order_id):
            raise ProcessorUnavailable("the connection was lost")
        return outcome


class FakeNotices:
    """Sends what it is given, after as many failures as it is told."""

    def __init__(self) -> None:
        self.sent: list[Receipt] = []
        self.failures = 0

    async def send(self, receipt: Receipt) -> None:
        if self.failures:
            self.failures -= 1
            raise NoticeFailed("mailbox full")
        self.sent.append(receipt)


class Shop:
    """One process; its log and its processor may outlive it."""

    def __init__(
        self,
        log: WatchedLog,
        clock: TestClock,
        processor: FakeProcessor | None = None,
        *,
        limits: FulfilmentLimits = LIMITS,
    ) -> None:
        self.log, self.clock = log, clock
        self.processor, self.notices = processor or FakeProcessor(), FakeNotices()
        self.bus = MemoryBus(clock, CODEC)
        self.house = House(AGGREGATES, log, clock, HouseLimits(), ActorLimits())
        self.fulfilment = Fulfilment(self.bus, log, self.processor, self.notices, clock, limits)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.house)
        await self.house.open(self.bus)
        self._run = asyncio.create_task(self.fulfilment.run())
        return self

    async def __aexit__(self, *raised: object) -> None:
        """The process dies: nothing is finished."""
        self._run.cancel()
        await asyncio.wait([self._run])
        await self._stack.aclose()

    @asynccontextmanager
    async def second_leader(self) -> AsyncIterator[None]:
        """Let a second fulfilment lead the same orders."""
        second = Fulfilment(self.bus, self.log, self.processor, self.notices, self.clock, LIMITS)
        run = asyncio.create_task(second.run())
        try:
            yield
        finally:
            run.cancel()
            await asyncio.wait([run])

    async def ask(self, address: Address, message: Struct, *, trace: str = "") -> Struct | None:
        deadline = self.clock.now_ms() + 10_000
        envelope = Envelope(new_id(self.clock), message, "r1", deadline, trace=trace)
        return (await self.bus.ask(command_subject(address), envelope)).value

    async def offer(self, product_id: str = "p1", *, stock: int | None = None, keys: tuple[str, ...] = ()) -> None:
        """Put a product on sale."""
        await self.ask(Address("product", product_id), product.List("sue", OFFER, stock, keys, 1))

    async def place(self, order_id: str, *, buyer_id: str = "ann", pays_with: str = "pm_good", trace: str = "") -> None:
        """Order the product p1; where its units are counted, as it was done before there were claims."""
        is_counted, at = await self.stock() is not None, self.clock.now_ms()
        if not is_counted:
            with suppress(Refused):  # who owns it already may try
                await self.claim(order_id, buyer_id=buyer_id)
        placed = order.Place(buyer_id, "sue", "p1", OFFER.title, OFFER.price, pays_with, at, is_counted)
        await self.ask(Address("order", order_id), placed, trace=trace)

    async def claim(self, order_id: str, product_id: str = "p1", *, buyer_id: str = "ann") -> None:
        """Have what an order of the product needs set aside, as the front does."""
        quote = await self.ask(Address("product", product_id), product.Quote(buyer_id, order_id))
        assert isinstance(quote, product.Quoted)
        await self.ask(Address("buyer", buyer_id), buyer.Claim(order_id, product_id))
        if quote.is_counted:
            await self.ask(Address("product", product_id), product.Hold(order_id))

    async def buy(self, order_id: str, *, buyer_id: str = "ann", pays_with: str = "pm_good") -> None:
        """Claim and place; refused where somebody else was faster."""
        try:
            await self.claim(order_id, buyer_id=buyer_id)
        except Refused:
            await self.ask(Address("buyer", buyer_id), buyer.Unclaim(order_id, "p1"))
            raise
        await self.place(order_id, buyer_id=buyer_id, pays_with=pays_with)

    async def refund(self, order_id: str) -> None:
        """Ask for the money back, as the seller."""
        asked = order.RequestRefund("sue", False, "a mistake", self.clock.now_ms())
        await self.ask(Address("order", order_id), asked)

    async def rest(self, open_orders: int = 0) -> None:
        """Let everybody work until so many orders are open and nothing is on its way."""
        quiet = 0
        for _ in range(TURNS_MAX):
            head = self.log.head
            await settle(5)
            heard = self.fulfilment.statistics()
            is_quiet = (heard["position"], heard["open_orders"]) == (head, open_orders) and head == self.log.head
            quiet = quiet + 1 if is_quiet else 0
            if quiet == QUIET_TURNS:
                return
        raise AssertionError(f"{heard} never came to {open_orders} open orders at position {self.log.head}")

    async def view(self, order_id: str) -> order.View:
        """Look at an order."""
        view = await self.ask(Address("order", order_id), order.Describe())
        assert isinstance(view, order.View)
        return view

    async def statuses(self, order_id: str) -> tuple[str, str, str]:
        """Status of the order, of its payment and of its delivery."""
        view = await self.view(order_id)
        return view.status, view.payment_status, view.delivery_status

    async def events(self, order_id: str) -> list[str]:
        """The names of what happened to an order."""
        records = await self.log.read(f"order/{order_id}")
        return [type(event).__name__ for record in records for event in record.commit.events]

    async def stock(self, product_id: str = "p1") -> int | None:
        """What is left of the product."""
        description = await self.ask(Address("product", product_id), product.Describe())
        assert isinstance(description, product.Description)
        return description.stock

    async def owns(self, buyer_id: str = "ann") -> bool:
        """Whether the buyer has the product p1."""
        access = await self.ask(Address("buyer", buyer_id), buyer.CheckAccess("p1"))
        assert isinstance(access, buyer.Access)
        return access.has_access

    async def give(self, buyer_id: str = "ann") -> None:
        """Let the buyer own the product p1 already."""
        await self.ask(Address("buyer", buyer_id), buyer.Grant("o0", "p1", "sue"))

    @property
    def asked(self) -> Counter[tuple[str, str]]:
        """How often the processor was asked for what."""
        return Counter(self.processor.asked)
