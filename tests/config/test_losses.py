"""What a store has lost is told at the start, where it has anything to lose."""

import logging
from pathlib import Path

import pytest

from marketd.config.folder import Folder
from marketd.config.losses import KEYS, tell_lost_keys
from marketd.config.paying import make_processor
from marketd.config.settings import Settings
from tests.actors.payments.parties import breaker_of
from tests.clock import TestClock
from tests.config.stores import alter, old_store


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "keys").mkdir()
    return Folder(tmp_path)


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_is_missing_is_told_with_what_follows(
    folder: Folder, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    tell_lost_keys(folder, 1, *KEYS)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    start = f"{folder.keys / name} is missing and is made anew, but the store is not: "
    assert [start + KEYS[name]] == [message for message in told if message.startswith(start)]


def test_of_keys_that_are_there_nothing_is_told(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    for name in KEYS:
        (folder.keys / name.replace("*", "1")).touch()
    tell_lost_keys(folder, 1, *KEYS)

    assert [] == caplog.records


def test_a_new_store_has_lost_nothing(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    tell_lost_keys(folder, 0, *KEYS)

    assert [] == caplog.records


def warnings_of(data: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    clock = TestClock()
    make_processor(Settings(), Folder(data), clock, breaker_of(clock))
    return [record.getMessage() for record in caplog.records]


def test_a_ledger_that_is_missing_is_told_where_orders_were_paid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = old_store(tmp_path / "data")
    (data / "sandbox.db").unlink()
    (told,) = warnings_of(data, caplog)

    assert told.startswith(f"{data / 'sandbox.db'} is missing and is made anew, but orders were paid: ")


def test_where_none_was_paid_there_is_none_yet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = old_store(tmp_path / "data")
    (data / "sandbox.db").unlink()
    alter(data / "events.db", "UPDATE commits SET events = replace(events, 'order.paid', 'order.placed')")

    assert [] == warnings_of(data, caplog)


def test_of_a_ledger_that_is_there_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert [] == warnings_of(old_store(tmp_path / "data"), caplog)


def test_before_the_first_start_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert [] == warnings_of(tmp_path, caplog)
