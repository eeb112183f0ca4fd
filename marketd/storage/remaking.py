"""
The read models made of the whole log, in a file that nobody reads before it is whole.

So there is nothing to come back to on the way: no journal, no fsync before the end, one transaction, and the indexes
over all rows at once. The next page of the log is read and decoded while one is applied, on the other core.

    ModelFailed    a read model can't take in a record; what was made so far is of no use
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from marketd.storage.database import Connection, Database, is_of_the_disk
from marketd.storage.log import Recorded
from marketd.storage.projector import SCHEMA_VERSION, TABLES, ReadModel
from marketd.storage.records import LogReader
from marketd.whole import sync

CACHE_KIB: Final = 64 * 1024  # rows come in the order of time, and go into tables in any order

log = logging.getLogger("marketd.projector")


class ModelFailed(Exception):
    """The message says which model, at which record, and why."""


async def remake(path: Path, models: Sequence[ReadModel], records: LogReader, tell: Callable[[int, int], None]) -> int:
    """
    Make the file, which must not be there, and have it on the disk; `tell` of the records that are done, and of all.
    Give the position that all models have come to. Raise `ModelFailed`, `CorruptLog` or `StorageError`.
    """
    head = await records.head()
    async with Database(path, SCHEMA_VERSION, TABLES, durable=False) as file:
        await file.run(_begin, models)
        page = await records.page(0)
        while page:
            tell(page[0].position - 1, head)
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(records.page(page[-1].position))
                await file.run(_take_in, models, page)
            page = following.result()
        await file.run(_end, models, head)
    await asyncio.to_thread(sync, path)
    tell(head, head)
    return head


# In the file's thread.


def _begin(db: Connection, models: Sequence[ReadModel]) -> None:
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    db.execute("BEGIN")
    for model in models:
        for definition in model.tables.values():
            db.execute(definition)


def _take_in(db: Connection, models: Sequence[ReadModel], page: Sequence[Recorded]) -> None:
    for model in models:
        apply = model.apply
        record = page[0]
        try:
            for record in model.own(page):
                apply(db, record)
        except Exception as error:  # whatever it is, it is the model's, unless it is the disk's
            if is_of_the_disk(error):
                raise
            where = f"{record.stream}@{record.version}"
            log.exception("the read model %s is halted at %s", model.name, where)
            raise ModelFailed(
                f"the read model {model.name} can't take in the log: {where}: {type(error).__name__}: {error}"
            ) from None


def _end(db: Connection, models: Sequence[ReadModel], head: int) -> None:
    for model in models:
        for definition in model.indexes:
            db.execute(definition)
        db.execute("INSERT INTO models VALUES(?, ?, ?, NULL)", (model.name, model.version, head))
    db.execute("COMMIT")
