"""People: who is behind a user id, for those who know only the id; and sellers as their buyers see them."""

from typing import Final

from msgspec import Struct

from marketd.actors import account
from marketd.actors.account import Role
from marketd.actors.address import Address
from marketd.clock import Instant, instant
from marketd.storage.catalog import Rating
from marketd.storage.database import Connection
from marketd.storage.log import Recorded
from marketd.storage.projector import ReadModel
from marketd.storage.reviews import average


class FindPerson(Struct, frozen=True, tag="person"):
    user_id: str


class Person(Struct, frozen=True, tag="people.person"):
    """`account_key` is the key of the person's account actor."""

    user_id: str
    account_key: str
    name: str
    role: Role


class FindSeller(Struct, frozen=True, tag="seller"):
    user_id: str


class Seller(Struct, frozen=True, tag="people.seller"):
    """A seller's card: how many products are on sale, and what people say of all that ever were."""

    user_id: str
    name: str
    products: int
    rating: Rating
    member_since: Instant


class ReadEnded(Struct, frozen=True, tag="ended-sessions"):
    """Ask for the sessions that ended after a time (ms since the epoch), at most the day before."""

    since: int


class EndedOnes(Struct, frozen=True, tag="people.ended"):
    """Ids of sessions and when they ended, the oldest first."""

    sessions: list[tuple[str, int]]


ENDED_KEPT_MS: Final = 24 * 60 * 60 * 1000  # no access token is good for longer

TABLES: Final = {
    "ended_sessions": """
        CREATE TABLE ended_sessions(
            ended_at INTEGER NOT NULL,
            session_id TEXT NOT NULL,
            PRIMARY KEY(ended_at, session_id)
        ) STRICT, WITHOUT ROWID
    """,
    "people": """
        CREATE TABLE people(
            user_id TEXT PRIMARY KEY,
            account_key TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            role TEXT NOT NULL,
            registered_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
    """,
}


def apply(db: Connection, record: Recorded) -> None:
    """Take in one record."""
    key = Address.parse(record.stream).key
    for event in record.commit.events:
        match event:
            case account.Registered(user_id, _, name, role, _, at):
                db.execute("INSERT INTO people VALUES(?,?,?,?,?)", (user_id, key, name, role, at))
            case account.Renamed(name):
                db.execute("UPDATE people SET name = ? WHERE account_key = ?", (name, key))
            case account.SessionEnded(session_id):
                at = record.commit.at
                db.execute("DELETE FROM ended_sessions WHERE ended_at < ?", (at - ENDED_KEPT_MS,))
                db.execute("INSERT OR IGNORE INTO ended_sessions VALUES(?,?)", (at, session_id))


def find(db: Connection, query: FindPerson) -> Person | None:
    """Find one person."""
    query_text = "SELECT user_id, account_key, name, role FROM people WHERE user_id = ?"
    row = db.execute(query_text, (query.user_id,)).fetchone()
    return Person(*row) if row else None


def find_seller(db: Connection, query: FindSeller) -> Seller | None:
    """Find one seller."""
    row = db.execute(
        """
        SELECT s.name, s.registered_at, total(p.is_active), total(r.points), total(r.reviews)
        FROM people s LEFT JOIN products p ON p.seller_id = s.user_id
        LEFT JOIN product_ratings r ON r.product_id = p.product_id
        WHERE s.user_id = ? AND s.role = 'seller' GROUP BY s.user_id
        """,
        (query.user_id,),
    ).fetchone()
    if row is None:
        return None
    name, registered_at, products, points, reviews = row
    rating = Rating(average(points, reviews), int(reviews))
    return Seller(query.user_id, name, int(products), rating, instant(registered_at))


def ended_since(db: Connection, query: ReadEnded) -> EndedOnes:
    """Find the sessions that ended of late."""
    text = "SELECT session_id, ended_at FROM ended_sessions WHERE ended_at > ? ORDER BY ended_at"
    return EndedOnes(db.execute(text, (query.since,)).fetchall())


PEOPLE: Final = ReadModel(
    "people",
    3,
    TABLES,
    apply,
    {FindPerson: find, FindSeller: find_seller, ReadEnded: ended_since},
    kind=account.ACCOUNT.kind,
)
