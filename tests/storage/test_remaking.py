"""Read models made of the whole log at once: they are what a projector makes that follows it."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from marketd.config.codecs import MODELS, log_codec
from marketd.storage import sqlite
from marketd.storage.projector import AskReached, Projector, ReadModel, Standing
from marketd.storage.records import PAGE_RECORDS_MAX, LogReader
from marketd.storage.remaking import ModelFailed, remake
from tests.storage.history import append, market, random_history
from tests.storage.logs import sqlite_log
from tests.storage.test_projector import NOTES, STUMBLES, A, catch_up, dump, noted, stumbling

pytestmark = pytest.mark.asyncio


async def remade(folder: Path, models: Sequence[ReadModel], tell: list[tuple[int, int]] | None = None) -> Path:
    """Make the models beside a log, in a folder of their own."""
    again = folder / "again"
    again.mkdir(exist_ok=True)
    said = [] if tell is None else tell
    async with LogReader(folder / "events.db", log_codec(), sqlite.SCHEMA_VERSION) as records:
        await remake(again / "read.db", models, records, lambda done, total: said.append((done, total)))
    return again


async def log_of(folder: Path, count: int) -> None:
    async with sqlite_log(folder) as log:
        await append(log, A, *(str(n) for n in range(1, count + 1)))


def schema(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "read.db")) as db:
        return sorted(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_made_at_once_is_what_following_makes(tmp_path: Path, seed: int) -> None:
    async with sqlite_log(tmp_path) as log, market(tmp_path, log) as m:
        await random_history(m, seed, commands=300)
        await m.ask(AskReached())
    again = await remade(tmp_path, MODELS)

    assert (schema(tmp_path), dump(tmp_path, MODELS)) == (schema(again), dump(again, MODELS))


async def test_a_projector_goes_on_where_it_ends(tmp_path: Path) -> None:
    await log_of(tmp_path, 2)
    again = await remade(tmp_path, [NOTES])
    async with sqlite_log(tmp_path) as log:
        await append(log, A, "3")
        async with Projector(again / "read.db", log, [NOTES]) as projector:
            before = projector.statistics()
            await catch_up(projector)

    assert ({"notes": Standing(2, None)}, [1, 2, 3]) == (before, noted(again))


async def test_a_log_of_several_pages_is_taken_in_whole_and_in_order(tmp_path: Path) -> None:
    count = 2 * PAGE_RECORDS_MAX + 1
    await log_of(tmp_path, count)

    assert list(range(1, count + 1)) == noted(await remade(tmp_path, [NOTES]))


async def test_it_tells_how_far_it_is(tmp_path: Path) -> None:
    count = PAGE_RECORDS_MAX + 1
    await log_of(tmp_path, count)
    said: list[tuple[int, int]] = []
    await remade(tmp_path, [NOTES], said)

    assert [(0, count), (PAGE_RECORDS_MAX, count), (count, count)] == said


async def test_an_empty_log_makes_empty_models(tmp_path: Path) -> None:
    await log_of(tmp_path, 0)

    assert [] == noted(await remade(tmp_path, [NOTES]))


async def test_a_model_that_fails_is_named_with_its_record(tmp_path: Path) -> None:
    await log_of(tmp_path, 3)
    stumbles = replace(STUMBLES, apply=stumbling(2, ZeroDivisionError("one too many")))
    with pytest.RaisesGroup(pytest.RaisesExc(ModelFailed, match=r"stumbles .* order/a@2: ZeroDivisionError: one too")):
        await remade(tmp_path, [NOTES, stumbles])
