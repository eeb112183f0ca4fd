"""
The deliveries of webhooks, in a file of their own: what waits for which endpoint, and how each attempt went.

The one rule: how far the log was followed is noted in the transaction that queues what it led to. So after a crash
nothing is missing and nothing is queued twice. This is bookkeeping, no truth: where the file is lost, so is what
waited, and may be had again from the log.

    Busy (bus.port)             more wait to be written than may
    Unsure (bus.port)           whoever wrote for all gave up meanwhile: it may be written, or not
    DiskTrouble (storage.database)
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from marketd.storage.database import Connection, Database, Row
from marketd.storage.enquiries import Attempt, Delivery, DeliveryPage, ListDeliveries, Source, State
from marketd.storage.together import Together, in_transaction

SCHEMA_VERSION: Final = 1
SPAN_RECORDS: Final = 1_024
AT_ONCE: Final = 0  # the time of what goes before all that waits
ATTEMPTS_KEPT_MAX: Final = 50  # of one delivery
SWEPT_MAX: Final = 1_000  # in one transaction, so that nobody waits long behind it

# `spans` says of every so many records of the log the first and the last time in them: clocks may be set back.
TABLES: Final = """
    CREATE TABLE marks(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE boards(owner_id TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE spans(
        span INTEGER PRIMARY KEY, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE health(webhook_id TEXT PRIMARY KEY, failing_since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE deliveries(
        delivery_id TEXT PRIMARY KEY,
        webhook_id TEXT NOT NULL,
        message_id TEXT NOT NULL,
        name TEXT NOT NULL,
        source TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
        attempts INTEGER NOT NULL,
        step INTEGER NOT NULL,
        next_at INTEGER,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX deliveries_due ON deliveries(webhook_id, next_at) WHERE state = 'pending';
    CREATE INDEX deliveries_by_webhook ON deliveries(webhook_id, created_at);
    CREATE INDEX deliveries_by_age ON deliveries(created_at);
    CREATE TABLE attempts(
        delivery_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        at INTEGER NOT NULL,
        ms INTEGER NOT NULL,
        status INTEGER,
        error TEXT,
        answer BLOB NOT NULL,
        PRIMARY KEY(delivery_id, number)
    ) STRICT, WITHOUT ROWID;
"""

# What is written.


class Message(NamedTuple):
    """An event for an endpoint, to be sent."""

    delivery_id: str
    webhook_id: str
    message_id: str
    name: str
    source: Source
    at: int
    body: bytes


class Heard(NamedTuple):
    """
    What the log led to up to a position: whose webhooks have changed, which endpoints are gone and which are to be
    tried anew, what is to be sent, and the times of the records by their spans.
    """

    position: int
    boards: Mapping[str, bytes]
    gone: Sequence[str]
    renewed: Sequence[str]
    messages: Sequence[Message]
    spans: Mapping[int, tuple[int, int]]
    at: int


class Due(NamedTuple):
    """A delivery whose time has come; `step` counts its attempts since it was last sent by hand."""

    delivery_id: str
    message_id: str
    source: Source
    step: int
    body: bytes


class Tried(NamedTuple):
    """How an attempt went, and what becomes of the delivery; `next_at` where it stays pending."""

    webhook_id: str
    delivery_id: str
    step: int  # as it was when it was due
    attempt: Attempt
    state: State
    next_at: int | None
    counts: bool  # whether it says something of the endpoint's health


class Backlog(NamedTuple):
    """How many deliveries wait for an endpoint, and when the first of them was to be tried, if that has a time."""

    webhook_id: str
    waiting: int
    next_at: int | None


class Book(NamedTuple):
    """
    What is known at the start: how far the log was followed, from where on it counts, for whom something waits, and who
    has not taken anything of late.
    """

    position: int
    begun_at: int
    boards: dict[str, bytes]
    waiting: list[str]
    failing: list[str]


class Deliveries:
    """
    The file; enter it to open it. It is not for truth, so no write waits for the disk. `files` is what makes the
    connections: `Database`, or its twin.
    """

    def __init__(self, path: Path, *, files: Callable[..., Database] = Database) -> None:
        self._database = files(path, SCHEMA_VERSION, TABLES, durable=False)
        self._reader = files(path, SCHEMA_VERSION, TABLES, read_only=True)
        self._together = Together(self._database)

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        try:
            await self._reader.__aenter__()
        except BaseException:
            await self._database.__aexit__()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._reader.__aexit__(*raised)
        await self._database.__aexit__(*raised)

    async def book(self, head: int) -> Book:
        """Read what is known; a new file begins where the log is now."""
        book: Book = await self._together.run(_book, head)
        return book

    async def take(self, heard: Heard) -> None:
        """Take in what the log led to, all or nothing."""
        await self._together.run(_take, heard)

    async def add(self, messages: Sequence[Message]) -> int:
        """Queue what was asked for by hand; say how many of these there were not yet."""
        added: int = await self._together.run(_add, messages)
        return added

    async def due(self, webhook_id: str, now_ms: int, count_max: int, *, only_tests: bool) -> list[Due]:
        """Find what is to be sent now, what waits longest first."""
        return await self._reader.run(_due, webhook_id, now_ms, count_max, only_tests)

    async def next_at(self, webhook_id: str, *, only_tests: bool) -> int | None:
        """Say when there is something to be sent next, if ever."""
        return await self._reader.run(_next_at, webhook_id, only_tests)

    async def waiting(self, webhook_id: str) -> int:
        """Say how many wait for an endpoint."""
        return await self._reader.run(_waiting, webhook_id)

    async def failing(self) -> dict[str, int]:
        """Say since when each endpoint has failed that does."""
        return await self._reader.run(_failing)

    async def backlogs(self) -> list[Backlog]:
        """Say of each endpoint for which something waits how much that is."""
        return await self._reader.run(_backlogs)

    async def note(self, tried: Tried) -> int | None:
        """Note an attempt; say since when the endpoint has not taken anything, or None if it has."""
        failing_since: int | None = await self._together.run(_note, tried)
        return failing_since

    async def resend(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        """Have a delivery sent now, before all others."""
        resent: Delivery | None = await self._together.run(_resend, webhook_id, delivery_id)
        return resent

    async def spans(self, since: int, until: int) -> list[tuple[int, int]]:
        """Say where in the log these times are: after which position and up to which, in order, apart."""
        return await self._reader.run(_spans, since, until)

    async def page(self, query: ListDeliveries) -> DeliveryPage:
        """Give one page of an endpoint's deliveries."""
        return await self._reader.run(_page, query)

    async def find(self, webhook_id: str, delivery_id: str) -> Delivery | None:
        """Give a delivery with its attempts."""
        return await self._reader.run(_find, webhook_id, delivery_id)

    async def sweep(self, oldest_at: int, kept_max: int) -> int:
        """Remove some of those that are too old, or ended and too many of one endpoint; say how many."""
        return await self._database.run(in_transaction, _sweep, oldest_at, kept_max)


def _book(db: Connection, head: int) -> Book:
    marks = dict(db.execute("SELECT name, value FROM marks").fetchall())
    if not marks or marks["position"] > head:  # the log is another one: a backup of it was restored
        for table in ("boards", "spans", "health", "deliveries", "attempts"):
            db.execute(f"DELETE FROM {table}")
        marks = {"position": 0, "begun_at": head}
        db.executemany("INSERT OR REPLACE INTO marks VALUES(?,?)", marks.items())
    boards = dict(db.execute("SELECT owner_id, state FROM boards").fetchall())
    waiting = db.execute("SELECT DISTINCT webhook_id FROM deliveries WHERE state = 'pending'").fetchall()
    failing = db.execute("SELECT webhook_id FROM health").fetchall()
    ids = ([webhook_id for (webhook_id,) in rows] for rows in (waiting, failing))
    return Book(marks["position"], marks["begun_at"], boards, *ids)


def _take(db: Connection, heard: Heard) -> None:
    db.execute("UPDATE marks SET value = max(value, ?) WHERE name = 'position'", (heard.position,))
    db.executemany("INSERT OR REPLACE INTO boards VALUES(?,?)", heard.boards.items())
    _add(db, heard.messages)
    for webhook_id in heard.gone:
        owned = "SELECT delivery_id FROM deliveries WHERE webhook_id = ?"
        db.execute(f"DELETE FROM attempts WHERE delivery_id IN ({owned})", (webhook_id,))
        db.execute("DELETE FROM deliveries WHERE webhook_id = ?", (webhook_id,))
    for webhook_id in heard.renewed:
        now = "UPDATE deliveries SET step = 0, next_at = ? WHERE webhook_id = ? AND state = 'pending'"
        db.execute(now, (heard.at, webhook_id))
    db.executemany("DELETE FROM health WHERE webhook_id = ?", [(key,) for key in (*heard.gone, *heard.renewed)])
    db.executemany(
        "INSERT INTO spans VALUES(?,?,?) ON CONFLICT DO UPDATE "
        "SET first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)",
        [(span, *times) for span, times in heard.spans.items()],
    )


def _add(db: Connection, messages: Sequence[Message]) -> int:
    rows = [
        (
            m.delivery_id,
            m.webhook_id,
            m.message_id,
            m.name,
            m.source,
            m.at,
            AT_ONCE if m.source == "test" else m.at,
            m.body,
        )
        for m in messages
    ]
    adding = "INSERT OR IGNORE INTO deliveries VALUES(?,?,?,?,?,?,'pending',0,0,?,?)"
    return db.executemany(adding, rows).rowcount if rows else 0


def _due(db: Connection, webhook_id: str, now_ms: int, count_max: int, only_tests: bool) -> list[Due]:
    columns = "delivery_id, message_id, source, step, body"
    where = "webhook_id = ? AND state = 'pending' AND next_at <= ?" + (" AND source = 'test'" if only_tests else "")
    wanted = f"SELECT {columns} FROM deliveries WHERE {where} ORDER BY next_at, rowid LIMIT ?"
    return [Due(*row) for row in db.execute(wanted, (webhook_id, now_ms, count_max))]


def _next_at(db: Connection, webhook_id: str, only_tests: bool) -> int | None:
    where = "webhook_id = ? AND state = 'pending'" + (" AND source = 'test'" if only_tests else "")
    row = db.execute(f"SELECT min(next_at) FROM deliveries WHERE {where}", (webhook_id,)).fetchone()
    return None if row[0] is None else int(row[0])


def _waiting(db: Connection, webhook_id: str) -> int:
    counting = "SELECT count(*) FROM deliveries WHERE webhook_id = ? AND state = 'pending'"
    return int(db.execute(counting, (webhook_id,)).fetchone()[0])


def _failing(db: Connection) -> dict[str, int]:
    return dict(db.execute("SELECT * FROM health").fetchall())


def _backlogs(db: Connection) -> list[Backlog]:
    counting = "SELECT webhook_id, count(*), min(nullif(next_at, ?)) FROM deliveries WHERE state = 'pending'"
    return [Backlog(*row) for row in db.execute(f"{counting} GROUP BY webhook_id", (AT_ONCE,))]


def _note(db: Connection, tried: Tried) -> int | None:
    # Whose owner had it sent again meanwhile, or moved its endpoint, waits for a better try than this one.
    holds = "step = :step OR :state = 'delivered'"
    updated = (
        "UPDATE deliveries SET attempts = attempts + 1, step = step + (step = :step), "
        f"state = iif({holds}, :state, state), next_at = iif({holds}, :next_at, next_at) "
        "WHERE delivery_id = :delivery_id RETURNING attempts"
    )
    noted = db.execute(updated, tried._asdict()).fetchone()
    if noted is None:  # its endpoint was removed meanwhile
        return None
    a = tried.attempt
    row = (tried.delivery_id, noted[0], a.at, a.ms, a.status, a.error, a.answer)
    db.execute("INSERT INTO attempts VALUES(?,?,?,?,?,?,?)", row)
    ended = "DELETE FROM attempts WHERE delivery_id = ? AND number <= ?"
    db.execute(ended, (tried.delivery_id, noted[0] - ATTEMPTS_KEPT_MAX))
    if not tried.counts:
        return None
    if tried.state == "delivered":
        db.execute("DELETE FROM health WHERE webhook_id = ?", (tried.webhook_id,))
        return None
    db.execute("INSERT OR IGNORE INTO health VALUES(?,?)", (tried.webhook_id, a.at))
    wanted = "SELECT failing_since FROM health WHERE webhook_id = ?"
    return int(db.execute(wanted, (tried.webhook_id,)).fetchone()[0])


def _resend(db: Connection, webhook_id: str, delivery_id: str) -> Delivery | None:
    changed = "UPDATE deliveries SET state = 'pending', step = 0, next_at = ? WHERE webhook_id = ? AND delivery_id = ?"
    db.execute(changed, (AT_ONCE, webhook_id, delivery_id))
    return _find(db, webhook_id, delivery_id)


def _spans(db: Connection, since: int, until: int) -> list[tuple[int, int]]:
    wanted = "SELECT span FROM spans WHERE last_at >= ? AND first_at < ? ORDER BY span"
    found: list[tuple[int, int]] = []
    for (span,) in db.execute(wanted, (since, until)):
        after = span * SPAN_RECORDS
        if found and found[-1][1] == after:
            found[-1] = (found[-1][0], after + SPAN_RECORDS)
        else:
            found.append((after, after + SPAN_RECORDS))
    return found


COLUMNS: Final = "delivery_id, message_id, name, source, state, created_at, attempts, next_at"


def _page(db: Connection, query: ListDeliveries) -> DeliveryPage:
    where, parameters = "webhook_id = ?", [query.webhook_id]
    if query.state is not None:
        where, parameters = f"{where} AND state = ?", [*parameters, query.state]
    (total,) = db.execute(f"SELECT count(*) FROM deliveries WHERE {where}", parameters).fetchone()
    newest = (
        f"SELECT {COLUMNS} FROM deliveries WHERE {where} ORDER BY created_at DESC, delivery_id DESC LIMIT ? OFFSET ?"
    )
    rows = db.execute(newest, (*parameters, *query.page.bounds))
    return DeliveryPage(total, tuple(_delivery(row) for row in rows))


def _find(db: Connection, webhook_id: str, delivery_id: str) -> Delivery | None:
    wanted = f"SELECT {COLUMNS}, body FROM deliveries WHERE webhook_id = ? AND delivery_id = ?"
    row = db.execute(wanted, (webhook_id, delivery_id)).fetchone()
    if row is None:
        return None
    made = "SELECT at, ms, status, error, answer FROM attempts WHERE delivery_id = ? ORDER BY number"
    attempts = tuple(Attempt(*attempt) for attempt in db.execute(made, (delivery_id,)))
    *columns, body = row
    return _delivery(tuple(columns), attempts=attempts, body=body)


def _delivery(row: Row, *, attempts: tuple[Attempt, ...] = (), body: bytes = b"") -> Delivery:
    delivery_id, message_id, name, source, state, created_at, count, next_at = row
    return Delivery(
        delivery_id, message_id, name, source, state, created_at, count, next_at or None, attempts=attempts, body=body
    )


def _sweep(db: Connection, oldest_at: int, kept_max: int) -> int:
    old = "SELECT delivery_id FROM deliveries WHERE created_at <= ? LIMIT ?"
    swept = [row[0] for row in db.execute(old, (oldest_at, SWEPT_MAX))]
    ended = "FROM deliveries WHERE state != 'pending'"
    crowded = f"SELECT webhook_id, count(*) - ? {ended} GROUP BY webhook_id HAVING count(*) > ?"
    for webhook_id, surplus in db.execute(crowded, (kept_max, kept_max)).fetchall():
        first = f"SELECT delivery_id {ended} AND webhook_id = ? ORDER BY created_at LIMIT ?"
        swept += [row[0] for row in db.execute(first, (webhook_id, min(surplus, SWEPT_MAX)))]
    db.executemany("DELETE FROM attempts WHERE delivery_id = ?", [(key,) for key in swept])
    db.executemany("DELETE FROM deliveries WHERE delivery_id = ?", [(key,) for key in swept])
    return len(swept)
