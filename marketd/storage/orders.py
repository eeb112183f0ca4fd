"""Orders: each as its own aggregate sees it, in lists for its buyer, its seller, and the operator."""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from marketd.actors import order
from marketd.actors.address import Address
from marketd.storage.database import Connection
from marketd.storage.log import Recorded
from marketd.storage.pages import Page
from marketd.storage.projector import ReadModel


class ListOrders(Struct, frozen=True, tag="orders"):
    """What somebody bought or sold, the newest first."""

    user_id: str
    role: Literal["buyer", "seller"]
    page: Page = Page()


class ListAlerts(Struct, frozen=True, tag="alerts"):
    """Orders whose payment could not go back, open alerts first, then the newest."""

    page: Page = Page()


class OrderEntry(Struct, frozen=True):
    order_id: str
    view: order.View


class OrderPage(Struct, frozen=True, tag="orders.page"):
    total: int
    orders: list[OrderEntry]


TABLES: Final = {
    "orders": """
        CREATE TABLE orders(
            order_id TEXT PRIMARY KEY,
            buyer_id TEXT NOT NULL,
            seller_id TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            alert TEXT CHECK (alert IN ('open', 'resolved')),
            state TEXT NOT NULL
        ) STRICT
    """
}
INDEXES: Final = (
    "CREATE INDEX orders_by_buyer ON orders(buyer_id, created_at)",
    "CREATE INDEX orders_by_seller ON orders(seller_id, created_at)",
    "CREATE INDEX orders_by_alert ON orders(alert, created_at) WHERE alert IS NOT NULL",
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[order.State] = msgspec.json.Decoder(order.State)


def apply(db: Connection, record: Recorded) -> None:
    """Take in one record, by the aggregate's own `evolve`."""
    order_id = Address.parse(record.stream).key
    if not record.commit.events:
        return
    row = db.execute("SELECT state FROM orders WHERE order_id = ?", (order_id,)).fetchone()
    state: order.State = _decoder.decode(row[0]) if row else order.ORDER.initial
    for event in record.commit.events:
        state = order.evolve(state, event)
    assert not isinstance(state, order.Absent)
    alert = None
    if isinstance(state, order.Owing):
        alert = "resolved" if state.resolved_by else "open"
    db.execute(
        """
        INSERT INTO orders VALUES(?,?,?,?,?,?)
        ON CONFLICT DO UPDATE SET alert = excluded.alert, state = excluded.state
        """,
        (
            order_id,
            state.placed.buyer_id,
            state.placed.seller_id,
            state.placed.at,
            alert,
            _encoder.encode(state).decode(),
        ),
    )


def browse(db: Connection, query: ListOrders) -> OrderPage:
    """Give one page of a person's orders."""
    where = f"{query.role}_id = ?"
    return _page(db, where, (query.user_id,), "created_at DESC, order_id DESC", query.page)


def alerts(db: Connection, query: ListAlerts) -> OrderPage:
    """Give one page of the alerts."""
    return _page(db, "alert IS NOT NULL", (), "alert, created_at DESC, order_id DESC", query.page)


def count_open_alerts(db: Connection, query: None) -> int:
    """Count the alerts that nobody has seen to."""
    (count,) = db.execute("SELECT count(*) FROM orders WHERE alert = 'open'").fetchone()
    return int(count)


def _page(db: Connection, where: str, parameters: tuple[str, ...], by: str, page: Page) -> OrderPage:
    (total,) = db.execute(f"SELECT count(*) FROM orders WHERE {where}", parameters).fetchone()
    rows = db.execute(
        f"SELECT order_id, state FROM orders WHERE {where} ORDER BY {by} LIMIT ? OFFSET ?", (*parameters, *page.bounds)
    )
    return OrderPage(total, [OrderEntry(order_id, _view(state)) for order_id, state in rows])


def _view(packed: str) -> order.View:
    state = _decoder.decode(packed)
    assert not isinstance(state, order.Absent)
    return order.view(state)


ORDERS: Final = ReadModel(
    "orders", 3, TABLES, apply, {ListOrders: browse, ListAlerts: alerts}, INDEXES, order.ORDER.kind
)
