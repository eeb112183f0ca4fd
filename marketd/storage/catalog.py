"""
The catalogue: every product as people see it, found by words, filters and order.

It is also what the search index is fed from: `position` is that of the record that last changed what can be searched
for.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from math import ceil, floor
from typing import Final, Literal
from unicodedata import normalize

import msgspec
from msgspec import Struct

from marketd.actors import product
from marketd.actors.address import Address
from marketd.actors.money import Money, decimals, from_amount
from marketd.clock import Instant, instant, ms_of
from marketd.storage.database import Connection, Row
from marketd.storage.files import digest_of
from marketd.storage.log import Recorded
from marketd.storage.pages import Page
from marketd.storage.projector import ReadModel
from marketd.storage.reviews import average

TITLE_WEIGHT: Final = 3.0  # a word in the title counts so many times one in description or category
QUERY_WORDS_MAX: Final = 32
PREVIEWS: Final = "/previews/"
THOUSANDTHS: Final = 3  # prices of all currencies are compared as thousandths
PRICE_MAX: Final = Decimal(10**15)  # no bound need be above it; SQLite's integers hold it in thousandths

Sort = Literal["relevance", "newest", "price", "-price", "rating", "bestselling"]


class BrowseProducts(Struct, frozen=True, tag="products"):
    """All given conditions together; prices in the units that people write."""

    q: str = ""
    category: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    seller: str | None = None
    min_rating: Decimal | None = None
    sort: Sort = "relevance"
    page: Page = Page()

    @property
    def lowest(self) -> int | None:
        """The lowest price, in thousandths."""
        return None if self.min_price is None else ceil(_within(self.min_price).scaleb(THOUSANDTHS))

    @property
    def highest(self) -> int | None:
        """The highest price, in thousandths."""
        return None if self.max_price is None else floor(_within(self.max_price).scaleb(THOUSANDTHS))


class Rating(Struct, frozen=True):
    average: float
    count: int


class CardFile(Struct, frozen=True, omit_defaults=True):
    """A file as people see it; its address only to its seller."""

    name: str
    type: str
    size: int
    url: str | None = None


class ProductCard(Struct, frozen=True, rename="camel"):
    """A product as people see it."""

    id: str
    seller_id: str
    seller_name: str
    title: str
    description: str
    price: Decimal
    currency: str
    category: str
    files: list[CardFile]
    previews: list[product.Preview]
    status: Literal["active", "withdrawn"]
    stock: int | None
    rating: Rating
    created_at: Instant
    updated_at: Instant


class Hit(Struct, frozen=True):
    card: ProductCard
    score: float


class ProductPage(Struct, frozen=True):
    """One page, and how the whole result divides among the categories."""

    total: int
    hits: list[Hit]
    categories: dict[str, int]


TABLES: Final = {
    "products": """
        CREATE TABLE products(
            id INTEGER PRIMARY KEY,
            product_id TEXT NOT NULL UNIQUE,
            seller_id TEXT NOT NULL,
            title TEXT NOT NULL,
            description TEXT NOT NULL,
            minor INTEGER NOT NULL,
            currency TEXT NOT NULL,
            thousandths INTEGER NOT NULL,
            category TEXT NOT NULL,
            files TEXT NOT NULL,
            previews TEXT NOT NULL,
            stock INTEGER,
            is_active INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            position INTEGER NOT NULL
        ) STRICT
    """,
    "products_words": """
        CREATE VIRTUAL TABLE products_words USING fts5(
            title, description, category, prefix = '1 2 3', tokenize = 'porter unicode61 remove_diacritics 2'
        )
    """,
}
INDEXES: Final = (
    "CREATE INDEX products_by_age ON products(is_active, created_at)",
    "CREATE INDEX products_by_category ON products(category, is_active, created_at)",
    "CREATE INDEX products_by_seller ON products(seller_id, created_at)",
    "CREATE INDEX products_by_position ON products(position)",
)
CARD: Final = """
    p.product_id, p.seller_id, coalesce(s.name, ''), p.title, p.description, p.minor, p.currency, p.category, p.files,
    p.previews, p.is_active, p.stock, coalesce(r.points, 0), coalesce(r.reviews, 0), p.created_at, p.updated_at
