"""
What the index reads from the catalogue: what has changed, the texts, and what is to be seen of a product.

`Database.run` each of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from marketd.storage import catalog
from marketd.storage.database import Connection, Row
from marketd.storage.inverted import Segment, Text
from marketd.storage.shelf import Shelf

BATCH_TEXTS_MAX: Final = 10_000  # one segment: who builds the index gets few
WHOLE_CATALOGUE: Final = 5_000  # a segment of more documents reads its facts in one go
TITLES_MAX: Final = 2_000  # so many that have a stop word in their title are found by it, the newest

FACTS: Final = """
    SELECT p.id, p.product_id, p.seller_id, p.category, p.thousandths, p.created_at, coalesce(r.points, 0),
           coalesce(r.reviews, 0), coalesce(b.orders, 0)
    FROM products p LEFT JOIN product_ratings r ON r.product_id = p.product_id
    LEFT JOIN product_sales b ON b.product_id = p.product_id
"""


class Changes(NamedTuple):
    """What has changed up to a log position: texts, keys that are gone, (key, points, reviews), (key, orders)."""

    position: int
    texts: list[Text]
    gone: list[int]
    ratings: list[Row]
    sales: list[Row]


def reached(db: Connection) -> int:
    """Say how far those of the read models have come that are not halted."""
    models = "name IN ('catalog', 'reviews', 'sales') AND halted IS NULL"
    return int(db.execute(f"SELECT coalesce(min(position), 0) FROM models WHERE {models}").fetchone()[0])


def changes(db: Connection, after: int) -> Changes | None:
    """Give what has changed beyond a log position, as far as one batch goes; None where nothing has."""
    until = reached(db)
    if until <= after:
        return None
    columns = "position, is_active, id, title, description, category"
    page = f"SELECT {columns} FROM products WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
    rows = db.execute(page, (after, until, BATCH_TEXTS_MAX)).fetchall()
    if len(rows) == BATCH_TEXTS_MAX:
        until = rows[-1][0]
    changed = "FROM {0} c JOIN products p ON p.product_id = c.product_id WHERE c.position > ? AND c.position <= ?"
    bounds = (after, until)
    return Changes(
        until,
        [Text(*row[2:]) for row in rows if row[1]],
        [row[2] for row in rows if not row[1]],
        db.execute(f"SELECT p.id, c.points, c.reviews {changed.format('product_ratings')}", bounds).fetchall(),
        db.execute(f"SELECT p.id, c.orders {changed.format('product_sales')}", bounds).fetchall(),
    )


def cards(db: Connection, product_ids: Sequence[str]) -> dict[str, bytes]:
    """Write those of the products that are still to be had."""
    return {card.id: catalog.shown(card) for card in catalog.read(db, product_ids) if card.status == "active"}


def shelf(db: Connection, segment: Segment) -> Shelf:
    """Make a segment's shelf, row by row: all rows at once would take more memory than the shelf."""
    if segment.count > WHOLE_CATALOGUE:
        return Shelf(segment, db.execute(FACTS))
    marks = ",".join("?" * segment.count)
    return Shelf(segment, db.execute(f"{FACTS} WHERE p.id IN ({marks})", segment.keys))


def text(db: Connection, product_id: str) -> str | None:
    row = db.execute("SELECT title || ' ' || category FROM products WHERE product_id = ?", (product_id,)).fetchone()
    return str(row[0]) if row else None


def titled(db: Connection, words: Sequence[str]) -> list[int]:
    match = " ".join(["title : (", *(f'"{word}"' for word in words), ")"])
    rows = db.execute(
        "SELECT rowid FROM products_words WHERE products_words MATCH ? ORDER BY rowid DESC LIMIT ?",
        (match, TITLES_MAX),
    )
    return [row[0] for row in rows]


def texts(db: Connection, keys: Sequence[int]) -> list[tuple[int, str]]:
    marks = ",".join("?" * len(keys))
    return db.execute(f"SELECT id, title || ' _ ' || description FROM products WHERE id IN ({marks})", keys).fetchall()
