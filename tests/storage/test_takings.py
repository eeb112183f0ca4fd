"""The sums of a seller's sales agree with a look at every single event, in any history, time zone and currency."""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketd.actors import order
from marketd.actors.aggregate import Refused
from marketd.actors.buyer import ReviewDeleted, Reviewed, ReviewHidden, ReviewShown
from marketd.actors.money import Money
from marketd.actors.steps import Denied, Outcome, Step, Succeeded
from marketd.clock import DAY_MS
from marketd.http.periods import Interval, Span, begins
from marketd.storage.earnings import QUARTER_MS, TOP_PRODUCTS, Earnings, ReadEarnings, Taking
from marketd.storage.log import EventLog
from tests.storage.history import START_MS, Market, market, random_history
from tests.storage.logs import followed

HOUR_MS = 60 * 60 * 1000


class Sale(NamedTuple):
    product_id: str
    at: int
    seller_id: str
    price: Money


class Story:
    """What the log says, one event after the other."""

    def __init__(self) -> None:
        self.sold: list[Sale] = []
        self.refunded: list[Sale] = []
        self.reviews: dict[str, tuple[str, int, int, bool]] = {}  # seller, rating, first written, whether it is listed

    @classmethod
    async def of(cls, log: EventLog) -> "Story":
        story, placed = cls(), dict[str, order.Placed]()
        for record in await followed(log, 0, log.head) if log.head else []:
            for event in record.commit.events:
                match event:
                    case order.Placed():
                        placed[record.stream] = event
                    case order.Completed(at) | order.Refunded(at):
                        one = placed[record.stream]
                        sale = Sale(one.product_id, at, one.seller_id, one.price)
                        (story.sold if isinstance(event, order.Completed) else story.refunded).append(sale)
                    case Reviewed(_, seller_id, review, at):
                        known = story.reviews.get(review.review_id)
                        first, listed = (known[2], known[3]) if known else (at, True)
                        story.reviews[review.review_id] = (seller_id, review.rating, first, listed)
                    case ReviewDeleted(_, review_id):
                        del story.reviews[review_id]
                    case ReviewHidden(_, review_id) | ReviewShown(_, review_id):
                        seller_id, rating, first, _ = story.reviews[review_id]
                        story.reviews[review_id] = (seller_id, rating, first, isinstance(event, ReviewShown))
        return story

    def near(self, chance: random.Random) -> int:
        """Give a moment at which, or just before or after which, something happened."""
        times = [sale.at for sale in (*self.sold, *self.refunded)] + [at for _, _, at, _ in self.reviews.values()]
        return chance.choice(times) + chance.choice([-1, 0, 1, -HOUR_MS, HOUR_MS])

    def taken(self, seller: str, currency: str, begin: int, end: int) -> Taking:
        def those(sales: list[Sale]) -> list[int]:
            return [
                sale.price.minor
                for sale in sales
                if begin <= sale.at < end and (seller, currency) == (sale.seller_id, sale.price.currency)
            ]

        return Taking(len(those(self.sold)), sum(those(self.sold)), sum(those(self.refunded)))

    def orders(self, seller: str, begin: int, end: int) -> Counter[str]:
        return Counter(s.price.currency for s in self.sold if s.seller_id == seller and begin <= s.at < end)

    def top(self, seller: str, currency: str, begin: int, end: int) -> list[tuple[str, int, int]]:
        revenue, orders = Counter[str](), Counter[str]()
        for sale in self.sold:
            if (seller, currency) == (sale.seller_id, sale.price.currency) and begin <= sale.at < end:
                revenue[sale.product_id] += sale.price.minor
                orders[sale.product_id] += 1
        ordered = sorted(revenue, key=lambda key: (-revenue[key], -orders[key], key))
        return [(key, orders[key], revenue[key]) for key in ordered[:TOP_PRODUCTS]]

    def histogram(self, seller: str, begin: int, end: int) -> dict[str, int]:
        listed = Counter(
            str(rating)
            for seller_id, rating, at, is_listed in self.reviews.values()
            if is_listed and begin <= at < end and seller_id == seller
        )
        return {rating: listed[rating] for rating in "12345"}


ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham", "Australia/Lord_Howe")
spans = st.tuples(
    st.sampled_from(ZONES),
    st.sampled_from(["day", "week", "month"]),
    st.integers(-3 * DAY_MS, 200 * DAY_MS),
    st.one_of(st.integers(1, 2 * QUARTER_MS), st.integers(1, 250 * DAY_MS)),
    st.sampled_from(["USD", "JPY", "KWD", None]),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.lists(spans, min_size=20, max_size=20))
