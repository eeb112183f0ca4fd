"""
Histories for the storage tests: a small market whose events are decided by the real aggregates.

    async with market(tmp_path) as m:
        await m.list_product("lamp", title="A lamp")
        await m.sell("lamp", buyer="ann")
        page = await m.browse(q="lamp")
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from marketd.actors import account, order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Aggregate, Refused
from marketd.actors.buyer import (
    Claim,
    DeleteReview,
    EditReview,
    Grant,
    HideReview,
    ReplyToReview,
    Review,
    Revoke,
    ShowReview,
    Unclaim,
    WriteReview,
)
from marketd.actors.money import Money
from marketd.actors.steps import Denied, Outcome, Report, Step, Succeeded, Unanswered
from marketd.bus.memory import MemoryBus
from marketd.bus.port import Envelope
from marketd.bus.subjects import query_subject
from marketd.clock import SystemClock
from marketd.config.codecs import AGGREGATES, MODELS, log_codec, message_codec
from marketd.storage import catalog
from marketd.storage.cards import ProductCards
from marketd.storage.catalog import BrowseProducts, ProductPage
from marketd.storage.history import OrderHistory
from marketd.storage.log import Appended, Commit, Done, EventLog, Meta, Reply
from marketd.storage.log import Outcome as Taken
from marketd.storage.memory import MemoryLog
from marketd.storage.projector import Projector, ReadModel

START_MS: Final = 1_700_000_000_000
STEP_MS: Final = 1_000  # from one command to the next
PRICE: Final = Money(1999, "USD")
FILE: Final = product.File("lamp.zip", "application/zip", 1024, "upload://" + "ab" * 32)


def commit(
    command_id: str = "command-1", *events: Any, reply: Reply | None = None, at: int = START_MS, **meta: str
) -> Commit:
    """A commit whose events happened, whoever decided them."""
    return Commit(command_id, at, events or (account.Renamed(command_id),), reply or Done(), Meta(**meta))


async def append(log: EventLog, stream: str, *ids: str, version: int | None = None) -> Taken:
    """Append a commit for each id, at the end of the stream if not told otherwise."""
    if version is None:
        version = len(await log.read(stream))
    return await log.append(stream, version, [commit(id) for id in ids])


class Writer:
    """Decides commands by the aggregates and appends what follows to a log; each command a second after the last."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.now_ms = START_MS
        self.kinds: dict[str, Aggregate[Any, Any, Any]] = {aggregate.kind: aggregate for aggregate in AGGREGATES}
        self.states: dict[Address, Any] = {}
        self._versions: dict[Address, int] = {}
        self._commands = 0

    async def tell(self, address: Address, command: Struct) -> Any:
        """Let the actor decide; give its answer, or raise `Refused`."""
        aggregate = self.kinds[address.kind]
        state, version = self.states.get(address, aggregate.initial), self._versions.get(address, 0)
        events = aggregate.decide(state, command)
        for event in events:
            state = aggregate.evolve(state, event)
        answer = aggregate.answer(state, command, events)
        self.now_ms += STEP_MS
        if events:
            self._commands += 1
            commit = Commit(f"command-{self._commands}", self.now_ms, tuple(events), Done(answer), Meta())
            taken = await self.log.append(str(address), version, [commit])
            assert isinstance(taken, Appended), taken
            self.states[address], self._versions[address] = state, version + 1
        return answer

    async def register(self, user: str, *, name: str | None = None, role: account.Role = "seller") -> None:
        email = f"{user}@example.org"
        command = account.Register(user, email, name or user.title(), role, "$argon2id$secret", self.now_ms)
        await self.tell(account.address_of(email), command)

    async def rename(self, user: str, name: str) -> None:
        await self.tell(account.address_of(f"{user}@example.org"), account.Rename(name))

    async def sign_in_and_out(self, user: str, session_id: str) -> None:
        address = account.address_of(f"{user}@example.org")
        await self.tell(address, account.OpenSession(account.Session(session_id, "hash", 2**53), self.now_ms))
        await self.tell(address, account.RevokeSession(session_id))

    async def list_product(
        self,
        key: str,
        *,
        title: str = "",
        description: str = "Ready to use.",
        price: Money = PRICE,
        category: str = "tools",
        seller: str = "seller",
        stock: int | None = None,
        keys: tuple[str, ...] = (),
        files: tuple[product.File, ...] = (FILE,),
        previews: tuple[product.Preview, ...] = (),
    ) -> None:
        offer = product.Offer(title or key.title(), description, price, category, files, previews)
        await self.tell(Address("product", key), product.List(seller, offer, stock, keys, self.now_ms))

    async def revise(self, key: str, *, seller: str = "seller", **changes: Any) -> None:
        await self.tell(Address("product", key), product.Revise(seller, self.now_ms, **changes))

    async def withdraw(self, key: str, *, seller: str = "seller") -> None:
        await self.tell(Address("product", key), product.Withdraw(seller, self.now_ms))

    async def reserve(self, key: str, order_id: str = "order-0") -> str | None:
        """Take one unit; give its licence key."""
        answer = await self.tell(Address("product", key), product.Reserve(order_id))
        return None if answer.licence_key is None else str(answer.licence_key)

    async def release(self, key: str, licence_key: str | None = None, order_id: str = "order-0") -> None:
        await self.tell(Address("product", key), product.Release(order_id, licence_key))

    async def claim(self, order_id: str, key: str, *, buyer: str) -> None:
        """Have what an order needs set aside."""
        await self.tell(_shelf(buyer), Claim(order_id, key))
        await self.tell(Address("product", key), product.Hold(order_id))

    async def give_up(self, order_id: str, key: str, *, buyer: str) -> None:
        await self.tell(Address("product", key), product.Unhold(order_id))
        await self.tell(_shelf(buyer), Unclaim(order_id, key))

    async def place(
        self, order_id: str, key: str = "lamp", *, buyer: str = "ann", seller: str = "seller", price: Money = PRICE
    ) -> None:
        placed = order.Place(buyer, seller, key, key.title(), price, "pm_secret", self.now_ms)
        await self.tell(Address("order", order_id), placed)

    async def advance(self, order_id: str, *steps: tuple[Step, Outcome]) -> None:
        for step, outcome in steps:
            await self.tell(Address("order", order_id), order.Advance((Report(step, outcome),), self.now_ms))

    async def grant(self, key: str, *, buyer: str = "ann", order_id: str = "order-0", seller: str = "seller") -> None:
        await self.tell(_shelf(buyer), Grant(order_id, key, seller))

    async def sell(
        self, key: str = "lamp", *, buyer: str = "ann", order_id: str = "", seller: str = "seller", price: Money = PRICE
    ) -> str:
        """Lead an order to its good end; give its id."""
        order_id = order_id or f"order-{key}-{buyer}"
        await self.place(order_id, key, buyer=buyer, seller=seller, price=price)
        await self.advance(order_id, (Step.PROCESS_PAYMENT, Succeeded()))
        licence_key = await self.reserve(key, order_id)
        await self.advance(order_id, (Step.UPDATE_INVENTORY, Succeeded(licence_key)))
        await self.grant(key, buyer=buyer, order_id=order_id, seller=seller)
        await self.advance(order_id, (Step.PREPARE_DELIVERY, Succeeded()), (Step.NOTIFY_BUYER, Succeeded()))
        return order_id

    async def refund(self, order_id: str, key: str = "lamp", *, buyer: str = "ann", is_owing: bool = False) -> None:
        """Take a complete sale back; the processor may refuse."""
        outcome: Outcome = Denied("closed account") if is_owing else Succeeded()
        await self.tell(Address("order", order_id), order.RequestRefund("seller", True, "broken", self.now_ms))
        await self.tell(_shelf(buyer), Revoke(order_id, key))
        await self.advance(order_id, (Step.REVOKE_DELIVERY, Succeeded()), (Step.REFUND_PAYMENT, outcome))

    async def resolve_alert(self, order_id: str) -> None:
        await self.tell(Address("order", order_id), order.ResolveAlert("admin", self.now_ms))

    async def review(
        self, key: str, rating: int, *, by: str = "ann", title: str = "Fine", body: str = "It works.", id: str = ""
    ) -> str:
        """Write a review of something owned; give its id."""
        review = Review(id or f"review-{key}-{by}", rating, title, body)
        await self.tell(_shelf(by), WriteReview(key, review, self.now_ms))
        return review.review_id

    async def sell_and_review(self, key: str, rating: int, *, buyer: str = "ann") -> str:
        await self.sell(key, buyer=buyer)
        return await self.review(key, rating, by=buyer)

    async def edit_review(self, key: str, *, by: str = "ann", **changes: Any) -> None:
        await self.tell(_shelf(by), EditReview(key, f"review-{key}-{by}", self.now_ms, **changes))

    async def delete_review(self, key: str, *, by: str = "ann") -> None:
        await self.tell(_shelf(by), DeleteReview(key, f"review-{key}-{by}"))

    async def reply(self, key: str, body: str, *, to: str = "ann", seller: str = "seller") -> None:
        reply = ReplyToReview(key, f"review-{key}-{to}", seller, body, self.now_ms)
        await self.tell(_shelf(to), reply)

    async def hide_review(self, key: str, reason: str = "an insult", *, by: str = "ann") -> None:
        await self.tell(_shelf(by), HideReview(key, f"review-{key}-{by}", "admin", reason, self.now_ms))

    async def show_review(self, key: str, *, by: str = "ann") -> None:
        await self.tell(_shelf(by), ShowReview(key, f"review-{key}-{by}", "admin", self.now_ms))


