"""A seller's year: a million sales, asked for by day, beside a bare server that gives the same bytes."""

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Figure, spread
from bench.load import Connection, Rate, measure, request
from bench.processes import Running, bare, service
from bench.shop import Person
from bench.words import Words
from marketd.actors import buyer, order, product
from marketd.actors.money import Money
from marketd.clock import SystemClock, id_of, instant
from marketd.config.folder import Folder
from marketd.storage.catalog import CATALOG
from marketd.storage.log import Commit, Done, Meta, Recorded
from marketd.storage.reviews import REVIEWS
from marketd.storage.sales import SALES

SALES_STORED: Final = 1_000_000
PRODUCTS: Final = 1_000
BUYERS: Final = 200_000
REVIEWS_STORED: Final = 100_000
REFUNDED: Final = 0.03
YEAR_MS: Final = 365 * 24 * 60 * 60 * 1000
ROUNDS: Final = 5
ROUND_S: Final = 2.0
ZONES: Final = ("UTC", "Asia/Kathmandu")


async def analytics(folder: Path) -> list[Figure]:
    """`GET /analytics/sales` of a year by day, from read models that hold a million sales of one seller."""
    async with service(folder / "data") as running:
        seller = await Person.join(running.host, running.port, "seller", "seller")
        seller_id = (await seller.call("GET", "/auth/me"))["userId"]
    until_ms = SystemClock().now_ms()
    _fill(Folder(folder / "data").reads, seller_id, until_ms)
    figures: list[Figure] = []
    async with service(folder / "data", MARKETD_SEARCH__ENABLED="false") as running:
        seller = await Person.sign_in(running.host, running.port, "seller")
        for zone in ZONES:
            figures += await _year(folder, running, seller, zone)
    return figures


async def _year(folder: Path, running: Running, seller: Person, zone: str) -> list[Figure]:
    """Ask one after the other, as a dashboard does; and for the reference, in turns."""
    wanted = request("GET", _path(zone), Authorization=f"Bearer {seller.token}")
    shown = await seller.connection.send(wanted)
    report = json.loads(shown.body)
    assert shown.status == 200 and len(report["series"]) in (365, 366), shown
    (folder / "body").write_bytes(shown.body)
    ours, theirs = list[Rate](), list[Rate]()
    async with bare(folder / "body") as reference:
        for _ in range(ROUNDS):
            ours.append(await _asked(running, wanted))
            theirs.append(await _asked(reference, request("GET", "/body")))
    beside = f"bare aiohttp, the same {len(shown.body)} bytes: {median(b.p50_ms for b in theirs):.2g} ms"
    sums = f"{report['totals']['orders']:,} orders of {PRODUCTS:,} products in the year"
    name = f"a year's sales by day, {zone}"
    return [
        Figure(f"{name}, p50", median(a.p50_ms for a in ours), "ms", spread([a.p50_ms for a in ours]), beside, ""),
        Figure(
            f"{name}, p99", median(a.p99_ms for a in ours), "ms", spread([a.p99_ms for a in ours]), sums, "at most 50"
        ),
    ]


def _path(zone: str) -> str:
    today = SystemClock().now_ms()
    first, last = (_day(ms) for ms in (today - YEAR_MS + 24 * 60 * 60 * 1000, today))
    return f"/analytics/sales?from={first}&to={last}&interval=day&timezone={zone}"


def _day(ms: int) -> str:
    return f"{instant(ms):%Y-%m-%d}"


async def _asked(running: Running, wanted: bytes) -> Rate:
    async def once(connection: Connection, number: int) -> None:
        answer = await connection.send(wanted)
        assert answer.status == 200, answer

    return await measure(running.host, running.port, connections=1, seconds=ROUND_S, work=once)


def _fill(path: Path, seller_id: str, until_ms: int) -> None:
    """Let the read models take in what a year of a busy seller leaves in the log, without the log."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        for model, records in ((CATALOG, _listed(seller_id, until_ms)), (SALES, _sold(seller_id, until_ms))):
            for record in records:
                model.apply(db, record)
        for record in _reviewed(seller_id, until_ms):
            REVIEWS.apply(db, record)
        db.execute("COMMIT")


def _listed(seller_id: str, until_ms: int) -> Iterator[Recorded]:
    words, files = Words(), (product.File("a.zip", "application/zip", 10, "https://files.example/a.zip"),)
    for number in range(PRODUCTS):
        made = words.sample()
        offer = product.Offer(made.title, made.description, Money(made.cents, "USD"), made.category, files)
        yield _record(f"product/{_id(number)}", product.Listed(seller_id, offer, None, (), until_ms - YEAR_MS))


def _sold(seller_id: str, until_ms: int) -> Iterator[Recorded]:
    """Sales in no order of time, which costs the tables more than in order."""
    chance = random.Random(1)
    for number in range(SALES_STORED):
        at, price = until_ms - chance.randrange(YEAR_MS), Money(chance.randrange(100, 10_000), "USD")
        buyer_id, product_id = f"b{chance.randrange(BUYERS)}", _id(chance.randrange(PRODUCTS))
        events: list[order.Event] = [
            order.Placed(buyer_id, seller_id, product_id, "", price, "pm_card_visa", at),
            order.Completed(at),
        ]
        if chance.random() < REFUNDED:
            events.append(order.Refunded(min(at + chance.randrange(YEAR_MS // 20), until_ms)))
        yield _record(f"order/o{number}", *events)


def _reviewed(seller_id: str, until_ms: int) -> Iterator[Recorded]:
    chance = random.Random(2)
    for number in range(REVIEWS_STORED):
        review = buyer.Review(f"r{number}", chance.randint(1, 5), "Fine", "It works.")
        product_id, at = _id(chance.randrange(PRODUCTS)), until_ms - chance.randrange(YEAR_MS)
        yield _record(f"buyer/b{number}", buyer.Reviewed(product_id, seller_id, review, at))


def _id(number: int) -> str:
    return id_of(number, bytes(10))


def _record(stream: str, *events: object) -> Recorded:
    return Recorded(1, stream, 1, Commit(stream, 0, events, Done(), Meta()))
