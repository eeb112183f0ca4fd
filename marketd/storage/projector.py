"""
The projector: follows the log and feeds the read models in `read.db`.

Each batch is applied in one transaction together with the positions it leads to, so a read model always equals the
fold of the log up to its position. A model that fails is halted where it is and reported; the others, and all sales,
go on. What the disk does not take is no model's fault: it is applied once there is room. A model of another version, or
whose file is gone, is built again from the first record. A log that is shorter than what they were made of has lost
records, and is refused.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from msgspec import Struct

from marketd.bus.port import Answer, Bus, Envelope
from marketd.bus.subjects import query_subject
from marketd.clock import Clock
from marketd.deadlines import Deadlines
from marketd.storage.database import (
    BrokenFile,
    Connection,
    Database,
    DiskTrouble,
    StorageError,
    is_of_the_disk,
    transaction,
)
from marketd.storage.log import EventLog, Recorded
from marketd.storage.unhurried import unhurried

SCHEMA_VERSION: Final = 1
TABLES: Final = """
    CREATE TABLE models(
        name TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        position INTEGER NOT NULL,
        halted TEXT
    ) STRICT, WITHOUT ROWID;
"""

RETRY_S: Final = 1.0

log = logging.getLogger("marketd.projector")


class LogTooShort(StorageError):
    """The read models have taken in records that the log does not have."""

    def __init__(self, path: Path, position: int, head: int) -> None:
        super().__init__(
            f"{path} was made of {position} records, but the log has {head}: acknowledged records are missing. Is "
            "events.db-wal where it was? Put it back, or restore a backup; `marketd rebuild` goes on without them"
        )


@dataclass(frozen=True)
class ReadModel:
    """
    One read model: its tables (name to definition) and indexes, how a record changes them, and how each query is
    answered. `version` goes up whenever the tables or `apply` change. `kind` is that of the actors it is made from;
    none, of all.
    """

    name: str
    version: int
    tables: Mapping[str, str]
    apply: Callable[[Connection, Recorded], None]
    answers: Mapping[type[Struct], Callable[[Connection, Any], Struct | None]]
    indexes: Sequence[str] = ()
    kind: str = ""

    def own(self, records: Sequence[Recorded]) -> Sequence[Recorded]:
        """Give those of its kind."""
        beginning = f"{self.kind}/"
        return [record for record in records if record.stream.startswith(beginning)] if self.kind else records


class Standing(NamedTuple):
    """How far a model has come, and why it stands still if it does."""

    position: int
    halted: str | None


class AskReached(Struct, frozen=True, tag="reached"):
    """Ask to be answered when the read models have come as far as the envelope's `at_least`."""


class Reached(Struct, frozen=True, tag="projector.reached"):
    """The position of the read models that are not halted."""

    position: int


