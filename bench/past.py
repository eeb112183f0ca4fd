"""
A shop with a past: as many events as one wants, as the service would have written them, purchase by purchase.

They go through the log's own encoders, so a record is as large as a real one. Whoever follows the log has been told of
everything: it is a shop that was stopped when it had nothing to do.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.history import offer, write_accounts
from bench.words import Words
from marketd.actors import buyer, order, product
from marketd.actors.money import Money
from marketd.clock import SystemClock, new_id
from marketd.config.codecs import log_codec
from marketd.storage.log import Commit, Done, Meta
from marketd.storage.sqlite import SqliteLog

PRODUCTS: Final = 2_000
BUYERS: Final = 5_000
FOLLOWERS: Final = ("fulfilment", "notices.email", "notices.push", "postman", "relay")
EVENTS_A_PURCHASE: Final = 9
PURCHASES_AT_ONCE: Final = 500
COMMITS_MAX: Final = 10_000
PRICE: Final = Money(1999, "USD")
TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


async def write_past(data: Path, events: int) -> None:
    """Write a log of so many events: people, products, and completed purchases."""
    clock = SystemClock()
    buyers = await write_accounts(data, BUYERS)
    (seller_id, *_) = await write_accounts(data, 1, role="seller", name="maker")
    async with SqliteLog(
        data / "events.db", log_codec(), batch_commits_max=COMMITS_MAX, queue_commits_max=COMMITS_MAX
    ) as log:
        words, products = Words(), [new_id(clock) for _ in range(PRODUCTS)]
        await _appended(log, _listed(clock, seller_id, words, products))
        sold, bought = dict.fromkeys(products, 1), dict.fromkeys(buyers, 0)
        count = (events - BUYERS - 1 - PRODUCTS) // EVENTS_A_PURCHASE
        for begin in range(0, count, PURCHASES_AT_ONCE):
            appends: list[tuple[str, int, list[Commit]]] = []
            for number in range(begin, min(begin + PURCHASES_AT_ONCE, count)):
                who, what = buyers[number % BUYERS], products[(number // BUYERS + number % BUYERS * 17) % PRODUCTS]
                appends += _purchase(clock, seller_id, who, bought[who], what, sold[what])
                bought[who] += 2
                sold[what] += 1
            await _appended(log, appends)
        for name in FOLLOWERS:
            log.offer_checkpoint(name, log.head)


async def _appended(log: SqliteLog, appends: list[tuple[str, int, list[Commit]]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for stream, version, commits in appends:
            tasks.create_task(log.append(stream, version, commits))


def _listed(
    clock: SystemClock, seller_id: str, words: Words, products: list[str]
) -> list[tuple[str, int, list[Commit]]]:
    listed = (product.Listed(seller_id, offer(words.sample()), None, (), clock.now_ms()) for _ in products)
    return [
        (f"product/{product_id}", 0, [_commit(clock, seller_id, event)])
        for product_id, event in zip(products, listed, strict=True)
    ]


def _purchase(
    clock: SystemClock, seller_id: str, buyer_id: str, bought: int, product_id: str, sold: int
) -> Iterator[tuple[str, int, list[Commit]]]:
    """What one purchase appends, stream by stream: eight records, nine events."""
    order_id, at, by = new_id(clock), clock.now_ms(), "fulfilment"
    placed = order.Placed(buyer_id, seller_id, product_id, "Something to sell", PRICE, "pm_card_visa", at)
    steps: list[tuple[object, ...]] = [
        (order.Paid(at),),
        (order.StockReserved(None, at),),
        (order.Delivered(at),),
        (order.BuyerNotified(at), order.Completed(at)),
    ]
    claimed, granted = buyer.Claimed(order_id, product_id), buyer.Granted(order_id, product_id, seller_id)
    yield f"buyer/{buyer_id}", bought, [_commit(clock, buyer_id, claimed), _commit(clock, by, granted)]
    yield f"product/{product_id}", sold, [_commit(clock, by, product.Reserved(order_id, None))]
    yield f"order/{order_id}", 0, [_commit(clock, buyer_id, placed), *(_commit(clock, by, *step) for step in steps)]


def _commit(clock: SystemClock, principal: str, *events: object) -> Commit:
    meta = Meta(correlation=new_id(clock), principal=principal, trace=TRACE)
    return Commit(new_id(clock), clock.now_ms(), events, Done(), meta)
