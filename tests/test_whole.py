"""A file written whole: what is there after it went well, and after it did not."""

import os
import stat
from pathlib import Path

import pytest

from marketd.whole import write_whole


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what is brought to the disk, by the names that it has then."""
    names: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: names.append(os.readlink(f"/proc/self/fd/{handle}")))
    return names


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_whole(path, b"an old and long one")
    write_whole(path, b"a new one")

    assert (b"a new one", ["key"]) == (path.read_bytes(), os.listdir(tmp_path))


def test_it_is_for_its_owner_alone_also_where_something_was_left_behind(tmp_path: Path) -> None:
    left = tmp_path / "key.new"
    left.write_bytes(b"half")
    left.chmod(0o644)
    write_whole(tmp_path / "key", b"whole")

    assert 0o600 == stat.S_IMODE((tmp_path / "key").stat().st_mode)


def test_where_it_can_not_be_written_the_old_one_stays(tmp_path: Path) -> None:
    write_whole(tmp_path / "key", b"old")
    (tmp_path / "key.new").mkdir()
    with pytest.raises(OSError, match=r"key\.new"):
        write_whole(tmp_path / "key", b"new")

    assert b"old" == (tmp_path / "key").read_bytes()


def test_its_bytes_are_on_the_disk_before_it_has_its_name_and_then_the_name_is(
    tmp_path: Path, synced: list[str]
) -> None:
    write_whole(tmp_path / "key", b"new")

    assert [str(tmp_path / "key.new"), str(tmp_path)] == synced


def test_for_what_need_not_last_nobody_waits_for_the_disk(tmp_path: Path, synced: list[str]) -> None:
    write_whole(tmp_path / "key", b"new", lasts=False)

    assert (b"new", []) == ((tmp_path / "key").read_bytes(), synced)
