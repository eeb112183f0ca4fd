"""
A market with a search index over it.

    async with indexed(tmp_path) as shop:
        await shop.list_product("lamp", title="A lamp")
        assert ["lamp"] == await shop.found("lamp")

Products have short names here; their ids are made of them, because the index knows ids as 16 bytes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from marketd.clock import pack_id, unpack_id
from marketd.storage.catalog import BrowseProducts
from marketd.storage.database import Database
from marketd.storage.log import EventLog
from marketd.storage.projector import SCHEMA_VERSION
from marketd.storage.search import Found, SearchIndex
from tests.clock import TestClock
from tests.storage.history import Market, market

FOLDER = "search"


def id_of(name: str) -> str:
    return unpack_id(name.encode().ljust(16, b"\0"))


def name_of(product_id: str) -> str:
    return pack_id(product_id).rstrip(b"\0").decode()


class Shop:
    """A market whose products have names, and the index that follows it."""

    def __init__(self, m: Market, catalogue: Database, index: SearchIndex) -> None:
        self.market, self.catalogue, self.index = m, catalogue, index

    async def list_product(self, name: str, **offer: Any) -> None:
        offer.setdefault("title", name.title())
        await self.market.list_product(id_of(name), **offer)

    async def revise(self, name: str, **changes: Any) -> None:
        await self.market.revise(id_of(name), **changes)

    async def withdraw(self, name: str, **by: Any) -> None:
        await self.market.withdraw(id_of(name), **by)

    async def sell(self, name: str, buyer: str, **facts: Any) -> str:
        return await self.market.sell(id_of(name), buyer=buyer, order_id=f"order-{name}-{buyer}", **facts)

    async def rate(self, name: str, rating: int, buyer: str = "ann", **facts: Any) -> None:
        await self.sell(name, buyer, **facts)
        await self.market.review(id_of(name), rating, by=buyer, id=f"review-{name}-{buyer}")

    async def caught_up(self) -> None:
        """Let the read models see everything, and then the index."""
        await self.market.projector.wait_reached(self.market.log.head)
        while await self.index.catch_up():
            pass

    async def find(self, q: str = "", **query: Any) -> Found:
        await self.caught_up()
        return await self.index.find(BrowseProducts(q=q, **query))

    async def found(self, q: str = "", **query: Any) -> list[str]:
        """The names of what is found, in order."""
        return [name_of(product_id) for product_id, _ in (await self.find(q, **query)).hits]


@asynccontextmanager
async def index_over(m: Market, folder: Path) -> AsyncIterator[Shop]:
    """Open the index in a folder once the read models have seen everything."""
    await m.projector.wait_reached(m.log.head)
    async with Database(folder / "read.db", SCHEMA_VERSION, "", read_only=True) as catalogue:
        index = SearchIndex(folder / FOLDER, catalogue, TestClock())
        await index.open()
        yield Shop(m, catalogue, index)


@asynccontextmanager
async def indexed(folder: Path, log: EventLog | None = None) -> AsyncIterator[Shop]:
    async with market(folder, log) as m, index_over(m, folder) as shop:
        yield shop
