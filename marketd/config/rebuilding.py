"""
Rebuilding: the read models and the search index made again from the log, beside the old ones, which they replace when
they are complete. If it is killed, the old ones stay, or none, which the next start makes.

    RebuildFailed    a read model can't apply the log
"""

import shutil
from functools import partial
from pathlib import Path

from marketd.clock import Clock
from marketd.config.codecs import MODELS, log_codec
from marketd.config.folder import Folder, found, opened
from marketd.config.progress import Progress
from marketd.config.settings import Settings
from marketd.storage import sqlite
from marketd.storage.database import Database
from marketd.storage.projector import SCHEMA_VERSION
from marketd.storage.records import LogReader
from marketd.storage.remaking import ModelFailed, remake


class RebuildFailed(Exception):
    """The message is one line for the operator."""


async def rebuild(settings: Settings, clock: Clock, progress: Progress) -> int:
    """Rebuild read models and index while no service runs; give the log position that they have reached."""
    found(Path(settings.data.dir))
    with opened(Path(settings.data.dir), settings.storage.free_bytes_min) as folder:
        fresh = folder.reads.with_name(f"{folder.reads.name}.new")
        position = await _make_models(folder, fresh, progress)
        (folder.search / "stamp.json").unlink(missing_ok=True)  # an index without its stamp counts as missing
        _remove(folder.reads)
        fresh.rename(folder.reads)
        if settings.search.enabled:
            await _make_index(folder, clock, progress)
    return position


async def _make_models(folder: Folder, fresh: Path, progress: Progress) -> int:
    _remove(fresh)
    try:
        async with LogReader(folder.events, log_codec(), sqlite.SCHEMA_VERSION) as records:
            return await remake(fresh, MODELS, records, partial(progress.tell, "read models"))
    except* ModelFailed as failed:
        _remove(fresh)
        raise RebuildFailed(f"{failed.exceptions[0]}; the old one stays") from None


async def _make_index(folder: Folder, clock: Clock, progress: Progress) -> None:
    from marketd.storage.search import (
        SearchIndex,
    )  # imported here: Whoosh, 3 MB, which a service has in another process

    fresh = folder.search.with_name(f"{folder.search.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    async with Database(folder.reads, SCHEMA_VERSION, "", read_only=True) as catalogue:
        index = SearchIndex(fresh, catalogue, clock)
        await index.begin()
        reached = await index.reached()
        while index.position < reached:
            await index.catch_up()
            progress.tell("search index", index.position, reached)
    shutil.rmtree(folder.search, ignore_errors=True)
    fresh.rename(folder.search)


def _remove(path: Path) -> None:
    """Remove a database, and SQLite's files beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
