"""The library: what each buyer owns."""

from typing import Final

from msgspec import Struct

from marketd.actors import buyer
from marketd.actors.address import Address
from marketd.clock import Instant, instant
from marketd.storage.database import Connection, Row
from marketd.storage.log import Recorded
from marketd.storage.pages import Page
from marketd.storage.projector import ReadModel


class ReadLibrary(Struct, frozen=True, tag="library"):
    """The newest first."""

    buyer_id: str
    page: Page = Page()


class LibraryEntry(Struct, frozen=True, rename="camel"):
    """One owned product, by its present title, and the order that brought it."""

    product_id: str
    order_id: str
    title: str
    seller_id: str
    seller_name: str
    acquired_at: Instant


class Library(Struct, frozen=True, tag="library.page"):
    total: int
    entries: list[LibraryEntry]


TABLES: Final = {
    "library": """
        CREATE TABLE library(
            buyer_id TEXT NOT NULL,
            product_id TEXT NOT NULL,
            order_id TEXT NOT NULL,
            seller_id TEXT NOT NULL,
            acquired_at INTEGER NOT NULL,
            PRIMARY KEY (buyer_id, product_id)
        ) STRICT, WITHOUT ROWID
    """
}


def apply(db: Connection, record: Recorded) -> None:
    """Take in one record."""
    buyer_id = Address.parse(record.stream).key
    for event in record.commit.events:
        match event:
            case buyer.Granted(order_id, product_id, seller_id):
                row = (buyer_id, product_id, order_id, seller_id, record.commit.at)
                db.execute("INSERT INTO library VALUES(?,?,?,?,?)", row)
            case buyer.Revoked(_, product_id):
                db.execute("DELETE FROM library WHERE buyer_id = ? AND product_id = ?", (buyer_id, product_id))


def read(db: Connection, query: ReadLibrary) -> Library:
    """Give one page of what a buyer owns."""
    (total,) = db.execute("SELECT count(*) FROM library WHERE buyer_id = ?", (query.buyer_id,)).fetchone()
    rows = db.execute(
        """
        SELECT l.product_id, l.order_id, coalesce(p.title, ''), l.seller_id, coalesce(s.name, ''), l.acquired_at
        FROM library l LEFT JOIN products p ON p.product_id = l.product_id LEFT JOIN people s ON s.user_id = l.seller_id
        WHERE l.buyer_id = ? ORDER BY l.acquired_at DESC, l.product_id LIMIT ? OFFSET ?
        """,
        (query.buyer_id, *query.page.bounds),
    )
    return Library(total, [_entry(row) for row in rows])


def _entry(row: Row) -> LibraryEntry:
    product_id, order_id, title, seller_id, seller_name, acquired_at = row
    return LibraryEntry(product_id, order_id, title, seller_id, seller_name, instant(acquired_at))


LIBRARY: Final = ReadModel("library", 1, TABLES, apply, {ReadLibrary: read}, kind=buyer.BUYER.kind)
