"""Backup and restore: what comes back is what was there, and nothing half-done ever looks whole."""

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pytest

from marketd.actors.notices.sent import SentByChannel, SentFile
from marketd.actors.payments.stripe_ledger import StripeLedger
from marketd.clock import SystemClock
from marketd.config.archiving import BackupRefused, Made, RestoreRefused, backup, restore
from marketd.config.folder import FolderForeign, FolderMissing, FolderUnusable, found, is_kept, opened
from marketd.config.progress import Progress
from marketd.storage.archive import ArchiveDamaged, ArchiveError, ArchiveThere, Manifest
from marketd.storage.database import Part, cut, rows
from tests.clock import TestClock
from tests.config.stores import HEAD, alter, contents, old_store
from tests.config.test_verifying import faults

CLOCK: Final = SystemClock()
BIG_BYTES: Final = 96 * 1024 * 1024
DATABASES: Final = ("events.db", "sandbox.db")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = old_store(tmp_path / "data")
    (data / "keys").mkdir()
    (data / "keys" / "links.key").write_bytes(b"k" * 32)
    return data


def backed_up(data: Path, target: Path) -> Made:
    return backup(found(data), target, CLOCK, Progress(CLOCK))


def restored(source: Path, into: Path, free_bytes_min: int = 0) -> Manifest:
    return restore(source, into, free_bytes_min, Progress(CLOCK))


def files(data: Path) -> dict[str, bytes]:
    """All files but the databases and the lock."""
    paths = [path for path in data.rglob("*") if path.is_file() and ".db" not in path.name]
    return {str(path.relative_to(data)): path.read_bytes() for path in paths if path.name != "marketd.lock"}


