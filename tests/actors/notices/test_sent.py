"""What went out is on record for each channel, until nobody will hear of it again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.actors.notices.port import NoticeFailed
from marketd.actors.notices.sent import SentByChannel, SentFile
from marketd.storage.database import StorageError

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def file(tmp_path: Path) -> AsyncIterator[SentFile]:
    async with SentFile(tmp_path / "notices.db") as file:
        yield file


async def test_who_has_got_a_notice_is_known_also_after_a_restart(tmp_path: Path) -> None:
    async with SentFile(tmp_path / "notices.db") as file:
        await SentByChannel(file, "push").keep("n1", "phone", 7)
        await SentByChannel(file, "push").keep("n1", "desk", 7)
    async with SentFile(tmp_path / "notices.db") as file:
        assert {"phone", "desk"} == await SentByChannel(file, "push").of("n1")


async def test_of_another_notice_nobody_has_got_anything(file: SentFile) -> None:
    await SentByChannel(file, "push").keep("n1", "phone", 7)

    assert set() == await SentByChannel(file, "push").of("n2")


async def test_what_went_out_over_one_channel_did_not_over_another(file: SentFile) -> None:
    await SentByChannel(file, "push").keep("n1", "phone", 7)

    assert set() == await SentByChannel(file, "email").of("n1")


async def test_it_can_be_noted_twice(file: SentFile) -> None:
    for _ in range(2):
        await SentByChannel(file, "push").keep("n1", "phone", 7)

    assert {"phone"} == await SentByChannel(file, "push").of("n1")


async def test_what_lies_before_a_position_is_forgotten_for_one_channel(file: SentFile) -> None:
    for channel in ("email", "push"):
        for position in (6, 7, 8):
            await SentByChannel(file, channel).keep(f"n{position}", "x", position)
    await SentByChannel(file, "push").forget(7)

    known = {c: [n for n in (6, 7, 8) if await SentByChannel(file, c).of(f"n{n}")] for c in ("email", "push")}
    assert {"email": [6, 7, 8], "push": [8]} == known


async def test_trouble_of_the_disk_has_its_name(file: SentFile) -> None:
    await file.database.run(lambda db: db.execute("DROP TABLE sent"))
    sent = SentByChannel(file, "email")

    for asking in (sent.of("n1"), sent.keep("n1", "x", 1), sent.forget(1)):
        with pytest.raises(NoticeFailed):
            await asking


async def test_a_file_of_somebody_elses_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notices.db").write_text("not a database, but something that somebody wrote")

    with pytest.raises(StorageError):
        await SentFile(tmp_path / "notices.db").__aenter__()