"""
JOINED: Final = """
    products p LEFT JOIN people s ON s.user_id = p.seller_id
    LEFT JOIN product_ratings r ON r.product_id = p.product_id
"""
ORDER_BY: Final[dict[Sort, str]] = {
    "relevance": "score DESC, p.created_at DESC, p.id DESC",
    "newest": "p.created_at DESC, p.id DESC",
    "price": "p.thousandths, p.created_at DESC, p.id DESC",
    "-price": "p.thousandths DESC, p.created_at DESC, p.id DESC",
    "rating": "(r.points * 1.0 / nullif(r.reviews, 0)) DESC NULLS LAST, r.reviews DESC, p.created_at DESC, p.id DESC",
    "bestselling": "coalesce(b.orders, 0) DESC, p.created_at DESC, p.id DESC",
}

_encoder = msgspec.json.Encoder()
_cards = msgspec.json.Encoder(decimal_format="number")
_files = msgspec.json.Decoder(list[product.File])
_previews = msgspec.json.Decoder(list[product.Preview])


def apply(db: Connection, record: Recorded) -> None:
    """Take in one record."""
    product_id = Address.parse(record.stream).key
    for event in record.commit.events:
        match event:
            case product.Listed(seller_id, offer, stock, _, at):
                row = (product_id, seller_id, *_columns(offer), stock, 1, at, at, record.position)
                db.execute("INSERT INTO products VALUES(NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", row)
                db.execute(
                    "INSERT INTO products_words(rowid, title, description, category) VALUES(last_insert_rowid(),?,?,?)",
                    (offer.title, offer.description, offer.category),
                )
            case product.Revised(offer, stock, _, at):
                _revise(db, product_id, offer, (stock, at, record.position))
            case product.Withdrawn(at):
                row = (at, record.position, product_id)
                db.execute("UPDATE products SET is_active = 0, updated_at = ?, position = ? WHERE product_id = ?", row)
            case product.Held() | product.Reserved(was_held=False):
                db.execute("UPDATE products SET stock = stock - 1 WHERE product_id = ?", (product_id,))
            case product.Unheld(restocked=True) | product.Released(restocked=True):
                db.execute("UPDATE products SET stock = stock + 1 WHERE product_id = ?", (product_id,))


def _columns(offer: product.Offer) -> Row:
    price = offer.price
    thousandths = price.minor * 10 ** (THOUSANDTHS - decimals(price.currency))
    files, previews = _encoder.encode(offer.files).decode(), _encoder.encode(offer.previews).decode()
    return (
        offer.title,
        offer.description,
        price.minor,
        price.currency,
        thousandths,
        offer.category,
        files,
        previews,
    )


def _revise(db: Connection, product_id: str, offer: product.Offer, stock_at_position: Row) -> None:
    db.execute(
        """
        UPDATE products SET title = ?, description = ?, minor = ?, currency = ?, thousandths = ?, category = ?,
        files = ?, previews = ?, stock = ?, updated_at = ?, position = ? WHERE product_id = ?
        """,
        (*_columns(offer), *stock_at_position, product_id),
    )
    db.execute(
        """
        UPDATE products_words SET title = ?, description = ?, category = ?
        WHERE rowid = (SELECT id FROM products WHERE product_id = ?)
        """,
        (offer.title, offer.description, offer.category, product_id),
    )


def read(db: Connection, product_ids: Sequence[str]) -> list[ProductCard]:
    """Give those products that there are, with the addresses of their files."""
    marks = ",".join("?" * len(product_ids))
    rows = db.execute(f"SELECT {CARD} FROM {JOINED} WHERE p.product_id IN ({marks})", product_ids)
    return [_card(row) for row in rows]


def browse(db: Connection, query: BrowseProducts) -> ProductPage:
    """Give one page of what fits the query."""
    tables, where, parameters = _conditions(query)
    categories = dict(
        db.execute(
            f"SELECT p.category, count(*) FROM {tables} WHERE {where} GROUP BY p.category ORDER BY 2 DESC, 1",
            parameters,
        )
    )
    score = f"-bm25(products_words, {TITLE_WEIGHT}, 1.0, 1.0)" if "products_words" in tables else "0.0"
    rows = db.execute(
        f"""
        SELECT {CARD}, {score} AS score FROM {tables} LEFT JOIN product_sales b ON b.product_id = p.product_id
        WHERE {where} ORDER BY {ORDER_BY[query.sort]} LIMIT ? OFFSET ?
        """,
        (*parameters, *query.page.bounds),
    )
    hits = [Hit(without_addresses(_card(row[:-1])), round(row[-1], 4)) for row in rows]
    return ProductPage(sum(categories.values()), hits, categories)


def words_of(q: str) -> list[str]:
    """Cut a query into its words; whatever else is in it means nothing here."""
    return re.findall(r"\w+", normalize("NFC", q))[:QUERY_WORDS_MAX]


def _conditions(query: BrowseProducts) -> tuple[str, str, list[object]]:
    """Write the query as tables, a WHERE clause, and its parameters."""
    tables, conditions = JOINED, ["p.is_active = 1"]
    parameters: list[object] = []
    if words := words_of(query.q):
        tables = f"products_words JOIN {JOINED}"
        conditions.append("products_words MATCH ? AND p.id = products_words.rowid")
        parameters.append(" ".join(f'"{word}"' for word in words))
    elif query.q.strip():
        conditions.append("0")  # asked for something without any word in it
    for condition, value in (
        ("p.category = ?", query.category),
        ("p.seller_id = ?", query.seller),
        ("p.thousandths >= ?", query.lowest),
        ("p.thousandths <= ?", query.highest),
        ("r.points * 100 >= ? * r.reviews AND r.reviews > 0", _hundredths(query.min_rating)),
    ):
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    return tables, " AND ".join(conditions), parameters


def _hundredths(rating: Decimal | None) -> int | None:
    return None if rating is None else int(rating * 100)


def _within(price: Decimal) -> Decimal:
    """Keep a bound to what SQLite can compare: no price lies beyond."""
    return min(max(price, -PRICE_MAX), PRICE_MAX)


def _card(row: Row) -> ProductCard:
    product_id, seller_id, seller_name, title, description, minor, currency, category = row[:8]
    files, previews, is_active, stock, points, reviews, created_at, updated_at = row[8:]
    return ProductCard(
        id=product_id,
        seller_id=seller_id,
        seller_name=seller_name,
        title=title,
        description=description,
        price=Money(minor, currency).amount,
        currency=currency,
        category=category,
        files=[CardFile(file.name, file.type, file.size, file.url) for file in _files.decode(files)],
        previews=_previews.decode(previews),
        status="active" if is_active else "withdrawn",
        stock=stock,
        rating=Rating(average(points, reviews), reviews),
        created_at=instant(created_at),
        updated_at=instant(updated_at),
    )


def version_of(card: ProductCard) -> str:
    """Name its state as its actor does."""
    price = from_amount(card.price, card.currency)
    files = tuple(product.File(file.name, file.type, file.size, file.url or "") for file in card.files)
    offer = product.Offer(card.title, card.description, price, card.category, files, tuple(card.previews))
    is_active, created_at, updated_at = card.status == "active", ms_of(card.created_at), ms_of(card.updated_at)
    return product.Description(card.seller_id, offer, card.stock, is_active, created_at, updated_at).version


def without_addresses(card: ProductCard) -> ProductCard:
    """Give the product as everybody but its seller sees it: previews that were uploaded are at an address of ours."""
    files = [CardFile(file.name, file.type, file.size) for file in card.files]
    previews = [product.Preview(p.name, p.type, _public_address(p.url)) for p in card.previews]
    return msgspec.structs.replace(card, files=files, previews=previews)


def shown(card: ProductCard) -> bytes:
    """Write a product as everybody sees it."""
    return _cards.encode(without_addresses(card))


def _public_address(url: str) -> str:
    digest = digest_of(url)
    return f"{PREVIEWS}{digest}" if digest else url


CATALOG: Final = ReadModel("catalog", 2, TABLES, apply, {}, INDEXES, product.PRODUCT.kind)
