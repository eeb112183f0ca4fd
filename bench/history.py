"""Logs with a past: written straight through the log, as the service would have."""

from pathlib import Path

from marketd.actors import account, product
from marketd.actors.account import address_of
from marketd.actors.money import Money
from marketd.clock import SystemClock, new_id
from marketd.config.wiring import log_codec
from marketd.storage.log import Commit, Done, Meta
from marketd.storage.sqlite import SqliteLog

BATCH_COMMITS: int = 500


async def write_products(data: Path, count: int) -> None:
    """Write a log that holds a seller and so many products."""
    clock = SystemClock()
    seller_id = new_id(clock)
    async with SqliteLog(data / "events.db", log_codec()) as log:
        email = "seller@bench.example"
        registered = account.Registered(seller_id, email, "Seller", "seller", "no password", clock.now_ms())
        await log.append(str(address_of(email)), 0, [_commit(clock, registered)])
        for number in range(count):
            listed = product.Listed(seller_id, _offer(number), None, (), clock.now_ms())
            await log.append(f"product/{new_id(clock)}", 0, [_commit(clock, listed)])


async def write_reservations(data: Path, count: int) -> str:
    """Write a log that holds one product reserved so many times; give its id."""
    clock = SystemClock()
    product_id = new_id(clock)
    async with SqliteLog(data / "events.db", log_codec()) as log:
        listed = product.Listed(new_id(clock), _offer(0), None, (), clock.now_ms())
        await log.append(f"product/{product_id}", 0, [_commit(clock, listed)])
        for done in range(0, count, BATCH_COMMITS):
            commits = [_commit(clock, product.Reserved(new_id(clock), None)) for _ in range(min(BATCH_COMMITS, count))]
            await log.append(f"product/{product_id}", done + 1, commits)
    return product_id


def _offer(number: int) -> product.Offer:
    files = (product.File("a.zip", "application/zip", 10, "https://files.example/a.zip"),)
    words = "What it is, and what it is good for, in some eighty words. " * 6
    return product.Offer(f"Product {number}", words, Money(999, "USD"), f"category-{number % 12}", files)


def _commit(clock: SystemClock, event: object) -> Commit:
    return Commit(new_id(clock), clock.now_ms(), (event,), Done(), Meta())
