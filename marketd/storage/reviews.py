"""
Reviews: what buyers say of a product, and what that comes to.

The one rule: a hidden review is kept but neither listed nor counted; only who asks for it by its id finds it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from msgspec import Struct

from marketd.actors import buyer
from marketd.actors.address import Address
from marketd.clock import DAY_MS, Instant, instant
from marketd.storage.database import Connection, Row
from marketd.storage.log import Recorded
from marketd.storage.pages import Page
from marketd.storage.projector import ReadModel

RATINGS: Final = (1, 2, 3, 4, 5)

Sort = Literal["newest", "oldest", "highest", "lowest"]


class ListReviews(Struct, frozen=True, tag="reviews"):
    """Among those of the same rating the newest first."""

    product_id: str
    page: Page = Page()
    sort: Sort = "newest"


class FindReview(Struct, frozen=True, tag="review"):
    review_id: str


class ReviewCard(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One review as people see it; `reply` is the seller's, `hidden` is there only where it is so."""

    id: str
    product_id: str
    author_id: str
    author_name: str
    rating: int
    title: str
    body: str
    reply: str | None
    created_at: Instant
    updated_at: Instant
    hidden: bool = False
    hidden_reason: str | None = None


class ReviewFound(Struct, frozen=True, tag="reviews.review"):
    card: ReviewCard


class Reviews(Struct, frozen=True, tag="reviews.page"):
    """One page, and the figures of all that are listed: `average` is 0 for none, `histogram` counts each rating."""

    total: int
    average: float
    histogram: dict[str, int]
    cards: list[ReviewCard]