def big(data: Path) -> str:
    """An upload that takes a while to be copied; on the disk it takes no room."""
    digest = sha256()
    for _ in range(BIG_BYTES // 2**20):
        digest.update(bytes(2**20))
    path = data / "files" / digest.hexdigest()[:2] / digest.hexdigest()
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(BIG_BYTES)
    return str(path.relative_to(data))


def test_what_comes_back_is_what_was_there(data: Path, tmp_path: Path) -> None:
    backed_up(data, tmp_path / "store.tar")
    restored(tmp_path / "store.tar", tmp_path / "again")

    assert contents(data, DATABASES) == contents(tmp_path / "again", DATABASES)
    assert files(data) == files(tmp_path / "again")


def test_what_comes_back_is_as_it_must_be(data: Path, tmp_path: Path) -> None:
    backed_up(data, tmp_path / "store.tar")
    restored(tmp_path / "store.tar", tmp_path / "again")

    assert [] == faults(tmp_path / "again", files=True)


def test_stripes_ledger_begins_anew_after_a_restore(data: Path, tmp_path: Path) -> None:
    """Whatever the clock says, and though a new file may get the inode of an old one."""

    async def keep(ledger: StripeLedger) -> None:
        async with ledger:
            pass

    asyncio.run(keep(StripeLedger(data / "stripe.db", TestClock(1))))
    backed_up(data, tmp_path / "store.tar")
    restored(tmp_path / "store.tar", tmp_path / "again")

    ledger, log = Part(tmp_path / "again" / "stripe.db", 1), Part(tmp_path / "again" / "events.db", 1)
    with cut(ledger, log) as (kept, events):
        (tables,) = rows(ledger.path, kept, "SELECT group_concat(name) FROM sqlite_master WHERE name = 'file'")
        ((began_at,),) = rows(ledger.path, kept, "SELECT began_at FROM ledger")
        ((newest,),) = rows(log.path, events, "SELECT max(at) FROM commits")
    assert ((None,), True) == (tables, began_at > newest)


def test_what_comes_back_is_for_nobody_else(data: Path, tmp_path: Path) -> None:
    backed_up(data, tmp_path / "store.tar")
    before = os.umask(0o077)
    try:
        restored(tmp_path / "store.tar", tmp_path / "again")
    finally:
        os.umask(before)

    kept = [tmp_path / "again", *(tmp_path / "again").rglob("*")]
    assert [] == [path for path in kept if path.stat().st_mode & 0o077]


def test_what_was_told_people_comes_back_too(data: Path, tmp_path: Path) -> None:
    async def tell() -> None:
        async with SentFile(data / "notices.db") as file:
            await SentByChannel(file, "email").keep("o1.7.receipt", "email", 7)

    asyncio.run(tell())
    backed_up(data, tmp_path / "store.tar")
    restored(tmp_path / "store.tar", tmp_path / "again")

    assert contents(data, ["notices.db"]) == contents(tmp_path / "again", ["notices.db"])
    assert [("email", "o1.7.receipt", "email", 7)] in contents(tmp_path / "again", ["notices.db"]).values()


def test_a_backup_says_up_to_where_it_goes(data: Path, tmp_path: Path) -> None:
    made = backed_up(data, tmp_path / "store.tar")

    with tarfile.open(tmp_path / "store.tar") as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        manifest = msgspec.json.decode(file.read(), type=Manifest)
    assert (HEAD, HEAD, made.files) == (made.position, manifest.position, len(manifest.files))


def test_nothing_is_left_beside_a_backup(data: Path, tmp_path: Path) -> None:
    backed_up(data, tmp_path / "store.tar")

    assert {"data", "store.tar"} == {path.name for path in tmp_path.iterdir()}


def test_a_backup_of_a_backup_is_the_same(data: Path, tmp_path: Path) -> None:
    backed_up(data, tmp_path / "store.tar")
    restored(tmp_path / "store.tar", tmp_path / "again")
    backed_up(tmp_path / "again", tmp_path / "again.tar")
    restored(tmp_path / "again.tar", tmp_path / "third")

    assert contents(data, DATABASES) == contents(tmp_path / "third", DATABASES)


def test_a_backup_overwrites_nothing(data: Path, tmp_path: Path) -> None:
    (tmp_path / "store.tar").write_bytes(b"an older one")
    with pytest.raises(ArchiveThere):
        backed_up(data, tmp_path / "store.tar")

    assert b"an older one" == (tmp_path / "store.tar").read_bytes()


def test_what_is_made_again_is_in_no_backup(data: Path, tmp_path: Path) -> None:
    for name in ("read.db", "search/stamp.json", "nats/endpoint.json", "files/incoming/half", "keys/0.pem.new"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_bytes(b"x")
    backed_up(data, tmp_path / "store.tar")

    with tarfile.open(tmp_path / "store.tar") as tar:
        names = tar.getnames()
    assert [] == [name for name in names if not is_kept(name) and name != "manifest.json"]


def test_a_link_in_the_store_is_not_followed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"not the store's")
    (data / "keys" / "link").symlink_to(tmp_path / "secret")
    backed_up(data, tmp_path / "store.tar")

    with tarfile.open(tmp_path / "store.tar") as tar:
        assert "keys/link" not in tar.getnames()


def test_a_folder_that_can_not_be_looked_into_is_not_left_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: object) -> object:
        if str(path).endswith("keys"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)  # type: ignore[call-overload]

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(PermissionError, match="keys"):
        backed_up(data, tmp_path / "store.tar")


def test_a_damaged_upload_is_told_and_the_backup_made(data: Path, tmp_path: Path) -> None:
    path = min(path for path in (data / "files").rglob("*") if len(path.name) == 64 and path.is_file())
    path.write_bytes(b"!" * path.stat().st_size)

    assert [str(path.relative_to(data))] == backed_up(data, tmp_path / "store.tar").damaged
    assert (tmp_path / "store.tar").exists()


@pytest.mark.parametrize(
    ("altering", "place"),
    [
        ("UPDATE commits SET at = at + 1 WHERE position = 20", r"position 20: .*: it does not fit its hash"),
        ("DELETE FROM commits WHERE position = 20", r"position 20: there is no record at position 20"),
    ],
)
def test_of_a_damaged_log_no_backup_is_made(data: Path, tmp_path: Path, altering: str, place: str) -> None:
    alter(data / "events.db", altering)
    with pytest.raises(BackupRefused, match=f"the log is damaged .{place}.*marketd verify"):
        backed_up(data, tmp_path / "store.tar")

    assert [data] == list(tmp_path.iterdir())


