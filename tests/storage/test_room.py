"""The room on the disk: what is still taken in, and that its operator is told."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from marketd.storage.database import DiskTrouble
from marketd.storage.room import FULL_BYTES, Room

MIN = 64 * 1024 * 1024


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Disk:
    """A disk whose free space the test sets."""

    def __init__(self) -> None:
        self.free = 2 * MIN

    def usage(self, folder: Path) -> Usage:
        return Usage(10 * MIN, 10 * MIN - self.free, self.free)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(shutil, "disk_usage", disk.usage)
    return disk


@pytest.fixture
def room(disk: Disk, tmp_path: Path) -> Room:
    return Room(tmp_path, free_bytes_min=MIN)


@pytest.mark.parametrize(
    ("free", "expected"),
    [(MIN, "ok"), (MIN - 1, "low"), (FULL_BYTES, "low"), (FULL_BYTES - 1, "full"), (0, "full")],
)
def test_the_state_follows_from_what_is_free(room: Room, disk: Disk, free: int, expected: str) -> None:
    disk.free = free

    assert (expected, free) == (room.state, room.statistics()["free_bytes"])


def test_what_sales_need_is_not_given_to_others(room: Room, disk: Disk) -> None:
    disk.free = MIN + 10
    room.see(10)
    with pytest.raises(DiskTrouble, match="would be free"):
        room.see(11)


def test_each_change_is_logged_once(room: Room, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for disk.free in (2 * MIN, MIN - 1, MIN - 2, 0, 1, MIN - 1, 2 * MIN, 2 * MIN):
        room.look()

    assert ["WARNING", "ERROR", "WARNING", "INFO"] == [record.levelname for record in caplog.records]


def test_the_real_disk_says_how_much_is_free(tmp_path: Path) -> None:
    assert Room(tmp_path, free_bytes_min=0).free_bytes > 0
