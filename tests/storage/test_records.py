"""The log's file can be read beside the service that writes it."""

from pathlib import Path

import pytest

from marketd.config.codecs import log_codec
from marketd.storage import sqlite
from marketd.storage.records import PAGE_RECORDS_MAX, ROW_RECORDS_MAX, LogReader
from tests.storage.history import START_MS, append, commit
from tests.storage.logs import ids, sqlite_log

pytestmark = pytest.mark.asyncio

A, B = "account/a", "account/b"


def reader(folder: Path) -> LogReader:
    return LogReader(folder / "events.db", log_codec(), sqlite.SCHEMA_VERSION)


async def test_it_reads_what_is_written_while_it_is_open(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log, reader(tmp_path) as reading:
        await append(log, A, "a1")
        before = await reading.page(0)
        await append(log, B, "b1")

        assert (["a1"], ["a1", "b1"], 2) == (ids(before), ids(await reading.page(0)), await reading.head())


async def test_a_page_is_not_longer_than_its_limit(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log, reader(tmp_path) as reading:
        await append(log, A, *(f"a{number}" for number in range(PAGE_RECORDS_MAX + 1)))

        assert (PAGE_RECORDS_MAX, 1) == (len(await reading.page(0)), len(await reading.page(PAGE_RECORDS_MAX)))


async def test_a_part_of_a_stream_can_be_read(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log, reader(tmp_path) as reading:
        await append(log, A, "a1", "a2", "a3")

        assert ["a2"] == ids(await reading.read(A, 1, 2))


async def test_a_stream_of_more_records_than_a_row_holds_is_read_in_order(tmp_path: Path) -> None:
    names = [f"a{number}" for number in range(2 * ROW_RECORDS_MAX + 1)]
    async with sqlite_log(tmp_path) as log, reader(tmp_path) as reading:
        await append(log, A, *names)

        assert (names, names[1:-1]) == (
            ids(await reading.read(A)),
            ids(await reading.read(A, 1, len(names) - 1)),
        )


@pytest.mark.parametrize("text", ["a\0b", "\u2028\ud7ff\U0010ffff", '"\\', "\x7f\x01"])
async def test_every_text_is_read_as_it_was_written(tmp_path: Path, text: str) -> None:
    async with sqlite_log(tmp_path) as log, reader(tmp_path) as reading:
        await log.append(A, 0, [commit(text, principal=text)])
        (record,) = await reading.page(0)

        assert (text, text) == (record.commit.command_id, record.commit.meta.principal)


@pytest.mark.parametrize(("since", "position"), [(0, 0), (1, 1), (2, 1), (3, 3), (99, 4)])
async def test_it_knows_what_was_before_a_time_also_if_the_clock_was_set_back(
    tmp_path: Path, since: int, position: int
) -> None:
    async with sqlite_log(tmp_path) as log, reader(tmp_path) as reading:
        for version, at in enumerate((0, 2, 1, 3)):
            await log.append(A, version, [commit(f"a{version}", at=START_MS + at)])

        assert position == await reading.before(START_MS + since)


async def test_an_empty_log_has_nothing_before_any_time(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path), reader(tmp_path) as reading:
        assert (0, 0, []) == (await reading.head(), await reading.before(0), await reading.page(0))
