"""Reviews: what buyers say of a product, and what that comes to."""

from datetime import datetime
from typing import Final

from msgspec import Struct

from marketd.actors import buyer
from marketd.actors.address import Address
from marketd.clock import instant
from marketd.storage.database import Connection, Row
from marketd.storage.log import Recorded
from marketd.storage.pages import Page
from marketd.storage.projector import ReadModel

RATINGS: Final = (1, 2, 3, 4, 5)


class ListReviews(Struct, frozen=True, tag="reviews"):
    """The newest first."""

    product_id: str
    page: Page = Page()


class FindReview(Struct, frozen=True, tag="review"):
    review_id: str


class ReviewCard(Struct, frozen=True, rename="camel"):
    """One review as people see it; `reply` is the seller's."""

    id: str
    product_id: str
    author_id: str
    author_name: str
    rating: int
    title: str
    body: str
    reply: str | None
    created_at: datetime
    updated_at: datetime


class ReviewFound(Struct, frozen=True, tag="reviews.review"):
    card: ReviewCard


class Reviews(Struct, frozen=True, tag="reviews.page"):
    """One page, and the figures of all of them; `histogram` has a count for each rating, `average` is 0 for none."""

    total: int
    average: float
    histogram: dict[str, int]
    cards: list[ReviewCard]


TABLES: Final = {
    "reviews": """
        CREATE TABLE reviews(
            review_id TEXT PRIMARY KEY,
            product_id TEXT NOT NULL,
            author_id TEXT NOT NULL,
            rating INTEGER NOT NULL,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            reply TEXT,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL
        ) STRICT
    """,
    "product_ratings": """
        CREATE TABLE product_ratings(
            product_id TEXT PRIMARY KEY,
            points INTEGER NOT NULL,
            reviews INTEGER NOT NULL,
            position INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
    """,
}
INDEXES: Final = (
    "CREATE INDEX reviews_by_product ON reviews(product_id, created_at)",
    "CREATE INDEX product_ratings_by_position ON product_ratings(position)",
)
CARD: Final = """
    SELECT r.review_id, r.product_id, r.author_id, coalesce(p.name, ''), r.rating, r.title, r.body, r.reply,
           r.created_at, r.updated_at
    FROM reviews r LEFT JOIN people p ON p.user_id = r.author_id
"""


def apply(db: Connection, record: Recorded) -> None:
    """Take in one record."""
    author_id = Address.parse(record.stream).key
    for event in record.commit.events:
        match event:
            case buyer.Reviewed(product_id, _, review, at):
                old = _rating(db, review.review_id)
                row = (review.review_id, product_id, author_id, review.rating, review.title, review.body, review.reply)
                db.execute(
                    """
                    INSERT INTO reviews VALUES(?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET rating = excluded.rating,
                    title = excluded.title, body = excluded.body, reply = excluded.reply,
                    updated_at = excluded.updated_at
                    """,
                    (*row, at, at),
                )
                _count(db, record.position, product_id, review.rating - (old or 0), 0 if old else 1)
            case buyer.ReviewDeleted(product_id, review_id):
                old = _rating(db, review_id)
                db.execute("DELETE FROM reviews WHERE review_id = ?", (review_id,))
                _count(db, record.position, product_id, -(old or 0), -1 if old else 0)


def _rating(db: Connection, review_id: str) -> int | None:
    row = db.execute("SELECT rating FROM reviews WHERE review_id = ?", (review_id,)).fetchone()
    return int(row[0]) if row else None


def _count(db: Connection, position: int, product_id: str, points: int, reviews: int) -> None:
    db.execute(
        """
        INSERT INTO product_ratings VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET points = points + excluded.points,
        reviews = reviews + excluded.reviews, position = excluded.position
        """,
        (product_id, points, reviews, position),
    )


def browse(db: Connection, query: ListReviews) -> Reviews:
    """Give one page of a product's reviews."""
    counts = dict(
        db.execute("SELECT rating, count(*) FROM reviews WHERE product_id = ? GROUP BY rating", (query.product_id,))
    )
    total = sum(counts.values())
    rows = db.execute(
        f"{CARD} WHERE r.product_id = ? ORDER BY r.created_at DESC, r.review_id DESC LIMIT ? OFFSET ?",
        (query.product_id, *query.page.bounds),
    )
    return Reviews(
        total=total,
        average=average(sum(rating * count for rating, count in counts.items()), total),
        histogram={str(rating): counts.get(rating, 0) for rating in RATINGS},
        cards=[_card(row) for row in rows],
    )


def find(db: Connection, query: FindReview) -> ReviewFound | None:
    """Find one review."""
    row = db.execute(f"{CARD} WHERE r.review_id = ?", (query.review_id,)).fetchone()
    return ReviewFound(_card(row)) if row else None


def average(points: int, reviews: int) -> float:
    """The mean rating to two decimals; 0 where there is none."""
    return round(points / reviews, 2) if reviews else 0.0


def _card(row: Row) -> ReviewCard:
    review_id, product_id, author_id, author_name, rating, title, body, reply, created_at, updated_at = row
    return ReviewCard(
        id=review_id,
        product_id=product_id,
        author_id=author_id,
        author_name=author_name,
        rating=rating,
        title=title,
        body=body,
        reply=reply,
        created_at=instant(created_at),
        updated_at=instant(updated_at),
    )


REVIEWS: Final = ReadModel("reviews", 2, TABLES, apply, {ListReviews: browse, FindReview: find}, INDEXES)
