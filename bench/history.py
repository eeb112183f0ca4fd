"""Logs with a past: written straight through the log, as the service would have."""

import asyncio
from pathlib import Path
from typing import NamedTuple

from bench.shop import PASSWORD
from bench.words import Sample, Words
from marketd.actors import account, order, product
from marketd.actors.account import Role, address_of
from marketd.actors.money import Money
from marketd.clock import SystemClock, new_id
from marketd.config.codecs import log_codec
from marketd.config.settings import Settings
from marketd.http.passwords import Passwords
from marketd.storage.log import Commit, Done, Meta
from marketd.storage.sqlite import SqliteLog

BATCH_COMMITS: int = 500


class Cost(NamedTuple):
    """What hashing a password costs, as Argon2 has it."""

    memory_kib: int
    time_cost: int


async def write_products(data: Path, count: int) -> Words:
    """Write a log that holds a seller and so many products; give the words that they are made of."""
    clock, words = SystemClock(), Words()
    seller_id = new_id(clock)
    async with SqliteLog(data / "events.db", log_codec()) as log:
        email = "maker@bench.example"
        registered = account.Registered(seller_id, email, "Maker", "seller", "no password", clock.now_ms())
        await log.append(str(address_of(email)), 0, [_commit(clock, registered)])
        for begin in range(0, count, BATCH_COMMITS):
            events = [
                product.Listed(seller_id, offer(words.sample()), None, (), clock.now_ms())
                for _ in range(min(BATCH_COMMITS, count - begin))
            ]
            async with asyncio.TaskGroup() as tasks:
                for event in events:
                    tasks.create_task(log.append(f"product/{new_id(clock)}", 0, [_commit(clock, event)]))
    return words


async def write_accounts(
    data: Path, count: int, *, role: Role = "buyer", name: str = "buyer", cost: Cost | None = None
) -> list[str]:
    """Add so many accounts, `buyer0@bench.example` and so on, all with the one password, to a log; give their ids."""
    clock, ids, auth = SystemClock(), list[str](), Settings().auth
    cost = cost or Cost(auth.argon2_memory_kib, auth.argon2_time_cost)
    passwords = Passwords(threads=1, queue_max=1, memory_kib=cost.memory_kib, time_cost=cost.time_cost)
    hashed = await passwords.hash(PASSWORD)
    passwords.close()
    async with SqliteLog(data / "events.db", log_codec()) as log:
        for begin in range(0, count, BATCH_COMMITS):
            async with asyncio.TaskGroup() as tasks:
                for number in range(begin, min(begin + BATCH_COMMITS, count)):
                    email = f"{name}{number}@bench.example"
                    event = account.Registered(new_id(clock), email, name, role, hashed, clock.now_ms())
                    tasks.create_task(log.append(str(address_of(email)), 0, [_commit(clock, event)]))
                    ids.append(event.user_id)
    return ids


async def write_reservations(data: Path, count: int) -> str:
    """Write a log that holds one product reserved so many times; give its id."""
    clock = SystemClock()
    product_id = new_id(clock)
    async with SqliteLog(data / "events.db", log_codec()) as log:
        listed = product.Listed(new_id(clock), offer(Words().sample()), None, (), clock.now_ms())
        await log.append(f"product/{product_id}", 0, [_commit(clock, listed)])
        for done in range(0, count, BATCH_COMMITS):
            commits = [_commit(clock, product.Reserved(new_id(clock), None)) for _ in range(min(BATCH_COMMITS, count))]
            await log.append(f"product/{product_id}", done + 1, commits)
    return product_id


async def write_sales(data: Path, count: int) -> None:
    """Write a log that holds so many completed orders of one product."""
    clock = SystemClock()
    buyer_id, seller_id, product_id = (new_id(clock) for _ in range(3))
    price, at = Money(1999, "USD"), clock.now_ms()
    placed = order.Placed(buyer_id, seller_id, product_id, "Something to sell", price, "pm_card_visa", at)
    rest = (order.StockReserved(None, at), order.Delivered(at), order.BuyerNotified(at), order.Completed(at))
    async with SqliteLog(data / "events.db", log_codec()) as log:
        for begin in range(0, count, BATCH_COMMITS):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(BATCH_COMMITS, count - begin)):
                    commits = [_commit(clock, *events) for events in ((placed,), (order.Paid(at),), rest)]
                    tasks.create_task(log.append(f"order/{new_id(clock)}", 0, commits))


def offer(made: Sample) -> product.Offer:
    """Make what a seller lists."""
    files = (product.File("a.zip", "application/zip", 10, "https://files.example/a.zip"),)
    return product.Offer(made.title, made.description, Money(made.cents, "USD"), made.category, files)


def _commit(clock: SystemClock, *events: object) -> Commit:
    return Commit(new_id(clock), clock.now_ms(), events, Done(), Meta())
