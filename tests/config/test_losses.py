"""What a store has lost is told at the start, where it has anything to lose."""

import logging
from pathlib import Path

import pytest

from marketd.config.folder import Folder
from marketd.config.losses import KEYS, tell_lost_keys


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
