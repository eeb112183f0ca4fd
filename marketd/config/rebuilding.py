"""
Rebuilding: the read models and the search index made again from the log, beside the old ones, which they replace when
they are whole. Killed on the way, it leaves the old ones, or none, which the next start makes.

    RebuildFailed    a read model can't take in the log
"""

import asyncio
import shutil
from contextlib import aclosing
from pathlib import Path

from marketd.clock import Clock
from marketd.config.codecs import MODELS
from marketd.config.folder import Folder, found, opened
from marketd.config.progress import Progress
from marketd.config.settings import Settings
from marketd.config.wiring import event_log
from marketd.storage.database import Database
from marketd.storage.projector import SCHEMA_VERSION, Projector
from marketd.storage.search import SearchIndex


class RebuildFailed(Exception):
    """The message is one line for the operator."""


async def rebuild(settings: Settings, clock: Clock, progress: Progress) -> int:
    """Make read models and index again where no service runs; give the position that they have come to."""
    found(Path(settings.data.dir))
    with opened(Path(settings.data.dir), settings.storage.free_bytes_min) as folder:
        fresh = folder.reads.with_name(f"{folder.reads.name}.new")
        position = await _make_models(settings, folder, fresh, progress)
        (folder.search / "stamp.json").unlink(missing_ok=True)  # an index without its stamp is none
        _remove(folder.reads)
        fresh.rename(folder.reads)
        if settings.search.enabled:
            await _make_index(folder, clock, progress)
    return position


async def _make_models(settings: Settings, folder: Folder, fresh: Path, progress: Progress) -> int:
    _remove(fresh)
    async with event_log(folder, settings) as events, Projector(fresh, events, MODELS, readers=1) as projector:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(projector.run())
            async with aclosing(projector.wait_caught_up()) as steps:
                async for position, head in steps:
                    progress.tell("read models", position, head)
            running.cancel()
        halted = {name: standing.halted for name, standing in projector.statistics().items() if standing.halted}
        progress.tell("read models", events.head, events.head)
        position = events.head
    if halted:
        name, why = min(halted.items())
        _remove(fresh)
        raise RebuildFailed(f"the read model {name} can't take in the log: {why}; the old one stays")
    return position


async def _make_index(folder: Folder, clock: Clock, progress: Progress) -> None:
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
    """Remove a database, and what SQLite has beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