class Projector:
    """
    Feeds all read models and answers their queries; enter it to open the file, then `run` it. `files` is what makes the
    connections: `Database`, or its twin.
    """

    def __init__(
        self,
        path: Path,
        events: EventLog,
        models: Sequence[ReadModel],
        *,
        readers: int = 2,
        read_wait_s_max: float = 1,
        files: Callable[..., Database] = Database,
    ) -> None:
        self._path, self._log, self._models = path, events, models
        self._writer = files(path, SCHEMA_VERSION, TABLES, durable=False)
        self._readers = [files(path, SCHEMA_VERSION, TABLES, read_only=True) for _ in range(readers)]
        self._read_wait_s_max, self._deadlines = read_wait_s_max, Deadlines()
        self._turn = 0
        self.trouble: str | None = None
        self._news = asyncio.Event()
        self._waiting: dict[asyncio.Future[None], int] = {}  # for which position
        self._listeners: list[Callable[[Sequence[Recorded]], None]] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with self._stack:
            await self._stack.enter_async_context(await self._usable())
            self._stand(await self._writer.run(self._prepare, self._log.head))
            for reader in self._readers:
                await self._stack.enter_async_context(reader)
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._stack.aclose()

    async def _usable(self) -> Database:
        """Put a file that can't be used aside: everything in it is made again from the log."""
        try:
            async with self._writer:
                await self._writer.run(_check_pages)
        except StorageError as error:
            if not self._path.exists():
                raise
            aside = self._path.with_name(f"{self._path.name}.unusable")
            log.warning("%s; it is put aside as %s and made again", error, aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._path.replace(aside)
        return self._writer

    @property
    def position(self) -> int:
        """How far every model that is not halted has come."""
        return self._log.head if self._position is None else self._position

    def _stand(self, standings: dict[str, Standing]) -> None:
        self._standings = standings
        self._position = min((s.position for s in standings.values() if not s.halted), default=None)

    def statistics(self) -> dict[str, Standing]:
        """Each model's standing, by its name."""
        return dict(self._standings)

    def on_applied(self, listener: Callable[[Sequence[Recorded]], None]) -> None:
        """Tell the listener of each batch right after it can be read."""
        self._listeners.append(listener)

    async def open(self, bus: Bus) -> None:
        """Serve the queries of all models."""
        await bus.serve(query_subject(AskReached), self._answer_reached)
        for model in self._models:
            for query in model.answers:
                await bus.serve(query_subject(query), self._answerer(model.answers[query]))

    async def run(self, clock: Clock | None = None) -> None:
        """
        Follow the log for ever. With a clock, that is unhurried, and what the disk does not take is tried again until
        it does.
        """
        following = self._log.tail(self.position) if clock is None else unhurried(self._log, self.position, clock)
        async with aclosing(following) as batches:
            async for batch in batches:
                while not await self._fed(batch, is_patient=clock is not None):
                    assert clock is not None
                    await clock.sleep(RETRY_S)

    async def read(self, function: Callable[[Connection, Any], Any], query: Any) -> Any:
        """Run a function of a read-only connection."""
        self._turn += 1
        return await self._readers[self._turn % len(self._readers)].run(function, query)

    async def wait_reached(self, position: int) -> None:
        """Wait until the models have come so far, but no longer than the limit: a late read beats none."""
        if self.position >= position:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[reached] = position
        try:
            with self._deadlines.within(self._read_wait_s_max):
                await reached
        except TimeoutError:
            log.warning("the read models are at %d, a reader waited for %d", self.position, position)
        finally:
            del self._waiting[reached]

    async def wait_caught_up(self) -> AsyncGenerator[tuple[int, int], None]:
        """Give (position, head) whenever there is progress, until the models have come to where the log is now."""
        head = self._log.head
        while self.position < head:
            news = self._news  # before the step is given: what comes while it is taken in counts too
            yield self.position, head
            await news.wait()

    def _answerer(self, answer: Callable[[Connection, Any], Struct | None]) -> Callable[[str, Envelope], Any]:
        async def handle(subject: str, envelope: Envelope) -> Answer:
            await self.wait_reached(envelope.at_least)
            position = self.position
            return Answer(await self.read(answer, envelope.message), position)

        return handle

    async def _answer_reached(self, subject: str, envelope: Envelope) -> Answer:
        await self.wait_reached(envelope.at_least)
        return Answer(Reached(self.position), self.position)

    async def _fed(self, batch: Sequence[Recorded], *, is_patient: bool) -> bool:
        """Feed a batch, and say if the disk took it; raise `DiskTrouble` where waiting is no help or not wanted."""
        try:
            await self._feed(batch)
        except BrokenFile:  # the next start makes it again
            raise
        except DiskTrouble as error:
            if not is_patient:
                raise
            if self.trouble is None:
                log.error("the read models stand still: %s", error)
            self.trouble = str(error)
            return False
        if self.trouble is not None:
            log.info("the read models go on")
        self.trouble = None
        return True

    async def _feed(self, batch: Sequence[Recorded]) -> None:
        self._stand(await self._writer.run(self._apply_batch, batch, self._standings))
        for listener in self._listeners:
            listener(batch)
        self._news.set()
        self._news = asyncio.Event()
        here = self.position
        for reached, position in self._waiting.items():
            if position <= here and not reached.done():
                reached.set_result(None)

    # In the writer's thread.

    def _prepare(self, db: Connection, head: int) -> dict[str, Standing]:
        """Make the tables of new models, and again those that were made otherwise; raise `LogTooShort`."""
        standings = {}
        with transaction(db):
            known = {
                name: (version, position)
                for name, version, position in db.execute("SELECT name, version, position FROM models")
            }
            for model in self._models:
                version, position = known.get(model.name, (0, 0))
                if position > head:
                    raise LogTooShort(self._path, position, head)
                if version != model.version:
                    _make_again(db, model)
                    position = 0
                db.execute("UPDATE models SET halted = NULL WHERE name = ?", (model.name,))
                standings[model.name] = Standing(position, None)
        return standings

    def _apply_batch(
        self, db: Connection, batch: Sequence[Recorded], standings: dict[str, Standing]
    ) -> dict[str, Standing]:
        """Apply to every model what it has not seen, together; only where that fails one by one, to find out whose."""
        try:
            with transaction(db):
                return self._advance_all(db, batch, standings)
        except Exception as error:
            if is_of_the_disk(error):
                raise
        with transaction(db):
            return {model.name: _advance(db, model, batch, standings[model.name]) for model in self._models}

    def _advance_all(
        self, db: Connection, batch: Sequence[Recorded], standings: dict[str, Standing]
    ) -> dict[str, Standing]:
        newest, moved = batch[-1].position, {}
        for model in self._models:
            standing = standings[model.name]
            if standing.halted:
                continue
            for record in model.own(batch):
                if record.position > standing.position:
                    model.apply(db, record)
            moved[model.name] = Standing(max(standing.position, newest), None)
        # By their names: the file may hold a model that this marketd does not know, and another one will go on with.
        names = ",".join("?" * len(moved))
        db.execute(f"UPDATE models SET position = ? WHERE position < ? AND name IN ({names})", (newest, newest, *moved))
        return standings | moved


def _advance(db: Connection, model: ReadModel, batch: Sequence[Recorded], standing: Standing) -> Standing:
    """Apply to one model what it has not seen; halt it where that fails."""
    if standing.halted:
        return standing
    db.execute("SAVEPOINT model")
    record: Recorded | None = None
    try:
        for record in model.own(batch):
            if record.position > standing.position:
                model.apply(db, record)
        after = Standing(max(standing.position, batch[-1].position), None)
    except Exception as error:  # whatever it is, it halts this model alone, unless it would halt them all
        if is_of_the_disk(error):
            raise
        where = f"{record.stream}@{record.version}" if record else "?"
        log.exception("the read model %s is halted at %s", model.name, where)
        db.execute("ROLLBACK TO model")
        after = Standing(standing.position, f"{where}: {type(error).__name__}: {error}")
    db.execute("RELEASE model")
    db.execute("UPDATE models SET position = ?, halted = ? WHERE name = ?", (*after, model.name))
    return after


def _check_pages(db: Connection) -> None:
    """Touch what the start needs; raise `BrokenFile` by way of SQLite."""
    db.execute("SELECT * FROM models").fetchall()


def _make_again(db: Connection, model: ReadModel) -> None:
    for name, definition in model.tables.items():
        db.execute(f"DROP TABLE IF EXISTS {name}")
        db.execute(definition)
    for definition in model.indexes:
        db.execute(definition)
    db.execute("INSERT OR REPLACE INTO models VALUES(?, ?, 0, NULL)", (model.name, model.version))
