"""Sales: one row for each completed sale, and the count of them for each product."""

from typing import Final

from marketd.actors import order
from marketd.actors.address import Address
from marketd.storage.database import Connection
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
}
INDEXES: Final = (
    "CREATE INDEX sales_by_product ON sales(product_id, completed_at)",
    "CREATE INDEX sales_by_buyer ON sales(buyer_id, completed_at)",
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
                db.execute("UPDATE sales SET completed_at = ? WHERE order_id = ?", (at, order_id))
                _count(db, record.position, order_id, 1)
            case order.Refunded(at):
                db.execute("UPDATE sales SET refunded_at = ? WHERE order_id = ?", (at, order_id))
                _count(db, record.position, order_id, -1)
            case order.Failed() | order.FailedWithAlert():
                db.execute("DELETE FROM sales WHERE order_id = ? AND completed_at IS NULL", (order_id,))


def _count(db: Connection, position: int, order_id: str, change: int) -> None:
    db.execute(
        """
        INSERT INTO product_sales SELECT product_id, ?, ? FROM sales WHERE order_id = ?
        ON CONFLICT DO UPDATE SET orders = orders + excluded.orders, position = excluded.position
        """,
        (change, position, order_id),
    )


SALES: Final = ReadModel("sales", 2, TABLES, apply, {}, INDEXES)
