"""
Earnings: what a seller took in a time, period by period, read from the tables of `sales.py` and `reviews.py`.

Whoever asks says where the periods begin, so nothing here knows a calendar or a time zone. Sums are exact at any
boundary: whole quarters of an hour are summed already, what lies at the ragged ends is read sale by sale.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

from marketd.clock import DAY_MS
from marketd.storage.database import Connection
from marketd.storage.reviews import average, histogram

QUARTER_MS: Final = 15 * 60 * 1000
LEVELS: Final = (1, 8, 64)  # so many days are one block of a product's sums; see `blocks`
TOP_PRODUCTS: Final = 10
CURRENCY_USUAL: Final = "USD"
TAKINGS: Final = """
    SELECT sum(orders), sum(revenue), sum(refunds) FROM takings
    WHERE seller_id = ? AND currency = ? AND quarter >= ? AND quarter < ?
"""
SOLD: Final = """
    SELECT count(*), coalesce(sum(minor), 0) FROM sales
    WHERE seller_id = ? AND {0} >= ? AND {0} < ? AND currency = ?
"""


class ReadEarnings(Struct, frozen=True, tag="earnings"):
    """
    Ask what a seller took between the first and the last of `bounds` (ms since the epoch, rising), and from each to the
    next; without a currency, in the one with the most orders.
    """

    seller_id: str
    bounds: tuple[int, ...]
    currency: str | None = None


class Taking(Struct, frozen=True):
    """What came in and what was given back, in minor units."""

    orders: int = 0
    revenue: int = 0
    refunds: int = 0


NOTHING: Final = Taking()


class TopProduct(Struct, frozen=True):
    product_id: str
    title: str
    orders: int
    revenue: int


class Earnings(Struct, frozen=True, tag="sales.earnings"):
    """
    `takings` has one for each period; `all_orders` counts those in all `currencies` that there were any in, the most
    used first. `histogram` counts the reviews that were written in the time.
    """

    currency: str
    currencies: list[str]
    takings: list[Taking]
    all_orders: int
    top: list[TopProduct]
    histogram: dict[str, int]

    @property
    def reviews(self) -> int:
        """How many there were."""
        return sum(self.histogram.values())

    @property
    def average(self) -> float:
        """Their mean rating; 0 for none."""
        return average(sum(int(rating) * count for rating, count in self.histogram.items()), self.reviews)


class FindNewest(Struct, frozen=True, tag="newest-sale"):
    seller_id: str


class Newest(Struct, frozen=True, tag="sales.newest"):
    """The position of the record that last completed or refunded a sale of a seller; 0 where there is none."""

    position: int


def read(db: Connection, query: ReadEarnings) -> Earnings:
    """Add up."""
    seller_id, since, until = query.seller_id, query.bounds[0], query.bounds[-1]
    known = [currency for (currency,) in db.execute("SELECT currency FROM tills WHERE seller_id = ?", (seller_id,))]
    takings = {currency: _takings(db, seller_id, currency, query.bounds) for currency in known}
    orders = {
        currency: sum(taking.orders for taking in taken)
        for currency, taken in takings.items()
        if any(taking != NOTHING for taking in taken)
    }
    currencies = sorted(orders, key=lambda currency: (-orders[currency], currency))
    currency = query.currency or (currencies[0] if currencies else _listed_in(db, seller_id))
    return Earnings(
        currency=currency,
        currencies=currencies,
        takings=takings.get(currency) or [NOTHING] * (len(query.bounds) - 1),
        all_orders=sum(orders.values()),
        top=_top(db, seller_id, currency, since, until),
        histogram=histogram(db, seller_id, since, until),
    )


def newest(db: Connection, query: FindNewest) -> Newest:
    """Find where a seller's till was last opened."""
    (position,) = db.execute("SELECT max(position) FROM tills WHERE seller_id = ?", (query.seller_id,)).fetchone()
    return Newest(position or 0)


