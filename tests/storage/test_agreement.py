"""Index, database and a look at every single product agree on what fits."""

import asyncio
import random
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketd.actors.money import Money
from marketd.storage.catalog import BrowseProducts
from marketd.storage.pages import Page
from tests.storage.indexed import Shop, indexed, name_of

WORDS = ("kettle", "brass", "moon", "42", "été", "ключ", "robot", "IX")
CATEGORIES = ("light", "tools", "it")
SELLERS = ("sam", "sue")
CURRENCIES = ("USD", "JPY", "KWD")
ALL = Page(1, 100)


class Product(NamedTuple):
    """What is known of one, to those who look at each."""

    title: str
    description: str
    category: str
    price: Money
    seller: str


amounts = st.integers(1, 5_000)
products = st.builds(
    Product,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    st.lists(st.sampled_from((*WORDS, "the", "!")), max_size=4).map(", ".join),
    st.sampled_from(CATEGORIES),
    st.builds(Money, amounts, st.sampled_from(CURRENCIES)),
    st.sampled_from(SELLERS),
)
bounds = st.none() | st.decimals(0, 60, places=2)
queries = st.fixed_dictionaries(
    {
        "q": st.sampled_from(("", "", *WORDS)),
        "category": st.none() | st.sampled_from(CATEGORIES),
        "min_price": bounds,
        "max_price": bounds,
        "seller": st.none() | st.sampled_from(SELLERS),
        "min_rating": st.none() | st.sampled_from([Decimal(n) / 4 for n in range(1, 21)]),
    }
)


class Story:
    """What happens to the products: the same to the shop and to a dictionary."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop, self.chance = shop, random.Random(seed)
        self.known: dict[str, Product] = {}
        self.ratings: dict[str, list[int]] = {}

    async def list_all(self, listed: list[Product]) -> None:
        for n, each in enumerate(listed):
            name = f"p{n}"
            self.known[name] = each
            await self.shop.list_product(name, **each._asdict())
            if self.chance.random() < 0.2:
                await self.shop.caught_up()
            await self.chance.choice(self._deeds(listed))(self.chance.choice(list(self.known or [name])))

    def _deeds(self, listed: list[Product]) -> list[Callable[[str], Awaitable[None]]]:
        async def nothing(name: str) -> None:
            pass

        async def revise(name: str) -> None:
            new = self.chance.choice(listed)._replace(seller=self.known[name].seller)
            self.known[name] = new
            changes = new._asdict()
            await self.shop.revise(name, **changes)

        async def withdraw(name: str) -> None:
            await self.shop.withdraw(name, seller=self.known.pop(name).seller)

        async def rate(name: str) -> None:
            ratings = self.ratings.setdefault(name, [])
            ratings.append(self.chance.randint(1, 5))
            seller = self.known[name].seller
            await self.shop.rate(name, ratings[-1], f"buyer{len(ratings)}", seller=seller)

        return [nothing, nothing, revise, withdraw, rate, rate]

    def fitting(self, q: str, **query: Any) -> set[str]:
        """Look at every product."""
        return {name for name, each in self.known.items() if self._fits(name, each, q, BrowseProducts(**query))}

    def _fits(self, name: str, each: Product, q: str, query: BrowseProducts) -> bool:
        words = re.findall(r"\w+", f"{each.title} {each.description} {each.category}".lower())
        ratings = self.ratings.get(name)
        return (
            (not q or q.lower() in words)
            and query.category in (None, each.category)
            and query.seller in (None, each.seller)
            and (query.min_price is None or each.price.amount >= query.min_price)
            and (query.max_price is None or each.price.amount <= query.max_price)
            and (query.min_rating is None or (ratings is not None and sum(ratings) >= query.min_rating * len(ratings)))
        )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(products, min_size=1, max_size=25), st.lists(queries, min_size=15, max_size=15), st.integers(0, 99))
def test_all_agree_on_what_fits(listed: list[Product], asked: list[dict[str, Any]], seed: int) -> None:
    async def look() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with indexed(Path(folder)) as shop:
                story = Story(shop, seed)
                await story.list_all(listed)
                for query in asked:
                    expected = story.fitting(**query)
                    page, shown = await shop.find(**query, page=ALL), await shop.market.browse(**query, page=ALL)
                    categories = Counter(story.known[name].category for name in expected)

                    assert expected == {name_of(product_id) for product_id, _ in page.hits}, query
                    assert expected == {name_of(hit.card.id) for hit in shown.hits}, query
                    assert len(expected) == len(page.hits) == page.total == shown.total, query
                    assert categories == page.categories == shown.categories, query

    asyncio.run(look())