def test_of_a_damaged_log_one_is_made_all_the_same_where_nobody_looks(data: Path, tmp_path: Path) -> None:
    alter(data / "events.db", "UPDATE commits SET at = at + 1 WHERE position = 20")
    made = backup(found(data), tmp_path / "store.tar", CLOCK, Progress(CLOCK), check=False)

    assert (HEAD, True) == (made.position, (tmp_path / "store.tar").exists())


@pytest.mark.parametrize("make", [lambda data: None, lambda data: data.mkdir()], ids=["missing", "empty"])
def test_what_is_no_store_is_not_backed_up(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "daat")
    with pytest.raises(FolderMissing):
        backed_up(tmp_path / "daat", tmp_path / "store.tar")


# Restore.


@pytest.fixture
def archive(data: Path, tmp_path: Path) -> Path:
    backed_up(data, tmp_path / "store.tar")
    return tmp_path / "store.tar"


def test_a_restore_overwrites_nothing(archive: Path, data: Path) -> None:
    before = files(data)
    with pytest.raises(RestoreRefused, match="is not empty: a restore overwrites nothing"):
        restored(archive, data)

    assert before == files(data)


def test_a_restore_takes_an_empty_directory(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    restored(archive, tmp_path / "again")

    assert [] == faults(tmp_path / "again")


def test_a_file_where_the_store_should_be_is_not_overwritten(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "again").write_bytes(b"a letter")
    with pytest.raises(RestoreRefused):
        restored(archive, tmp_path / "again")


def test_a_backup_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RestoreRefused, match="there is no backup"):
        restored(tmp_path / "store.tar", tmp_path / "again")


def test_a_disk_that_is_too_full_is_told_before_anything_is_written(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="is too full"):
        restored(archive, tmp_path / "again", free_bytes_min=2**62)

    assert {"data", "store.tar"} == {path.name for path in tmp_path.iterdir()}