def _shelf(user: str) -> Address:
    return Address("buyer", user)


class Market(Writer):
    """A writer's log, and the read models that follow it."""

    def __init__(self, log: EventLog, projector: Projector, cards: ProductCards, bus: MemoryBus) -> None:
        super().__init__(log)
        self.projector, self.cards, self.bus = projector, cards, bus

    async def ask(self, query: Struct) -> Any:
        """Ask the read models as the front does, once they have seen everything."""
        deadline = SystemClock().now_ms() + 5_000
        envelope = Envelope("query", query, "request", deadline, at_least=self.log.head)
        return (await self.bus.ask(query_subject(type(query)), envelope)).value

    async def browse(self, **query: Any) -> ProductPage:
        """Browse the catalogue itself, once it has seen everything."""
        await self.projector.wait_reached(self.log.head)
        page: ProductPage = await self.projector.read(catalog.browse, BrowseProducts(**query))
        return page


@asynccontextmanager
async def market(
    folder: Path, log: EventLog | None = None, models: Sequence[ReadModel] = MODELS
) -> AsyncIterator[Market]:
    """Run a market whose queries go through the codec of the bus."""
    log = log or MemoryLog(log_codec())
    bus = MemoryBus(SystemClock(), message_codec())
    async with (
        Projector(folder / "read.db", log, models, read_wait_s_max=10) as projector,
        asyncio.TaskGroup() as tasks,
    ):
        cards = ProductCards(projector)
        await projector.open(bus)
        await cards.open(bus)
        await OrderHistory(log).open(bus)
        following = tasks.create_task(projector.run())
        try:
            yield Market(log, projector, cards, bus)
        finally:
            following.cancel()