def test_sums_are_what_every_single_event_adds_up_to(seed: int, asked: list[Any]) -> None:
    async def look() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with market(Path(folder)) as m:
                chance = random.Random(seed)
                for part in range(6):
                    await random_history(m, chance.randrange(2**32), 40) if not part else await more(m, chance)
                    m.now_ms += chance.randrange(60 * DAY_MS)
                story = await Story.of(m.log)
                assert story.sold
                for zone, interval, offset, length, currency in asked:
                    await agree(m, story, Span(START_MS + offset, START_MS + offset + length, zone), interval, currency)
                    since, until = sorted(story.near(chance) for _ in "ab")
                    await agree(m, story, Span(since, until + 1, zone), interval, currency)

    asyncio.run(look())


async def more(m: Market, chance: random.Random) -> None:
    """Let time pass between sales, refunds and reviews."""
    for number in range(30):
        key, who = f"thing-{chance.randrange(12)}", chance.choice(["ann", "bob", "cid", "dee", "eve"])
        m.now_ms += chance.choice([0, QUARTER_MS, HOUR_MS, DAY_MS, chance.randrange(5 * DAY_MS)])
        name = f"late-{m.now_ms}-{number}"
        seller, price = chance.choice(["sam", "sue"]), Money(chance.randrange(1, 9_999), chance.choice(["USD", "JPY"]))
        await m.place(name, key, buyer=who, seller=seller, price=price)
        outcomes: list[Outcome] = [Succeeded(), Succeeded(), Succeeded(), Denied("no")]
        outcome = chance.choice(outcomes)
        for step in (Step.PROCESS_PAYMENT, Step.UPDATE_INVENTORY, Step.PREPARE_DELIVERY, Step.NOTIFY_BUYER):
            await m.advance(name, (step, outcome))
            m.now_ms += chance.randrange(HOUR_MS)
        if isinstance(outcome, Succeeded) and chance.random() < 0.3:
            m.now_ms += chance.randrange(3 * DAY_MS)
            await m.refund(name, key, buyer=who, is_owing=chance.random() < 0.3)
        for deed in reviewing(m, chance, key, who, seller):
            try:
                await deed()
            except Refused:
                break


def reviewing(m: Market, chance: random.Random, key: str, who: str, seller: str) -> list[Callable[[], Awaitable[Any]]]:
    """Have the buyer own it and say something of it, and that changed, hidden or taken back."""
    later: list[Callable[[], Awaitable[Any]]] = [
        lambda: m.edit_review(key, by=who, rating=chance.randint(1, 5)),
        lambda: m.hide_review(key, by=who),
        lambda: m.show_review(key, by=who),
        lambda: m.delete_review(key, by=who),
    ]
    first: list[Callable[[], Awaitable[Any]]] = [
        lambda: m.grant(key, buyer=who, order_id=f"owned-{key}-{who}", seller=seller),
        lambda: m.review(key, chance.randint(1, 5), by=who),
    ]
    return [*first, *chance.sample(later, chance.randrange(3))]


async def agree(m: Market, story: Story, stretch: Span, interval: Interval, currency: str | None) -> None:
    starts = begins(stretch, interval)
    bounds = (stretch.since, *starts[1:], stretch.until)
    for seller in ("sam", "sue"):
        found: Earnings = await m.ask(ReadEarnings(seller, bounds, currency))
        orders = story.orders(seller, stretch.since, stretch.until)
        name = f"{seller} {stretch} {interval} {currency}"
        if currency is None and orders:
            assert orders[found.currency] == max(orders.values()), name
        taken = [story.taken(seller, found.currency, *pair) for pair in pairwise(bounds)]
        assert taken == found.takings, name
        assert orders.total() == found.all_orders, name
        top = [(top.product_id, top.orders, top.revenue) for top in found.top]
        assert story.top(seller, found.currency, stretch.since, stretch.until) == top, name
        assert story.histogram(seller, stretch.since, stretch.until) == found.histogram, name