def test_of_a_damaged_backup_nothing_is_left(archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[archive.stat().st_size // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError):
        restored(archive, tmp_path / "again")

    assert {"data", "store.tar"} == {path.name for path in tmp_path.iterdir()}


def test_a_log_that_does_not_end_where_the_manifest_says_is_refused(data: Path, tmp_path: Path) -> None:
    """As one would be that somebody has put together by hand from two backups."""
    backed_up(data, tmp_path / "whole.tar")
    alter(data / "events.db", f"DELETE FROM commits WHERE position = {HEAD}")
    backed_up(data, tmp_path / "short.tar")
    with tarfile.open(tmp_path / "whole.tar") as whole, tarfile.open(tmp_path / "short.tar") as short:
        inner = whole.extractfile("manifest.json"), short.extractfile("manifest.json")
        assert inner[0] is not None and inner[1] is not None
        manifest = msgspec.json.decode(inner[0].read()) | {"files": msgspec.json.decode(inner[1].read())["files"]}
        with tarfile.open(tmp_path / "mixed.tar", "w") as mixed:
            for member in short.getmembers()[:-1]:
                mixed.addfile(member, short.extractfile(member))
            (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(manifest))
            mixed.add(tmp_path / "manifest.json", "manifest.json")

    with pytest.raises(ArchiveDamaged, match="does not end where its manifest says"):
        restored(tmp_path / "mixed.tar", tmp_path / "again")


def test_what_a_killed_restore_has_left_is_removed(archive: Path, tmp_path: Path) -> None:
    left = tmp_path / ".again.restoring"
    (left / "files").mkdir(parents=True)
    (left / "events.db").write_bytes(b"half a log")
    restored(archive, tmp_path / "again")

    assert (False, []) == (left.exists(), faults(tmp_path / "again"))


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that can't be given a name, because a disk is mounted there; not everybody may mount one."""
    path = tmp_path / "again"
    path.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self == path)
    return path


def test_a_mount_point_is_filled(archive: Path, mounted: Path, data: Path) -> None:
    restored(archive, mounted)

    assert (files(data), []) == (files(mounted), faults(mounted, files=True))
    assert not (mounted / ".restoring").exists()


def test_what_a_killed_restore_has_left_on_a_mount_point_is_removed(archive: Path, mounted: Path) -> None:
    (mounted / ".restoring" / "files").mkdir(parents=True)
    restored(archive, mounted)

    assert [] == faults(mounted)


@pytest.mark.parametrize("parts", [["files"], ["files", "events.db"]])
def test_a_mount_point_that_was_filled_by_half_is_no_store(mounted: Path, parts: list[str]) -> None:
    for part in parts:
        (mounted / part).touch()
    with pytest.raises(FolderForeign), opened(mounted, 0):
        pass


# Killed.


def started(*arguments: str | Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "marketd", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def killed(
    process: subprocess.Popen[bytes], is_time: Callable[[], bool], number: signal.Signals = signal.SIGKILL
) -> int:
    """Give the blow when it is time; the process must have been at work."""
    with process:
        while not is_time():
            assert process.poll() is None, process.communicate()
        process.send_signal(number)
        return process.wait(10)


def is_growing(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.stat().st_size > 2**20


@pytest.mark.slow
def test_a_backup_that_is_killed_is_none(data: Path, tmp_path: Path) -> None:
    big(data)
    target = tmp_path / "store.tar"
    process = started("backup", target, "--data", data)

    assert -signal.SIGKILL == killed(process, is_growing(tmp_path / "store.tar.new"))
    assert not target.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_of_a_backup_that_was_asked_to_end_nothing_is_left(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    big(data)
    process = started("backup", tmp_path / "store.tar", "--data", data)

    assert 128 + number == killed(process, is_growing(tmp_path / "store.tar.new"), number)
    assert [data] == list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_of_a_restore_that_was_asked_to_end_nothing_is_left(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    name = big(data)
    backed_up(data, tmp_path / "store.tar")
    process = started("restore", tmp_path / "store.tar", "--data", tmp_path / "again")

    assert 128 + number == killed(process, is_growing(tmp_path / ".again.restoring" / name), number)
    assert {"data", "store.tar"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_the_next_backup_takes_no_notice_of_one_that_was_killed(data: Path, tmp_path: Path) -> None:
    name = big(data)
    killed(started("backup", tmp_path / "store.tar", "--data", data), is_growing(tmp_path / "store.tar.new"))
    (data / name).unlink()
    backed_up(data, tmp_path / "store.tar")
    restored(tmp_path / "store.tar", tmp_path / "again")

    assert ({"data", "store.tar", "again"}, []) == ({p.name for p in tmp_path.iterdir()}, faults(tmp_path / "again"))


@pytest.mark.slow
def test_a_restore_that_is_killed_leaves_no_store(data: Path, tmp_path: Path) -> None:
    name = big(data)
    backed_up(data, tmp_path / "store.tar")
    process = started("restore", tmp_path / "store.tar", "--data", tmp_path / "again")

    assert -signal.SIGKILL == killed(process, is_growing(tmp_path / ".again.restoring" / name))
    assert not (tmp_path / "again").exists()
    restored(tmp_path / "store.tar", tmp_path / "again")
    assert (tmp_path / "again" / name).stat().st_size == BIG_BYTES


def full_disk(bytes_max: int) -> Callable[[], None]:
    """What a process can't write more of than this, in one file."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))

    return limit


@pytest.mark.slow
@pytest.mark.parametrize("bytes_max", [2**16, 2**24], ids=["for the log", "for the files"])
def test_a_backup_that_finds_no_room_says_so_and_leaves_nothing(data: Path, tmp_path: Path, bytes_max: int) -> None:
    big(data)
    command = [sys.executable, "-m", "marketd", "backup", str(tmp_path / "store.tar"), "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=full_disk(bytes_max))

    (line,) = done.stderr.splitlines()
    assert (1, True) == (done.returncode, line.startswith(f"marketd: {tmp_path / 'store.tar'}")), line
    assert {"data"} == {path.name for path in tmp_path.iterdir()}
