"""Mails as files: whole, private, and never more than so many."""

import asyncio
import stat
from email import message_from_bytes
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from marketd.actors.notices.mime import Sender
from marketd.actors.notices.outbox import Outbox
from marketd.actors.notices.port import Mail, NoticeFailed, Sent

pytestmark = pytest.mark.asyncio

MAIL: Final = Mail("t1.verify-email", "ann@example.org", "Confirm", "Open it\n", 1_700_000_000_000)


def outbox(folder: Path, files_max: int = 3) -> Outbox:
    return Outbox(folder / "mail", Sender("shop@shop.example", "Shop"), files_max=files_max)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "mail").iterdir())


async def test_a_mail_becomes_a_file_that_mail_programs_open(tmp_path: Path) -> None:
    sent = await outbox(tmp_path).send(MAIL)

    message = message_from_bytes((tmp_path / "mail" / "t1.verify-email.eml").read_bytes())
    assert (Sent(), "ann@example.org", "Confirm") == (sent, message["To"], message["Subject"])


async def test_a_repeat_takes_the_place_of_the_first(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    await box.send(MAIL)
    await box.send(MAIL)

    assert ["t1.verify-email.eml"] == names(tmp_path)


async def test_a_mail_is_for_the_service_alone(tmp_path: Path) -> None:
    await outbox(tmp_path).send(MAIL)

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "mail", *(tmp_path / "mail").iterdir())]
    assert [0o700, 0o600] == modes


async def test_of_too_many_the_oldest_is_removed(tmp_path: Path) -> None:
    box = outbox(tmp_path)
    for number in range(5):
        await box.send(replace(MAIL, mail_id=f"t{number}.verify-email"))

    assert [f"t{number}.verify-email.eml" for number in (2, 3, 4)] == names(tmp_path)


async def test_those_that_another_life_has_kept_count_too(tmp_path: Path) -> None:
    for number in range(5):
        await outbox(tmp_path).send(replace(MAIL, mail_id=f"t{number}.verify-email"))

    assert [f"t{number}.verify-email.eml" for number in (2, 3, 4)] == names(tmp_path)


async def test_a_mail_that_can_not_be_kept_is_tried_again_later(tmp_path: Path) -> None:
    (tmp_path / "mail").touch()

    with pytest.raises(NoticeFailed, match="can't be kept"):
        await outbox(tmp_path).send(MAIL)


async def test_there_are_never_more_than_so_many_however_many_come_at_once(tmp_path: Path) -> None:
    for lot in range(10):
        box = outbox(tmp_path / str(lot))
        (tmp_path / str(lot)).mkdir()
        await asyncio.gather(*(box.send(replace(MAIL, mail_id=f"{number:03}")) for number in range(40)))

        assert 3 == len(names(tmp_path / str(lot)))
