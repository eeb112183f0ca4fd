"""An SQLite file without a file and without threads: a twin of `storage.database` for tests that hold the clock."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from marketd.storage.database import Connection, Database

P = ParamSpec("P")
T = TypeVar("T")


class Books:
    """What is kept under each path; give `open` as `files`. It outlives those who use it."""

    def __init__(self) -> None:
        self._kept: dict[Path, Connection] = {}

    def open(self, path: Path, schema_version: int, tables: str, **how: Any) -> Database:
        if path not in self._kept:
            self._kept[path] = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._kept[path].executescript(tables)
        return _OpenBook(self._kept[path], path, schema_version, tables, **how)

    def close(self) -> None:
        for kept in self._kept.values():
            kept.close()


class _OpenBook(Database):
    """A connection that runs each function whole, and lets others run before."""

    def __init__(self, connection: Connection, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._open = connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        pass

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(0)
        return function(self._open, *args, **kwargs)
