"""The data directory: whose it is, that one service at a time uses it, and that it can be used at all."""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from marketd.config.folder import LOCK, FolderError, FolderForeign, FolderInUse, FolderUnusable, is_in_use, opened
from tests.config.stores import GOLDEN, old_store

HOLDING: Final = """
import sys
from pathlib import Path
from marketd.config.folder import opened
with opened(Path(sys.argv[1]), 0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A data directory that another process uses."""
    folder = tmp_path / "data"
    command = [sys.executable, "-c", HOLDING, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and "held\n" == holder.stdout.readline()
        yield folder
        holder.communicate(timeout=20)


def refusal(path: Path, kind: type[FolderError], free_bytes_min: int = 0) -> str:
    with pytest.raises(kind) as caught, opened(path, free_bytes_min):
        pass
    return str(caught.value)


def test_a_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "b", 0) as folder:
        assert (tmp_path / "a" / "b", True) == (folder.path, folder.path.is_dir())


def test_a_new_directory_is_not_for_everybody(tmp_path: Path) -> None:
    with opened(tmp_path / "data", 0) as folder:
        assert 0 == stat.S_IMODE(folder.path.stat().st_mode) & 0o007


def test_everything_lies_within_the_directory(tmp_path: Path) -> None:
    with opened(tmp_path / "data", 0) as folder:
        paths = [folder.events, folder.reads, folder.sandbox, folder.files, folder.keys, folder.nats, folder.mail]

        assert {folder.path} == {path.parent for path in paths}


def test_a_directory_is_used_again(tmp_path: Path) -> None:
    with opened(tmp_path, 0) as folder:
        folder.events.touch()

    with opened(tmp_path, 0) as folder:
        assert folder.events.exists()


# Whose it is.


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    expected = f"{tmp_path} is not a data directory of marketd: it has thesis.tex in it"
    assert expected == refusal(tmp_path, FolderForeign)


def test_a_store_whose_lock_was_deleted_is_known_by_its_log(tmp_path: Path) -> None:
    data = old_store(tmp_path / "data")
    (data / LOCK).unlink()

    with opened(data, 0) as folder:
        assert (folder.path / LOCK).exists()


def test_so_is_one_that_was_killed_while_it_was_young(tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    tables = (GOLDEN / "events.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / "young.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(tables)
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"young.db{suffix}", killed / f"events.db{suffix}")

    with opened(killed, 0) as folder:
        assert (folder.path / LOCK).exists()


def test_a_database_of_something_else_is_no_proof(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "events.db")) as db:
        db.execute("CREATE TABLE concerts(at TEXT)")

    assert f"{tmp_path} is not a data directory of marketd: it has events.db in it" == refusal(tmp_path, FolderForeign)


def test_in_a_directory_of_something_else_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    refusal(tmp_path, FolderForeign)

    assert ["thesis.tex"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["lost+found", ".keep", ".DS_Store"])
def test_what_lies_in_any_directory_does_no_harm(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    with opened(tmp_path, 0) as folder:
        assert tmp_path == folder.path


# One at a time.


def test_a_directory_that_another_process_uses_is_refused(held: Path) -> None:
    assert f"another marketd is running on {held}" == refusal(held, FolderInUse)


def test_it_is_told_that_another_process_uses_it(held: Path) -> None:
    assert is_in_use(held)


def test_it_is_used_no_longer_than_the_process_lives(tmp_path: Path) -> None:
    killing = HOLDING.replace("sys.stdin.read()", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", killing, str(tmp_path)], check=False, stdout=subprocess.DEVNULL, timeout=20)

    assert (True, False) == ((tmp_path / LOCK).exists(), is_in_use(tmp_path))


def test_it_is_used_for_as_long_as_it_is_open(tmp_path: Path) -> None:
    with opened(tmp_path, 0):
        within = is_in_use(tmp_path)

    assert (True, False) == (within, is_in_use(tmp_path))


@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_directory_that_nobody_ever_used_is_not_in_use(tmp_path: Path, name: str) -> None:
    assert not is_in_use(tmp_path / name)


def test_asking_leaves_nothing_behind(tmp_path: Path) -> None:
    is_in_use(tmp_path)

    assert [] == list(tmp_path.iterdir())


# Whether it can be used.


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    said = refusal(tmp_path, FolderUnusable, free * 2)

    assert said.startswith(f"the disk of {tmp_path} is full: ") and said.endswith(f" {free * 2} are needed")


def test_a_directory_that_was_refused_is_not_held(tmp_path: Path) -> None:
    refusal(tmp_path, FolderUnusable, 2**80)

    assert not is_in_use(tmp_path)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = refusal(tmp_path / "file" / "data", FolderUnusable)
    assert f"the data directory {tmp_path / 'file' / 'data'} can't be used: Not a directory" == said


def test_a_directory_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: object, flags: int, mode: int = 0o777) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", read_only)

    assert f"the data directory {tmp_path} can't be used: Read-only file system" == refusal(tmp_path, FolderUnusable)


def test_a_store_that_lost_its_log_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with opened(tmp_path, 0) as folder:
        folder.events.touch()
        folder.sandbox.touch()
    (tmp_path / "events.db").unlink()

    expected = (
        f"{tmp_path}/events.db is missing, though sandbox.db is there: restore a backup, or take another directory"
    )
    assert expected == refusal(tmp_path, FolderUnusable)
