"""
A store that an older marketd wrote (commit afe3a57): 47 records of three people, two products and five orders, of which
two are complete, one was declined, one was returned and of one the refund failed.

It is only ever added to: what can't be read any more was taken from somebody.
"""

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from marketd.storage.log import GENESIS, chain

GOLDEN: Final = Path(__file__).parent / "golden" / "store-1"
HEAD: Final = 47
BUYER: Final = "buyer-2@example.org"  # owns "Old maps", with the licence key AAAA-1
COMPLETE: Final = "01a20686-9dda-7de4-b870-2dd1a76dbc47"


def old_store(data: Path) -> Path:
    """Make the data directory as the older marketd left it, but for what is made again."""
    data.mkdir(parents=True)
    (data / "marketd.lock").touch()
    shutil.copytree(GOLDEN / "files", data / "files")
    for name in ("events", "sandbox"):
        with closing(sqlite3.connect(data / f"{name}.db")) as db:
            db.executescript((GOLDEN / f"{name}.sql").read_text(encoding="utf-8"))
            db.execute("PRAGMA journal_mode = WAL")
    return data


def alter(path: Path, *statements: str) -> None:
    """Do to a database what nobody should."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def chained_again(path: Path) -> None:
    """Let the hashes of a log fit what is in it, as somebody would who wants to hide what they did."""
    records = """
        SELECT c.position, s.name, c.version, c.command_id, c.at, c.events, c.reply, c.meta
        FROM commits c JOIN streams s ON s.id = c.stream ORDER BY c.position
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        newest = GENESIS
        for position, stream, version, *columns in db.execute(records).fetchall():
            newest = chain(newest, position, stream, version, columns)
            db.execute("UPDATE commits SET hash = ? WHERE position = ?", (newest, position))


def contents(data: Path, names: Iterable[str]) -> dict[str, list[tuple[object, ...]]]:
    """Give all rows of all tables of some databases."""
    found = {}
    for name in names:
        with closing(sqlite3.connect(f"file:{data / name}?mode=ro", uri=True)) as db:
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                found[f"{name}/{table}"] = sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
    return found
