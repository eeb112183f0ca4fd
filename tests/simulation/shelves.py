"""`read.db` without a file: an SQLite database in memory that outlives processes; a twin of `storage.database`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar

from marketd.config.codecs import MODELS
from marketd.storage.database import Connection, Database
from marketd.storage.projector import TABLES, Standing, _advance, _make_again

if TYPE_CHECKING:
    from tests.simulation.world import Host, World

P = ParamSpec("P")
T = TypeVar("T")

TRIP_S_MAX: Final = 0.002


class Shelves:
    """The file `read.db` of one world."""

    path: Final = Path("read.db")

    def __init__(self, world: World) -> None:
        self._world = world
        self._connection: Connection | None = None

    def opener(self, host: Host) -> Callable[..., Database]:
        """Give what a process opens the file with."""

        def opened(path: Path, schema_version: int, tables: str, **how: Any) -> Database:
            return SimulatedDatabase(self._world, host, self._connect, path, schema_version, tables, **how)

        return opened

    def difference(self) -> list[str]:
        """Say in what it differs from what the whole log makes of an empty file."""
        fresh = Shelves(self._world)
        db, records = fresh._connect(TABLES), self._world.disk.records
        for model in MODELS:
            _make_again(db, model)
            if records:  # there are runs in which nobody comes to anything
                _advance(db, model, records, Standing(0, None))
        return sorted(_rows(self._connect(TABLES)) ^ _rows(db))

    def _connect(self, tables: str) -> Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
            self._connection.executescript(tables)
        return self._connection


class SimulatedDatabase(Database):
    """A connection that needs a moment for each function, and runs it whole or not at all."""

    def __init__(self, world: World, host: Host, connect: Callable[[str], Connection], *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._world, self._host, self._connect = world, host, connect

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        pass

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(self._world.chance.uniform(0, TRIP_S_MAX))
        return function(self._connect(self._tables), *args, **kwargs)


def _rows(db: Connection) -> set[str]:
    """Write out all rows, but those of FTS5's own tables, whose form depends on how often they were written to."""
    tables = [name for model in MODELS for name, definition in model.tables.items() if "VIRTUAL" not in definition]
    return {f"{name}: {row}" for name in tables for row in db.execute(f"SELECT * FROM {name}")}
