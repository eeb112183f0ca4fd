"""
Regulars: how many have bought of a seller, and how many of them came back.

This model was added when there were stores already, and is fed from their first sale: what the projector has not seen
under this name, it makes from the beginning of the log. It is what another question would look like, too.
"""

from typing import Final

from msgspec import Struct

from marketd.actors import buyer
from marketd.actors.address import Address
from marketd.storage.database import Connection
from marketd.storage.log import Recorded
from marketd.storage.projector import ReadModel


class CountBuyers(Struct, frozen=True, tag="buyers"):
    seller_id: str


class Buyers(Struct, frozen=True, tag="regulars.buyers"):
    """Who bought at all, and who of them bought more than once, be it given back or not."""

    buyers: int
    returning: int


TABLES: Final = {
    "regulars": """
        CREATE TABLE regulars(
            seller_id TEXT NOT NULL,
            buyer_id TEXT NOT NULL,
            orders INTEGER NOT NULL,
            PRIMARY KEY (seller_id, buyer_id)
        ) STRICT, WITHOUT ROWID
    """,
    "seller_regulars": """
        CREATE TABLE seller_regulars(
            seller_id TEXT PRIMARY KEY,
            buyers INTEGER NOT NULL,
            returning_buyers INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
    """,
}


def apply(db: Connection, record: Recorded) -> None:
    """Take in one record. What is granted is sold: who turns back after that is refunded, but for one in a crash."""
    for event in record.commit.events:
        match event:
            case buyer.Granted(_, _, seller_id):
                _bought(db, seller_id, Address.parse(record.stream).key)


def _bought(db: Connection, seller_id: str, buyer_id: str) -> None:
    (orders,) = db.execute(
        """
        INSERT INTO regulars VALUES(?,?,1) ON CONFLICT DO UPDATE SET orders = orders + 1 RETURNING orders
        """,
        (seller_id, buyer_id),
    ).fetchone()
    db.execute(
        """
        INSERT INTO seller_regulars VALUES(?,?,?) ON CONFLICT DO UPDATE SET buyers = buyers + excluded.buyers,
        returning_buyers = returning_buyers + excluded.returning_buyers
        """,
        (seller_id, orders == 1, orders == 2),
    )


def count(db: Connection, query: CountBuyers) -> Buyers:
    """Count them."""
    text = "SELECT buyers, returning_buyers FROM seller_regulars WHERE seller_id = ?"
    return Buyers(*(db.execute(text, (query.seller_id,)).fetchone() or (0, 0)))


REGULARS: Final = ReadModel("regulars", 1, TABLES, apply, {CountBuyers: count}, kind=buyer.BUYER.kind)
