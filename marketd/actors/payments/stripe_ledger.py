"""
What we know of our payments at Stripe: for each order the one intent that may be charged, and how it ended.

The one rule: an intent is on record before it is confirmed, and only one is for an order. So an order that is not here
was never charged, unless it is older than this file; and one that is void here never will be.

A file that came back from a backup, or that somebody copied, does not know what was charged since then: it begins anew
when it is opened, and all orders are older than it. A copy is told by its inode, which is not the one on record.
"""

from pathlib import Path
from typing import Final, Literal, Self

from msgspec import Struct

from marketd.clock import Clock, made_at
from marketd.storage.database import Connection, Database, transaction

ORDER: Final = "marketd_order"  # what an order is called in the metadata of what is Stripe's
SCHEMA_VERSION: Final = 1
# The columns that the sandbox's ledger has too are called the same, so that both can be held against the orders.
TABLES: Final = """
    CREATE TABLE ledger(began_at INTEGER NOT NULL) STRICT;
    CREATE TABLE file(inode INTEGER NOT NULL) STRICT;
    CREATE TABLE charges(
        order_id TEXT PRIMARY KEY,
        intent_id TEXT,
        minor INTEGER NOT NULL,
        currency TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('asked', 'captured', 'declined', 'voided')),
        why TEXT,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE refunds(
        order_id TEXT PRIMARY KEY REFERENCES charges(order_id),
        outcome TEXT NOT NULL CHECK (outcome IN ('paid back', 'denied')),
        at INTEGER NOT NULL
    ) STRICT;
"""

ChargeEnd = Literal["captured", "declined", "voided"]
RefundEnd = Literal["paid back", "denied"]


class Entry(Struct, frozen=True):
    """A payment: `outcome` is "asked" while nobody knows, `refund` is None before there is one."""

    intent_id: str | None
    outcome: Literal["asked"] | ChargeEnd
    why: str | None
    refund: RefundEnd | None


class StripeLedger:
    """The file of one data directory; enter it to open. Its methods raise `StorageError`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._file = Database(path, SCHEMA_VERSION, TABLES)
        self._began_at, self._opened_s = 0, 0.0

    async def __aenter__(self) -> Self:
        await self._file.__aenter__()
        self._began_at = await self._file.run(_begin, self._path.stat().st_ino, self._clock.now_ms())
        self._opened_s = self._clock.monotonic_s()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._file.__aexit__(*raised)

    def would_know(self, order_id: str) -> bool:
        """Say whether the file was there when the order was placed."""
        return made_at(order_id) >= self._began_at

    def age_s(self) -> float:
        """Say how long ago the file began, at least: the clock may have been ahead when it did."""
        return max((self._clock.now_ms() - self._began_at) / 1000, self._clock.monotonic_s() - self._opened_s)

    async def entry(self, order_id: str) -> Entry | None:
        """Give what is on record."""
        return await self._file.run(_entry, order_id)

    async def note_asked(self, order_id: str, intent_id: str, minor: int, currency: str) -> Entry:
        """Put the intent on record, unless something is already; give what is."""
        return await self._file.run(_note, order_id, intent_id, minor, currency, "asked", None, self._clock.now_ms())

    async def note_refused(self, order_id: str, minor: int, currency: str, why: str) -> Entry:
        """Put on record that there will be no intent, unless something is already; give what is."""
        return await self._file.run(_note, order_id, None, minor, currency, "declined", why, self._clock.now_ms())

    async def note_end(self, order_id: str, outcome: ChargeEnd, why: str | None = None) -> Entry:
        """Put on record how an intent ended; what had ended stays as it was."""
        return await self._file.run(_end, order_id, outcome, why)

    async def void(self, order_id: str) -> Entry:
        """Settle an order that has taken no money and will not; give the entry of one that may have."""
        return await self._file.run(_void, order_id, self._clock.now_ms())

    async def note_refund(self, order_id: str, outcome: RefundEnd) -> Entry:
        """Put on record how the refund ended."""
        return await self._file.run(_refund, order_id, outcome, self._clock.now_ms())


def forget_file(db: Connection, newest: int) -> None:
    """Let the file begin anew when it is opened, and not before this time, whatever the clock says then."""
    db.execute("UPDATE ledger SET began_at = max(began_at, ?)", (newest,))
    db.execute("DROP TABLE IF EXISTS file")


def _begin(db: Connection, inode: int, at: int) -> int:
    db.execute("CREATE TABLE IF NOT EXISTS file(inode INTEGER NOT NULL) STRICT")  # files from before have none
    if db.execute("SELECT inode FROM file").fetchall() != [(inode,)]:
        found = db.execute("SELECT max(began_at) FROM ledger").fetchone()
        with transaction(db):
            db.execute("DELETE FROM ledger")
            db.execute("INSERT INTO ledger VALUES(?)", (max(at, found[0] or 0),))
            db.execute("DELETE FROM file")
            db.execute("INSERT INTO file VALUES(?)", (inode,))
    (began_at,) = db.execute("SELECT began_at FROM ledger").fetchone()
    return int(began_at)


def _entry(db: Connection, order_id: str) -> Entry | None:
    found = db.execute(
        "SELECT intent_id, charges.outcome, why, refunds.outcome FROM charges LEFT JOIN refunds USING (order_id)"
        " WHERE order_id = ?",
        (order_id,),
    ).fetchone()
    return Entry(*found) if found else None


def _known(db: Connection, order_id: str) -> Entry:
    entry = _entry(db, order_id)
    assert entry, f"order/{order_id} is not in Stripe's ledger"
    return entry


def _note(
    db: Connection,
    order_id: str,
    intent_id: str | None,
    minor: int,
    currency: str,
    outcome: str,
    why: str | None,
    at: int,
) -> Entry:
    row = (order_id, intent_id, minor, currency, outcome, why, at)
    db.execute("INSERT INTO charges VALUES(?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", row)
    return _known(db, order_id)


def _end(db: Connection, order_id: str, outcome: str, why: str | None) -> Entry:
    change = "UPDATE charges SET outcome = ?, why = ? WHERE order_id = ? AND outcome = 'asked'"
    db.execute(change, (outcome, why, order_id))
    return _known(db, order_id)


def _void(db: Connection, order_id: str, at: int) -> Entry:
    """The insert settles the race with a charge that is on its way: whoever is first is in the file."""
    entry = _note(db, order_id, None, 0, "", "voided", None, at)
    return _refund(db, order_id, "paid back", at) if entry.outcome in ("declined", "voided") else entry


def _refund(db: Connection, order_id: str, outcome: str, at: int) -> Entry:
    db.execute("INSERT INTO refunds VALUES(?, ?, ?) ON CONFLICT DO NOTHING", (order_id, outcome, at))
    return _known(db, order_id)
