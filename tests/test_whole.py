"""A file written whole: what is there after it went well, and after it did not."""

import os
import stat
from pathlib import Path
from typing import Final

import pytest

from marketd.whole import hand_over, inherit_owner, make_folder, write_whole

SOMEBODY: Final = 12_345
as_root: Final = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


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


# Whose it is.


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of somebody else's."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    return folder


def owners(folder: Path) -> dict[str, tuple[int, int]]:
    paths = {str(path.relative_to(folder)): path.lstat() for path in sorted(folder.rglob("*"))}
    return {name: (found.st_uid, found.st_gid) for name, found in paths.items()}


@as_root
def test_what_root_writes_belongs_to_whom_its_folder_belongs_to(theirs: Path) -> None:
    write_whole(theirs / "key", b"new")

    assert {"key": (SOMEBODY, SOMEBODY)} == owners(theirs)


@as_root
def test_so_do_the_folders_that_root_makes(theirs: Path) -> None:
    make_folder(theirs / "a" / "b", 0o700)

    assert {"a": (SOMEBODY, SOMEBODY), "a/b": (SOMEBODY, SOMEBODY)} == owners(theirs)


@as_root
def test_and_all_that_others_have_written_as_root(theirs: Path) -> None:
    (theirs / "nats" / "stream").mkdir(parents=True)
    (theirs / "nats" / "stream" / "1.blk").touch()
    hand_over(theirs, theirs)

    assert {(SOMEBODY, SOMEBODY)} == set(owners(theirs).values())


@as_root
def test_what_lies_elsewhere_is_given_to_nobody(tmp_path: Path, theirs: Path) -> None:
    for name in ("linked", "pointed at"):
        (tmp_path / name).touch()
    os.link(tmp_path / "linked", theirs / "linked")
    (theirs / "pointed at").symlink_to(tmp_path / "pointed at")
    hand_over(theirs, theirs)

    assert [0, 0] == [(tmp_path / name).stat().st_uid for name in ("linked", "pointed at")]


def test_who_is_root_asks_for_it_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    root = os.stat_result((0o100600, 0, 0, 1, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda handle: root)
    monkeypatch.setattr(os, "fchown", lambda handle, user, group: asked.append((user, group)))
    for user in (0, SOMEBODY):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        inherit_owner(-1, tmp_path)

    assert [(tmp_path.stat().st_uid, tmp_path.stat().st_gid)] == asked
