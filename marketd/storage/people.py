"""People: who is behind a user id, for those who know only the id."""

from typing import Final

from msgspec import Struct

from marketd.actors import account
from marketd.actors.account import Role
from marketd.actors.address import Address
from marketd.storage.database import Connection
from marketd.storage.log import Recorded
from marketd.storage.projector import ReadModel


class FindPerson(Struct, frozen=True, tag="person"):
    user_id: str


class Person(Struct, frozen=True, tag="people.person"):
    """`account_key` is the key of the person's account actor."""

    user_id: str
    account_key: str
    name: str
    role: Role


TABLES: Final = {
    "people": """
        CREATE TABLE people(
            user_id TEXT PRIMARY KEY,
            account_key TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            role TEXT NOT NULL
        ) STRICT, WITHOUT ROWID
    """
}


def apply(db: Connection, record: Recorded) -> None:
    """Take in one record."""
    key = Address.parse(record.stream).key
    for event in record.commit.events:
        match event:
            case account.Registered(user_id, _, name, role):
                db.execute("INSERT INTO people VALUES(?,?,?,?)", (user_id, key, name, role))
            case account.Renamed(name):
                db.execute("UPDATE people SET name = ? WHERE account_key = ?", (name, key))


def find(db: Connection, query: FindPerson) -> Person | None:
    """Find one person."""
    row = db.execute("SELECT * FROM people WHERE user_id = ?", (query.user_id,)).fetchone()
    return Person(*row) if row else None


PEOPLE: Final = ReadModel("people", 1, TABLES, apply, {FindPerson: find})
