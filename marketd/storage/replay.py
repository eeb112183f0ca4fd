"""
The read models held against a fresh replay: each is made again, up to where it stands, in a scratch file, and compared
row by row. Tables that SQLite keeps in a form of its own (full text) are left out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

from marketd.storage.audit import TOLD_RECORDS, Tell
from marketd.storage.database import Connection, rows, scratch
from marketd.storage.log import Recorded
from marketd.storage.projector import ReadModel

COLUMNS: Final = "SELECT count(*) FROM pragma_table_info(?)"


def compare(
    reads: Connection,
    path: Path,
    models: Sequence[ReadModel],
    positions: Mapping[str, int],
    records: Iterable[Recorded],
    tell: Tell,
) -> Iterator[tuple[str, str]]:
    """Give each model that differs, and how; `positions` are those of the models that are to be compared."""
    compared = [model for model in models if model.name in positions]
    last = max(positions.values(), default=0)
    with scratch() as fresh:
        for model in compared:
            for definition in (*model.tables.values(), *model.indexes):
                fresh.execute(definition)
        broken: dict[str, str] = {}
        for record in records:
            for model in compared:
                is_due = record.position <= positions[model.name] and model.name not in broken
                if is_due and model.own((record,)):
                    try:
                        model.apply(fresh, record)
                    except Exception as error:  # whatever it is, it is this model's
                        broken[model.name] = f"it can't take in {record.stream}@{record.version}: {error}"
            if record.position % TOLD_RECORDS == 0:
                tell("read models", record.position, last)
        tell("read models", last, last)
        yield from broken.items()
        for model in compared:
            for table in model.tables if model.name not in broken else ():
                if " VIRTUAL " not in model.tables[table].upper() and _differ(reads, path, fresh, table):
                    yield model.name, f"the rows of {table} are not what the log comes to"


def _differ(reads: Connection, path: Path, fresh: Connection, table: str) -> bool:
    ((columns,),) = fresh.execute(COLUMNS, (table,))
    sql = f"SELECT * FROM {table} ORDER BY {', '.join(str(number + 1) for number in range(columns))}"
    pairs = zip_longest(rows(path, reads, sql), fresh.execute(sql))
    return any(found != expected for found, expected in pairs)