def blocks(first: int, end: int) -> Iterator[tuple[int, int, int]]:
    """
    Cover the days from `first` up to `end` by as few blocks as there are, as (days of a block, first block, end block):
    a year is some ten blocks of 64 days, and at most fourteen of 8 and as many of 1 at its two ends.
    """
    for days, larger in zip(LEVELS, (*LEVELS[1:], None), strict=True):
        if larger is None:
            break
        head, tail = -(-first // larger) * larger, end // larger * larger
        if head >= tail:
            break
        if first < head:
            yield days, first // days, head // days
        if tail < end:
            yield days, tail // days, end // days
        first, end = head, tail
    if first < end:
        yield days, first // days, end // days


def _takings(db: Connection, seller_id: str, currency: str, bounds: Sequence[int]) -> list[Taking]:
    """Add up each period."""
    taken = []
    for begin, end in pairwise(bounds):
        first, last = -(-begin // QUARTER_MS), end // QUARTER_MS
        if first > last:  # within one quarter
            taken.append(_sold(db, seller_id, currency, begin, end))
            continue
        row = db.execute(TAKINGS, (seller_id, currency, first, last)).fetchone()
        period = Taking(*row) if row[0] is not None else NOTHING
        for begins, ends in ((begin, first * QUARTER_MS), (last * QUARTER_MS, end)):
            if begins < ends:
                period = _sum(period, _sold(db, seller_id, currency, begins, ends))
        taken.append(period)
    return taken


def _sold(db: Connection, seller_id: str, currency: str, begin: int, end: int) -> Taking:
    """Add up a short time, sale by sale."""
    stretch = (seller_id, begin, end, currency)
    orders, revenue = db.execute(SOLD.format("completed_at"), stretch).fetchone()
    _, refunds = db.execute(SOLD.format("refunded_at"), stretch).fetchone()
    return Taking(orders, revenue, refunds)


def _sum(one: Taking, other: Taking) -> Taking:
    return Taking(one.orders + other.orders, one.revenue + other.revenue, one.refunds + other.refunds)


def _top(db: Connection, seller_id: str, currency: str, begin: int, end: int) -> list[TopProduct]:
    """Give the products with the most revenue."""
    first, last = -(-begin // DAY_MS), end // DAY_MS
    parts, values = list[str](), list[str | int]()
    for days, block, block_end in blocks(first, last):
        parts.append(
            "SELECT product_id, orders, revenue FROM product_takings"
            " WHERE seller_id = ? AND currency = ? AND days = ? AND block >= ? AND block < ?"
        )
        values += [seller_id, currency, days, block, block_end]
    ragged = [(begin, first * DAY_MS), (last * DAY_MS, end)] if first <= last else [(begin, end)]
    for begins, ends in ragged:
        parts.append(
            "SELECT product_id, 1 AS orders, minor AS revenue FROM sales"
            " WHERE seller_id = ? AND completed_at >= ? AND completed_at < ? AND currency = ?"
        )
        values += [seller_id, begins, ends, currency]
    rows = db.execute(
        f"""
        SELECT t.product_id, coalesce(p.title, ''), t.orders, t.revenue FROM (
            SELECT product_id, sum(orders) AS orders, sum(revenue) AS revenue FROM ({" UNION ALL ".join(parts)})
            GROUP BY product_id ORDER BY revenue DESC, orders DESC, product_id LIMIT ?
        ) t LEFT JOIN products p ON p.product_id = t.product_id
        ORDER BY t.revenue DESC, t.orders DESC, t.product_id
        """,
        (*values, TOP_PRODUCTS),
    )
    return [TopProduct(*row) for row in rows]


def _listed_in(db: Connection, seller_id: str) -> str:
    """Say what a seller who sold nothing lists things in."""
    text = "SELECT currency FROM products WHERE seller_id = ? ORDER BY created_at DESC LIMIT 1"
    row = db.execute(text, (seller_id,)).fetchone()
    return str(row[0]) if row else CURRENCY_USUAL