async def random_history(writer: Writer, seed: int, commands: int) -> None:
    """Let people do this and that; what is refused did not happen."""
    chance = random.Random(seed)
    sellers, buyers = ["sam", "sue"], ["ann", "bob", "cid", "dee"]
    for user in (*sellers, *buyers):
        await writer.register(user, role="seller" if user in sellers else "buyer")
    for n in range(commands):
        for deed in _deeds(writer, chance, sellers, buyers, n):
            try:
                await deed()
            except Refused:
                break


def _deeds(
    w: Writer, chance: random.Random, sellers: list[str], buyers: list[str], n: int
) -> list[Callable[[], Awaitable[Any]]]:
    key, who, seller = f"thing-{chance.randrange(8)}", chance.choice(buyers), chance.choice(sellers)
    price = Money(chance.randrange(1, 10_000), chance.choice(["USD", "JPY", "KWD"]))
    outcomes: list[Outcome] = [Succeeded(), Succeeded(), Succeeded(), Denied("no"), Unanswered()]
    outcome = chance.choice(outcomes)
    id = f"order-{chance.randrange(n + 1)}"
    stock = chance.choice([None, 1, 5])
    return chance.choice(
        [
            [lambda: w.list_product(key, seller=seller, stock=stock, price=price, category=chance.choice("ab"))],
            [lambda: w.revise(key, seller=seller, title=f"{key} {n}", stock=stock)],
            [lambda: w.withdraw(key, seller=seller)] if chance.random() < 0.1 else [],
            [lambda: w.rename(who, f"{who} {n}"), lambda: w.sign_in_and_out(who, f"session-{n}")],
            [lambda: w.sell(key, buyer=who, order_id=f"order-{n}", seller=seller, price=price)],
            [lambda: w.sell(key, buyer=who, order_id=f"order-{n}", seller=seller, price=price)],
            [
                lambda: w.sell(key, buyer=who, order_id=f"order-{n}", seller=seller, price=price),
                lambda: w.review(key, chance.randint(1, 5), by=who),
            ],
            [lambda: w.place(f"order-{n}", key, buyer=who, seller=seller)],
            [
                lambda: w.claim(f"order-{n}", key, buyer=who),
                lambda: w.give_up(f"order-{n}", key, buyer=who),
            ],
            [
                lambda: w.claim(f"order-{n}", key, buyer=who),
                lambda: w.sell(key, buyer=who, order_id=f"order-{n}", seller=seller, price=price),
            ],
            [lambda: w.advance(id, *((step, outcome) for step in Step))],
            [lambda: w.refund(id, key, buyer=who, is_owing=chance.random() < 0.3)],
            [lambda: w.resolve_alert(id)],
            [lambda: w.review(key, chance.randint(1, 5), by=who, id=f"review-{n}")],
            [lambda: w.review(key, chance.randint(1, 5), by=who)],
            [lambda: w.edit_review(key, by=who, rating=chance.randint(1, 5))],
            [lambda: w.reply(key, f"Thanks {n}", to=who, seller=seller)],
            [lambda: w.delete_review(key, by=who)],
            [lambda: w.hide_review(key, f"reason {n}", by=who)],
            [lambda: w.show_review(key, by=who)],
        ]
    )
