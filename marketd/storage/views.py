"""
Views: how often each seller's products were looked at, each visitor of a product once a day (of UTC).

The one rule: nothing is kept that says who it was. A visitor is a keyed digest under a secret that is drawn for the day
and forgotten with it; secret and digests are in memory alone. On the disk, in `views.db`, there are only counts, by
seller and quarter of an hour.

Whoever shows a product puts a note into a set, which costs about a microsecond; what it comes to is worked out in
another thread, once a second or when somebody asks.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self

from msgspec import Struct

from marketd.bus.port import Answer, Bus, Envelope
from marketd.bus.subjects import query_subject
from marketd.clock import DAY_MS, Clock
from marketd.storage.database import BrokenFile, Connection, Database, ForeignFile, StorageError, transaction
from marketd.storage.earnings import QUARTER_MS

SCHEMA_VERSION: Final = 1
TABLES: Final = """
    CREATE TABLE views(
        seller_id TEXT NOT NULL,
        quarter INTEGER NOT NULL,
        views INTEGER NOT NULL,
        PRIMARY KEY (seller_id, quarter)
    ) STRICT, WITHOUT ROWID;
"""
FLUSH_S: Final = 1.0
WAITING_MAX: Final = 10_000  # different visits in a second
SECRET_BYTES: Final = 32
DIGEST_BYTES: Final = 8
# Those that call themselves what they are; an HTTP library may well be somebody's app, and a Cubot is a telephone.
ROBOTS: Final = re.compile(
    r"(?<!cu)bot\b|crawl|spider|slurp|facebookexternalhit|preview|archiver|monitor", re.IGNORECASE
)

log = logging.getLogger("marketd.views")


class CountViews(Struct, frozen=True, tag="views"):
    """Ask how often a seller's products were looked at from one moment up to another, to a quarter of an hour."""

    seller_id: str
    since: int
    until: int


class ViewsCounted(Struct, frozen=True, tag="views.counted"):
    views: int


class Visit(Struct, frozen=True):
    """Somebody looked at a product: `visitor` is a user's id, or, with its `agent`, a network address."""

    seller_id: str
    product_id: str
    visitor: str
    agent: str = ""


class Views:
    """The counts, and the visits of the last second; enter it, `open` it, and `run` it."""

    def __init__(self, path: Path, clock: Clock, *, visitors_max: int, waiting_max: int = WAITING_MAX) -> None:
        self._path, self._clock = path, clock
        self._waiting_max, self._visitors_max = waiting_max, visitors_max
        self._database = Database(path, SCHEMA_VERSION, TABLES, durable=False)
        self._waiting: set[Visit] = set()
        self._day, self._secret = -1, b""
        self._visitors: set[bytes] = set()
        self._uncounted = 0

    async def __aenter__(self) -> Self:
        try:
            await self._database.__aenter__()
        except (BrokenFile, ForeignFile) as error:
            log.warning("%s; it is put aside, and views are counted from now on", error)
            self._path.replace(self._path.with_name(f"{self._path.name}.unusable"))
            await self._database.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._flush_or_say()
        await self._database.__aexit__(*raised)

    async def open(self, bus: Bus) -> None:
        """Serve the query."""
        await bus.serve(query_subject(CountViews), self._answer)

    def statistics(self) -> dict[str, int]:
        """How many visitors of products there were today, and how many visits were not counted for want of room."""
        return {"visitors": len(self._visitors), "uncounted": self._uncounted}

    def note(self, visit: Visit) -> None:
        """Have somebody counted who looks at a product."""
        if len(self._waiting) < self._waiting_max:
            self._waiting.add(visit)
        else:
            self._uncounted += 1

    async def run(self) -> None:
        """Count what was noted, once a second, for ever."""
        while True:
            await self._clock.sleep(FLUSH_S)
            if self._waiting or self._clock.now_ms() // DAY_MS > self._day:
                await self._flush_or_say()

    async def flush(self) -> None:
        """Count what was noted; raise `StorageError`."""
        visits, self._waiting = self._waiting, set()
        await self._database.run(self._count, visits, self._clock.now_ms(), self._clock.random_bytes(SECRET_BYTES))

    async def _flush_or_say(self) -> None:
        try:
            await self.flush()
        except StorageError as error:
            log.error("views are not counted: %s", error)

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        query = envelope.message
        assert isinstance(query, CountViews)
        await self._flush_or_say()
        return Answer(await self._database.run(_sum, query), 0)

    # In the database's thread, which alone touches the visitors.

    def _count(self, db: Connection, visits: Collection[Visit], now_ms: int, secret: bytes) -> None:
        self._begin_day(now_ms // DAY_MS, secret)
        counts = Counter(visit.seller_id for visit in visits if self._is_new(visit))
        if not counts:
            return
        text = "INSERT INTO views VALUES(?,?,?) ON CONFLICT DO UPDATE SET views = views + excluded.views"
        rows = [(seller_id, now_ms // QUARTER_MS, count) for seller_id, count in counts.items()]
        with transaction(db):
            db.executemany(text, rows)

    def _begin_day(self, day: int, secret: bytes) -> None:
        """Forget who was there; a clock that is set back begins no day."""
        if day > self._day:
            self._day, self._secret, self._visitors = day, secret, set()

    def _is_new(self, visit: Visit) -> bool:
        if ROBOTS.search(visit.agent):
            return False
        said = "\n".join((visit.product_id, visit.visitor, visit.agent)).encode(errors="surrogatepass")
        digest = blake2b(said, digest_size=DIGEST_BYTES, key=self._secret).digest()
        if digest in self._visitors:
            return False
        if len(self._visitors) >= self._visitors_max:
            self._uncounted += 1
            return False
        self._visitors.add(digest)
        return True


def _sum(db: Connection, query: CountViews) -> ViewsCounted:
    """Add up; a quarter counts whole where it begins within the time."""
    (views,) = db.execute(
        "SELECT coalesce(sum(views), 0) FROM views WHERE seller_id = ? AND quarter >= ? AND quarter < ?",
        (query.seller_id, -(-query.since // QUARTER_MS), -(-query.until // QUARTER_MS)),
    ).fetchone()
    return ViewsCounted(views)
