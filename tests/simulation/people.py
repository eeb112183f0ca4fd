"""
Who uses the marketplace: sellers who list, change and withdraw, buyers who buy, repeat themselves and review.

They know nothing of hosts. Whoever gets no answer asks again under the same id, and gives up after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from marketd.actors import account, buyer, order, product, webhook
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.money import Money
from marketd.actors.payments.sandbox import REFUND_FAILS
from marketd.actors.watch import AwaitOutcome
from marketd.bus.port import Bus, BusError, Envelope
from marketd.bus.subjects import command_subject, query_subject
from tests.simulation.hooks import endpoint_of
from tests.simulation.laws import Laws
from tests.simulation.telling import email_of

if TYPE_CHECKING:
    from tests.simulation.world import World

METHODS: Final = ("pm_card_visa",) * 5 + ("pm_card_chargeDeclined", REFUND_FAILS)
TRIES_MAX: Final = 6
REQUESTS_MAX: Final = 3
DAY_S: Final = 45.0  # in which all of them do what they do
OFFER: Final = product.Offer("Serif", "A typeface.", Money(1999, "USD"), "fonts", ())

QUESTIONS: Final[dict[str, Struct]] = {"order": order.Describe(), "product": product.Describe()}

Told = Struct | Refused | None  # None: no answer, ever


class People:
    """All of them."""

    def __init__(self, world: World, bus: Bus) -> None:
        self._world, self._bus, self._chance = world, bus, world.chance
        self._products = [f"p{n}" for n in range(self._chance.choice([1, 2, 3]))]
        self._buyers = [f"b{n}" for n in range(self._chance.choice([2, 3, 5, 8]))]
        self._orders = self._requests = 0
        self.errands: list[asyncio.Task[None]] = []  # what goes on when those who began it have gone home
        self._reached: dict[Address, int] = {}  # the newest position that anybody was told of

    def everybody(self) -> list[Coroutine[Any, Any, None]]:
        """Say what each of them does."""
        sellers = [seller_of(product_id) for product_id in self._products]
        roles = dict.fromkeys(sellers, "seller") | dict.fromkeys(self._buyers, "buyer")
        joining = [self._join(*pair) for pair in (roles.items() if self._world.has_told else ())]
        joining += [self._hook(seller_id) for seller_id in (sellers if self._world.has_hooks else ())]
        return [*joining, *map(self._sell, self._products), *map(self._shop, self._buyers)]

    async def look_at_all(self) -> None:
        """Ask every order and every product what it is, as new as its last record."""
        for stream, position in self._world.laws.newest().items():
            address = Address.parse(stream)
            if address.kind in QUESTIONS:
                question = QUESTIONS[address.kind]
                seen = await self._insist(address, question, f"{stream}:look", position)
                self._world.judge(partial(Laws.on_view, stream=stream, question=question, seen=seen))

    async def _join(self, user_id: str, role: Any) -> None:
        """Register, which nobody gives up who wants to be told of things."""
        email = email_of(user_id)
        register = account.Register(user_id, email, user_id, role, "argon2", self._now())
        while await self._insist(account.address_of(email), register, f"{user_id}:join") is None:
            pass

    async def _hook(self, seller_id: str) -> None:
        """Have what happens posted, from some time on."""
        await self._idle(DAY_S / 4)
        register = webhook.Register(endpoint_of(seller_id, self._now()), 20)
        while await self._insist(Address("webhook", seller_id), register, f"{seller_id}:hook") is None:
            pass

    # Sellers.

    async def _sell(self, product_id: str) -> None:
        chance, address, seller_id = self._chance, Address("product", product_id), seller_of(product_id)
        stock, keys = chance.choice([None, 1, 1, 2, 3]), 0
        if chance.random() < 0.5:
            keys = chance.choice([1, 2, 3])
            stock = None if stock is None else min(stock, keys)
        names = tuple(f"{product_id}-key{n}" for n in range(keys))
        offer = replace(OFFER, price=Money(chance.randrange(100, 9_000), "USD"))
        await self._insist(address, product.List(seller_id, offer, stock, names, self._now()), f"{product_id}:list")
        for n in range(chance.choice([0, 1, 3])):
            await self._idle(DAY_S / 3)
            change: dict[str, Any] = chance.choice(
                [
                    {"price": Money(chance.randrange(100, 9_000), "USD")},
                    {"licence_keys": (f"{product_id}-new{n}",)} if keys else {"stock": chance.choice([None, 0, 1, 4])},
                    {"title": f"Serif {n}"},
                ]
            )
            await self._insist(address, product.Revise(seller_id, self._now(), **change), f"{product_id}:revise{n}")
        if chance.random() < 0.3:
            await self._idle(DAY_S / 3)
            await self._insist(address, product.Withdraw(seller_id, self._now()), f"{product_id}:withdraw")

    async def _take_back(self, order_id: str, seller_id: str) -> None:
        """Refund an order: often too early, or while it completes, and then once more."""
        for n in range(3):
            await self._idle(self._chance.choice([0.1, 2, 20]))
            asked = order.RequestRefund(seller_id, False, "a mistake", self._now())
            told = await self._insist(Address("order", order_id), asked, f"{order_id}:refund{n}")
            if not isinstance(told, Refused):
                return

    # Buyers.

    async def _shop(self, buyer_id: str) -> None:
        purchases = []
        for _ in range(self._chance.choice([2, 3, 4])):
            await self._idle(DAY_S / 4)
            product_id = self._chance.choice(self._products)
            for _ in range(self._chance.choice([1, 1, 1, 2, 3])):  # some click twice
                self._orders += 1
                purchase = self._buy(buyer_id, f"o{self._orders}", product_id)
                purchases.append(self._world.loop.begin(purchase, self._world.loop.nobody))
            if self._chance.random() < 0.7:
                await purchases[-1]
        for purchase_ in purchases:
            await purchase_

    async def _buy(self, buyer_id: str, order_id: str, product_id: str) -> None:
        chance, address = self._chance, Address("order", order_id)
        method, at = chance.choice(METHODS), self._now()
        is_keyed = chance.random() < 0.5
        for n in range(REQUESTS_MAX if is_keyed else 1):
            place = await self._request(buyer_id, order_id, product_id, method, at, is_keyed=is_keyed, is_again=n > 0)
            if isinstance(place, order.Place | Refused):
                break
            if isinstance(await self._ask(address, order.Describe(), f"{order_id}:look"), order.View):
                break  # it was placed all the same
        if not isinstance(place, order.Place):
            return
        self._world.laws.on_accepted(order_id)
        if chance.random() < 0.4:
            taking_back = self._take_back(order_id, place.seller_id)
            self.errands.append(self._world.loop.begin(taking_back, self._world.loop.nobody))
        if chance.random() < 0.3:
            await self._idle(10)
            await self._insist(address, place, f"{order_id}:place")
        if chance.random() < 0.2:
            dearer = replace(place, price=Money(1, "USD"))
            told = await self._insist(address, dearer, f"{order_id}:other")
            assert told is None or isinstance(told, Refused), f"{order_id} was placed twice: {told}"
        if chance.random() < 0.5:
            await self._wait_for(order_id)
        if chance.random() < 0.5:
            await self._review(buyer_id, product_id, place.seller_id, f"{order_id}:r")

    async def _request(
        self, buyer_id: str, order_id: str, product_id: str, method: str, at: int, *, is_keyed: bool, is_again: bool
    ) -> order.Place | Refused | None:
        """Ask what the front asks for one request, each once, and at times die between; None where nobody knows."""
        order_at, product_at, buyer_at = (
            Address(kind, key) for kind, key in (("order", order_id), ("product", product_id), ("buyer", buyer_id))
        )
        self._requests += 1
        name = f"{order_id}:{self._requests}"
        quote = await self._ask(product_at, product.Quote(buyer_id, order_id), f"{name}:quote")
        if not isinstance(quote, product.Quoted):
            return quote if isinstance(quote, Refused) else None
        wishes: list[tuple[Address, Struct]] = [(buyer_at, buyer.Claim(order_id, product_id))]
        if quote.is_counted:
            wishes.append((product_at, product.Hold(order_id)))
        elif is_again:
            wishes.append((product_at, product.Unhold(order_id)))
        for n, (wished_of, wish) in enumerate(wishes):
            told = await self._ask(wished_of, wish, f"{name}:wish{n}")
            if self._chance.random() < 0.05:
                return None
            if isinstance(told, Refused | BusError):
                if (n > 0 and isinstance(told, Refused)) or (isinstance(told, BusError) and not is_keyed):
                    await self._ask(product_at, product.Unhold(order_id), f"{name}:unhold")
                    await self._ask(buyer_at, buyer.Unclaim(order_id, product_id), f"{name}:unclaim")
                return told if isinstance(told, Refused) else None
        if self._chance.random() < 0.3:
            await self._idle(5)
        place = order.Place(
            buyer_id, quote.seller_id, product_id, quote.title, quote.price, method, at, quote.is_counted
        )
        told = await self._ask(order_at, place, f"{order_id}:place")
        return place if isinstance(told, order.View) else told if isinstance(told, Refused) else None

    async def _wait_for(self, order_id: str) -> None:
        wait_s = self._chance.choice([0.1, 5, 30])
        query = AwaitOutcome(order_id, self._now() + int(wait_s * 1000))
        deadline, at_least = self._now() + int((wait_s + 5) * 1000), self._reached[Address("order", order_id)]
        envelope = Envelope(f"{order_id}:await", query, order_id, deadline, at_least=at_least)
        try:
            await self._bus.ask(query_subject(AwaitOutcome), envelope)
        except BusError:
            pass

    async def _review(self, buyer_id: str, product_id: str, seller_id: str, name: str) -> None:
        address, chance = Address("buyer", buyer_id), self._chance
        review = buyer.Review(name.replace(":", "-"), chance.randrange(1, 6), "So", "so.")
        told = await self._insist(address, buyer.WriteReview(product_id, review, self._now()), f"{name}w")
        if not isinstance(told, buyer.ReviewState):
            return
        further: list[Struct] = [
            buyer.EditReview(product_id, review.review_id, self._now(), rating=chance.randrange(1, 6)),
            buyer.ReplyToReview(product_id, review.review_id, seller_id, "Thanks.", self._now()),
            buyer.HideReview(product_id, review.review_id, "a1", "spam", self._now()),
            buyer.ShowReview(product_id, review.review_id, "a1", self._now()),
            buyer.DeleteReview(product_id, review.review_id),
        ]
        for n in range(2):
            await self._insist(address, chance.choice(further), f"{name}{n}")

    # All.

    async def _ask(self, address: Address, message: Struct, command_id: str) -> Struct | Refused | BusError | None:
        """Ask once."""
        deadline = self._now() + self._chance.choice([500, 3_000, 10_000])
        try:
            answer = await self._bus.ask(command_subject(address), Envelope(command_id, message, command_id, deadline))
        except (Refused, BusError) as error:
            return error
        self._reached[address] = answer.position
        return answer.value

    async def _insist(self, address: Address, message: Struct, command_id: str, at_least: int = 0) -> Told:
        """Ask until there is an answer, under one id."""
        for _ in range(TRIES_MAX):
            deadline = self._now() + self._chance.choice([500, 3_000, 10_000])
            envelope = Envelope(command_id, message, command_id, deadline, at_least=at_least)
            try:
                answer = await self._bus.ask(command_subject(address), envelope)
                self._reached[address] = answer.position
                return answer.value
            except Refused as refused:
                return refused
            except BusError:
                await self._idle(2)
        return None

    async def _idle(self, seconds_max: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, seconds_max))

    def _now(self) -> int:
        return self._world.clock.now_ms()


def seller_of(product_id: str) -> str:
    """Say whose a product is."""
    return f"s-{product_id}"
