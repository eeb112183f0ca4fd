"""
Sales: one row for each completed sale, the count of them for each product, and what each seller took, by the quarter of
an hour and by the day.

Quarters of an hour, because every time zone begins its days at one. A refund counts when it happens, and takes nothing
back from the time of the sale. What it comes to for a seller is asked of `earnings.py`.
"""

from typing import Final

from marketd.actors import order
from marketd.actors.address import Address
from marketd.clock import DAY_MS
from marketd.storage.database import Connection, Row
from marketd.storage.earnings import LEVELS, QUARTER_MS, FindNewest, ReadEarnings, newest, read
from marketd.storage.log import Recorded
from marketd.storage.projector import ReadModel

TABLES: Final = {
    "sales": """
        CREATE TABLE sales(
            order_id TEXT PRIMARY KEY,
            product_id TEXT NOT NULL,
            seller_id TEXT NOT NULL,
            buyer_id TEXT NOT NULL,
            minor INTEGER NOT NULL,
            currency TEXT NOT NULL,
            completed_at INTEGER,
            refunded_at INTEGER
        ) STRICT, WITHOUT ROWID
    """,
    "product_sales": """
        CREATE TABLE product_sales(
            product_id TEXT PRIMARY KEY,
            orders INTEGER NOT NULL,
            position INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
    """,
    "takings": """
        CREATE TABLE takings(
            seller_id TEXT NOT NULL,
            currency TEXT NOT NULL,
            quarter INTEGER NOT NULL,
            orders INTEGER NOT NULL,
            revenue INTEGER NOT NULL,
            refunds INTEGER NOT NULL,
            PRIMARY KEY (seller_id, currency, quarter)
        ) STRICT, WITHOUT ROWID
    """,
    "product_takings": """
        CREATE TABLE product_takings(
            seller_id TEXT NOT NULL,
            currency TEXT NOT NULL,
            days INTEGER NOT NULL,
            block INTEGER NOT NULL,
            product_id TEXT NOT NULL,
            orders INTEGER NOT NULL,
            revenue INTEGER NOT NULL,
            PRIMARY KEY (seller_id, currency, days, block, product_id)
        ) STRICT, WITHOUT ROWID
    """,
    "tills": """
        CREATE TABLE tills(
            seller_id TEXT NOT NULL,
            currency TEXT NOT NULL,
            position INTEGER NOT NULL,
            PRIMARY KEY (seller_id, currency)
        ) STRICT, WITHOUT ROWID
    """,
}
INDEXES: Final = (
    "CREATE INDEX sales_by_product ON sales(product_id, completed_at)",
    "CREATE INDEX sales_by_buyer ON sales(buyer_id, completed_at)",
    "CREATE INDEX sales_by_seller ON sales(seller_id, completed_at)",
    "CREATE INDEX sales_refunded ON sales(seller_id, refunded_at) WHERE refunded_at IS NOT NULL",
    "CREATE INDEX product_sales_by_position ON product_sales(position)",
    "CREATE INDEX product_sales_by_orders ON product_sales(orders)",
)


def apply(db: Connection, record: Recorded) -> None:
    """Take in one record. A sale that never completes leaves no row."""
    order_id = Address.parse(record.stream).key
    for event in record.commit.events:
        match event:
            case order.Placed(buyer_id, seller_id, product_id, _, price):
                row = (order_id, product_id, seller_id, buyer_id, price.minor, price.currency)
                db.execute("INSERT INTO sales VALUES(?,?,?,?,?,?,NULL,NULL)", row)
            case order.Completed(at):
                sale = _dated(db, "completed_at", at, order_id)
                _count(db, record.position, sale, 1)
                _take(db, sale, at)
            case order.Refunded(at):
                sale = _dated(db, "refunded_at", at, order_id)
                _count(db, record.position, sale, -1)
                _give_back(db, sale, at)
            case order.Failed() | order.FailedWithAlert():
                db.execute("DELETE FROM sales WHERE order_id = ? AND completed_at IS NULL", (order_id,))


def _dated(db: Connection, column: str, at: int, order_id: str) -> Row:
    """Note when it happened; give product, seller, minor units and currency of the sale."""
    text = f"UPDATE sales SET {column} = ? WHERE order_id = ? RETURNING product_id, seller_id, minor, currency"
    (sale,) = db.execute(text, (at, order_id)).fetchall()
    row: Row = sale
    return row


def _count(db: Connection, position: int, sale: Row, change: int) -> None:
    product_id, seller_id, _, currency = sale
    db.execute(
        """
        INSERT INTO product_sales VALUES(?,?,?)
        ON CONFLICT DO UPDATE SET orders = orders + excluded.orders, position = excluded.position
        """,
        (product_id, change, position),
    )
    text = "INSERT INTO tills VALUES(?,?,?) ON CONFLICT DO UPDATE SET position = excluded.position"
    db.execute(text, (seller_id, currency, position))


def _take(db: Connection, sale: Row, at: int) -> None:
    product_id, seller_id, minor, currency = sale
    _add(db, (seller_id, currency, at // QUARTER_MS, 1, minor, 0))
    for days in LEVELS:
        db.execute(
            """
            INSERT INTO product_takings VALUES(?,?,?,?,?,1,?)
            ON CONFLICT DO UPDATE SET orders = orders + 1, revenue = revenue + excluded.revenue
            """,
            (seller_id, currency, days, at // DAY_MS // days, product_id, minor),
        )


def _give_back(db: Connection, sale: Row, at: int) -> None:
    _, seller_id, minor, currency = sale
    _add(db, (seller_id, currency, at // QUARTER_MS, 0, 0, minor))


def _add(db: Connection, taking: Row) -> None:
    db.execute(
        """
        INSERT INTO takings VALUES(?,?,?,?,?,?) ON CONFLICT DO UPDATE SET orders = orders + excluded.orders,
        revenue = revenue + excluded.revenue, refunds = refunds + excluded.refunds
        """,
        taking,
    )


SALES: Final = ReadModel("sales", 3, TABLES, apply, {ReadEarnings: read, FindNewest: newest}, INDEXES, order.ORDER.kind)