TABLES: Final = {
    "reviews": """
        CREATE TABLE reviews(
            review_id TEXT PRIMARY KEY,
            product_id TEXT NOT NULL,
            seller_id TEXT NOT NULL,
            author_id TEXT NOT NULL,
            rating INTEGER NOT NULL,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            reply TEXT,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            hidden_reason TEXT
        ) STRICT
    """,
    "seller_ratings": """
        CREATE TABLE seller_ratings(
            seller_id TEXT NOT NULL,
            day INTEGER NOT NULL,
            rating INTEGER NOT NULL,
            reviews INTEGER NOT NULL,
            PRIMARY KEY (seller_id, day, rating)
        ) STRICT, WITHOUT ROWID
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
    "CREATE INDEX reviews_by_product ON reviews(product_id, created_at) WHERE hidden_reason IS NULL",
    "CREATE INDEX reviews_by_rating ON reviews(product_id, rating) WHERE hidden_reason IS NULL",
    "CREATE INDEX reviews_by_seller ON reviews(seller_id, created_at, rating) WHERE hidden_reason IS NULL",
    "CREATE INDEX product_ratings_by_position ON product_ratings(position)",
)
CARD: Final = """
    SELECT r.review_id, r.product_id, r.author_id, coalesce(p.name, ''), r.rating, r.title, r.body, r.reply,
           r.created_at, r.updated_at, r.hidden_reason
    FROM reviews r LEFT JOIN people p ON p.user_id = r.author_id
"""
LISTED: Final = "product_id = ? AND hidden_reason IS NULL"
RATED: Final = """
    INSERT INTO seller_ratings VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET reviews = reviews + excluded.reviews
"""
RATINGS_BY_DAY: Final = """
    SELECT rating, sum(reviews) FROM seller_ratings WHERE seller_id = ? AND day >= ? AND day < ? GROUP BY rating
"""
WRITTEN: Final = "seller_id = ? AND created_at >= ? AND created_at < ? AND hidden_reason IS NULL"
ORDER_BY: Final[dict[Sort, str]] = {
    "newest": "r.created_at DESC, r.review_id DESC",
    "oldest": "r.created_at, r.review_id",
    "highest": "r.rating DESC, r.created_at DESC, r.review_id DESC",
    "lowest": "r.rating, r.created_at DESC, r.review_id DESC",
}


def apply(db: Connection, record: Recorded) -> None:
    """Take in one record."""
    author_id = Address.parse(record.stream).key
    for event in record.commit.events:
        match event:
            case buyer.Reviewed(product_id, seller_id, review, at):
                row = (review.review_id, product_id, seller_id, author_id, review.rating, review.title, review.body)
                with _counted(db, record.position, product_id, review.review_id):
                    db.execute(
                        """
                        INSERT INTO reviews VALUES(?,?,?,?,?,?,?,?,?,?,NULL) ON CONFLICT DO UPDATE SET
                        rating = excluded.rating, title = excluded.title, body = excluded.body,
                        reply = excluded.reply, updated_at = excluded.updated_at
                        """,
                        (*row, review.reply, at, at),
                    )
            case buyer.ReviewDeleted(product_id, review_id):
                with _counted(db, record.position, product_id, review_id):
                    db.execute("DELETE FROM reviews WHERE review_id = ?", (review_id,))
            case buyer.ReviewHidden(product_id, review_id, _, reason):
                with _counted(db, record.position, product_id, review_id):
                    db.execute("UPDATE reviews SET hidden_reason = ? WHERE review_id = ?", (reason, review_id))
            case buyer.ReviewShown(product_id, review_id):
                with _counted(db, record.position, product_id, review_id):
                    db.execute("UPDATE reviews SET hidden_reason = NULL WHERE review_id = ?", (review_id,))


@contextmanager
def _counted(db: Connection, position: int, product_id: str, review_id: str) -> Iterator[None]:
    """Change a review, and the figures of its product by what that makes of it."""
    before = _listed(db, review_id)
    yield
    after = _listed(db, review_id)
    if before == after:
        return
    points, reviews = (after[0] if after else 0) - (before[0] if before else 0), bool(after) - bool(before)
    _count(db, position, product_id, points, reviews)
    for listed, change in ((before, -1), (after, 1)):
        if listed:
            rating, seller_id, created_at = listed
            db.execute(RATED, (seller_id, created_at // DAY_MS, rating, change))


def _listed(db: Connection, review_id: str) -> Row | None:
    """Give rating, seller and age of a review that is listed."""
    text = "SELECT rating, seller_id, created_at FROM reviews WHERE review_id = ? AND hidden_reason IS NULL"
    row: Row | None = db.execute(text, (review_id,)).fetchone()
    return row


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
        db.execute(f"SELECT rating, count(*) FROM reviews WHERE {LISTED} GROUP BY rating", (query.product_id,))
    )
    total = sum(counts.values())
    rows = db.execute(
        f"{CARD} WHERE {LISTED} ORDER BY {ORDER_BY[query.sort]} LIMIT ? OFFSET ?",
        (query.product_id, *query.page.bounds),
    )
    return Reviews(
        total=total,
        average=average(sum(rating * count for rating, count in counts.items()), total),
        histogram={str(rating): counts.get(rating, 0) for rating in RATINGS},
        cards=[_card(row) for row in rows],
    )


def find(db: Connection, query: FindReview) -> ReviewFound | None:
    """Find one review, also if it is hidden."""
    row = db.execute(f"{CARD} WHERE r.review_id = ?", (query.review_id,)).fetchone()
    return ReviewFound(_card(row)) if row else None


def histogram(db: Connection, seller_id: str, begin: int, end: int) -> dict[str, int]:
    """Count the ratings of all that a seller sold, by reviews that were written in a time (ms since the epoch)."""
    first, last = -(-begin // DAY_MS), end // DAY_MS
    counts = dict.fromkeys(RATINGS, 0)
    ragged = [(begin, end)]
    if first <= last:
        ragged = [(begin, first * DAY_MS), (last * DAY_MS, end)]
        counts |= dict(db.execute(RATINGS_BY_DAY, (seller_id, first, last)))
    for since, until in ragged:
        text = f"SELECT rating FROM reviews WHERE {WRITTEN}"
        for (rating,) in db.execute(text, (seller_id, since, until)):
            counts[rating] += 1
    return {str(rating): count for rating, count in counts.items()}


def average(points: int, reviews: int) -> float:
    """The mean rating to two decimals; 0 where there is none."""
    return round(points / reviews, 2) if reviews else 0.0


def _card(row: Row) -> ReviewCard:
    review_id, product_id, author_id, author_name, rating, title, body, reply, created_at, updated_at, reason = row
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
        hidden=reason is not None,
        hidden_reason=reason,
    )


REVIEWS: Final = ReadModel(
    "reviews", 4, TABLES, apply, {ListReviews: browse, FindReview: find}, INDEXES, buyer.BUYER.kind
)
