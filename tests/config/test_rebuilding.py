"""Rebuilding: what is made again is what a service would have made, and until it is whole the old one stays."""

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Final

import pytest

from marketd.clock import SystemClock
from marketd.config.folder import FolderInUse, FolderMissing, opened
from marketd.config.progress import Progress
from marketd.config.rebuilding import RebuildFailed, rebuild
from marketd.config.settings import Data, Search, Settings, Storage
from tests.config.stores import HEAD, alter, chained_again, contents, old_store
from tests.config.test_verifying import faults

pytestmark = pytest.mark.asyncio

CLOCK: Final = SystemClock()
# Rebuilds, and kills itself at the first sign of progress with a certain name.
SUICIDAL: Final = """
import asyncio, os, signal, sys
from marketd.clock import SystemClock
from marketd.config.progress import Progress
from marketd.config.rebuilding import rebuild
from marketd.config.settings import Data, Settings, Storage

class Fatal(Progress):
    def tell(self, label, done, total):
        if label == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)

clock = SystemClock()
asyncio.run(rebuild(Settings(data=Data(sys.argv[1]), storage=Storage(free_bytes_min=0)), clock, Fatal(clock)))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return old_store(tmp_path / "data")


def settings(data: Path, *, with_index: bool = True) -> Settings:
    return Settings(data=Data(str(data)), storage=Storage(free_bytes_min=0), search=Search(enabled=with_index))


async def rebuilt(data: Path, *, with_index: bool = True) -> int:
    return await rebuild(settings(data, with_index=with_index), CLOCK, Progress(CLOCK))


async def test_the_read_models_come_to_the_end_of_the_log(data: Path) -> None:
    assert HEAD == await rebuilt(data)
    assert {HEAD} == {position for _, _, position, _ in contents(data, ["read.db"])["read.db/models"]}


async def test_the_index_comes_to_the_end_of_the_log(data: Path) -> None:
    await rebuilt(data)

    assert HEAD == json.loads((data / "search" / "stamp.json").read_text())["position"]


async def test_what_is_made_again_is_as_it_must_be(data: Path) -> None:
    await rebuilt(data)

    assert [] == faults(data)


async def test_what_is_made_again_is_what_the_log_comes_to(data: Path) -> None:
    await rebuilt(data)

    assert [] == faults(data, models=True)


@pytest.mark.parametrize(
    ("change", "model", "table"),
    [
        ("UPDATE products SET title = 'Nonsense'", "catalog", "products"),
        ("DELETE FROM library", "library", "library"),
        ("UPDATE orders SET seller_id = 'x' WHERE rowid = 1", "orders", "orders"),
    ],
)
async def test_what_the_log_does_not_come_to_is_named(data: Path, change: str, model: str, table: str) -> None:
    await rebuilt(data)
    alter(data / "read.db", change)

    expected = f"the read model {model} differs from a replay: the rows of {table} are not what the log comes to"
    assert [f"position {HEAD}: {expected}"] == faults(data, models=True)


async def test_it_is_the_same_each_time(data: Path) -> None:
    await rebuilt(data)
    first = contents(data, ["read.db"])
    await rebuilt(data)

    assert first == contents(data, ["read.db"])


async def test_what_was_wrong_is_put_right(data: Path) -> None:
    await rebuilt(data)
    right = contents(data, ["read.db"])
    alter(data / "read.db", "UPDATE products SET title = 'Nonsense'")
    await rebuilt(data)

    assert right == contents(data, ["read.db"])


async def test_a_file_that_is_no_database_is_replaced(data: Path) -> None:
    (data / "read.db").write_bytes(b"This is a letter, not a database. " * 100)
    await rebuilt(data)

    assert [] == faults(data)


async def test_nothing_is_left_beside_it(data: Path) -> None:
    await rebuilt(data)

    assert [] == [name for name in os.listdir(data) if ".new" in name]


async def test_without_an_index_none_is_made(data: Path) -> None:
    await rebuilt(data, with_index=False)

    assert not (data / "search").exists()


async def test_while_a_service_runs_nothing_is_touched(data: Path) -> None:
    await rebuilt(data)
    before = contents(data, ["read.db"])
    with opened(data, 0), pytest.raises(FolderInUse):
        await rebuilt(data)

    assert before == contents(data, ["read.db"])


async def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FolderMissing):
        await rebuilt(tmp_path / "daat")

    assert not (tmp_path / "daat").exists()


async def test_a_read_model_that_can_not_take_in_the_log_leaves_the_old_ones(data: Path) -> None:
    """No column holds such a price; nor does any seller ask it."""
    await rebuilt(data)
    before = contents(data, ["read.db"])
    alter(data / "events.db", f"UPDATE commits SET events = replace(events, '1999', '{10**20}')")
    chained_again(data / "events.db")
    with pytest.raises(RebuildFailed, match=r"the read model \w+ can't take in the log: .*; the old one stays"):
        await rebuilt(data)

    assert before == contents(data, ["read.db"])


@pytest.mark.slow
@pytest.mark.parametrize("when", ["read models", "search index"])
async def test_killed_on_the_way_it_leaves_nothing_that_is_wrong(data: Path, when: str) -> None:
    await rebuilt(data)
    right = contents(data, ["read.db"])
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SUICIDAL, str(data), when)

    assert (-signal.SIGKILL, [], right) == (await process.wait(), faults(data), contents(data, ["read.db"]))
    shutil.rmtree(data / "search", ignore_errors=True)
    assert HEAD == await rebuilt(data)
