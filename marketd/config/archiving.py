"""
Backup and restore: the store written into one file, and made again from it.

The log, the ledgers, the stored responses, the deliveries to webhooks, the sent notices and the views are copied as of
one moment (`database.cut`): what a power cut at that moment would have left, which every start can handle. The uploaded
files are copied after them: a file never changes and is never removed, so all that the log refers to is there. Neither
a backup nor a store is ever half there: both are made under another name. The copied log is checked before it becomes
a backup, so that sound backups are not thrown away for a damaged one.

    BackupRefused     the log is damaged
    RestoreRefused    the target is not empty, there is no backup, or another restore is under way
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from marketd import __version__
from marketd.actors.notices import sent
from marketd.actors.payments import stripe_ledger
from marketd.clock import Clock, instant
from marketd.config.codecs import log_codec
from marketd.config.folder import KEPT_FILES, KEPT_FOLDERS, LOCK, STAGING, Folder, FolderUnusable, is_empty, is_kept
from marketd.config.ledgers import ledgers_of
from marketd.config.progress import Progress
from marketd.storage import answers, deliveries, sqlite, views
from marketd.storage.archive import FORMAT, ArchiveDamaged, Manifest, Writer, unpack, writing
from marketd.storage.audit import Faults, damaged, walk
from marketd.storage.database import Connection, Part, StorageError, changing, copy, cut, rows
from marketd.whole import hand_over, make_folder, sync

REFUSED: Final = "`marketd verify` names all that is wrong with it, and --no-check makes a backup of it all the same"
LAST: Final = "SELECT position, hash FROM commits ORDER BY position DESC LIMIT 1"


class BackupRefused(Exception):
    """The message is one line for the operator."""


class RestoreRefused(Exception):
    """The message is one line for the operator."""


class Made(Struct, frozen=True):
    """
    The result of a backup: its log position, its number of files, and those of them that are damaged in the store.
    """

    position: int
    files: int
    damaged: list[str]


def backup(folder: Folder, target: Path, clock: Clock, progress: Progress, *, check: bool = True) -> Made:
    """
    Write all that can't be rebuilt into one file, also while a service runs; raise `ArchiveError`, or with `check`
    `BackupRefused` where the log is damaged.
    """
    others = [path for path in _kept(folder) if path.suffix != ".db"]
    total = sum(path.stat().st_size for path in (*others, folder.events) if path.exists())
    with writing(target, progress.adding("files", total)) as writer:
        position, last = _add_databases(folder, target, writer, progress, check=check)
        for path in _kept(folder):
            name = str(path.relative_to(folder.path))
            if path.suffix != ".db":  # the databases were copied above
                _add(writer, name, path)
        members = writer.members
        made_at = instant(clock.now_ms()).isoformat()
        writer.finish(Manifest(FORMAT, __version__, made_at, position, last, members))
    uploads = {name: Path(name).name for name in members if name.startswith("files/")}
    altered = [name for name, digest in uploads.items() if len(digest) == 64 and members[name].sha256 != digest]
    return Made(position, len(members), altered)


def restore(source: Path, path: Path, free_bytes_min: int, progress: Progress) -> Manifest:
    """Make a data directory from a backup; raise `RestoreRefused`, `ArchiveError`, `FolderError` or `StorageError`."""
    path = path.absolute()
    if not is_empty(path):
        raise RestoreRefused(f"{path} is not empty: a restore overwrites nothing")
    if not source.is_file():
        raise RestoreRefused(f"there is no backup {source}")
    try:
        make_folder(path.parent, 0o777)
        _refuse_full(source, path.parent if not path.exists() else path, free_bytes_min)
        with _staging(path) as staging:
            adding = progress.adding("files", source.stat().st_size)
            manifest = unpack(source, staging, is_kept, adding)
            _check_log(source, Folder(staging), manifest)
            _forget_ledger(Folder(staging))
            hand_over(staging, path if path.exists() else path.parent)
            _settle(staging, path)
    except OSError as error:
        raise FolderUnusable(f"{path} can't be made: {error.strerror or error}") from None
    return manifest


def _kept(folder: Folder) -> Iterator[Path]:
    """Yield the files that can't be rebuilt, except the log."""
    for name in KEPT_FILES:
        if (folder.path / name).is_file():
            yield folder.path / name
    for name in KEPT_FOLDERS:
        for path in _within(folder.path / name):
            if is_kept(str(path.relative_to(folder.path))) and path.is_file() and not path.is_symlink():
                yield path


def _within(folder: Path) -> list[Path]:
    """Give all files of a folder; raise `OSError` where one can't be looked into, which `rglob` would leave out."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    return sorted(Path(inner, name) for inner, _, names in os.walk(folder, onerror=refuse) for name in names)


def _add_databases(folder: Folder, target: Path, writer: Writer, progress: Progress, *, check: bool) -> tuple[int, str]:
    """Add the log and the other databases as of one moment; give the log's last position and hash."""
    parts = [Part(folder.events, sqlite.SCHEMA_VERSION)]
    parts += [ledger.part for ledger in ledgers_of(folder)]
    beside = (
        Part(folder.answers, answers.SCHEMA_VERSION),
        Part(folder.webhooks, deliveries.SCHEMA_VERSION),
        Part(folder.notices, sent.SCHEMA_VERSION),
        Part(folder.views, views.SCHEMA_VERSION),
    )
    parts += [part for part in beside if part.path.exists()]
    copies = {part.path: target.with_name(f"{target.name}.{part.path.name}.new") for part in parts}
    try:
        with cut(*parts) as opened:
            position, last = _last(folder.events, opened[0])
            for part, db in zip(parts, opened, strict=True):
                _remove(copies[part.path])
                name = part.path.name
                copy(db, copies[part.path], lambda done, pages, name=name: progress.tell(name, done, pages))  # type: ignore[misc]
        if check:
            _refuse_damaged(folder, copies[folder.events], progress)
        for path, copied in copies.items():  # the databases are released, so that the service may shorten its journal
            writer.add(path.name, copied)
            _remove(copied)
    finally:
        for copied in copies.values():
            _remove(copied)
    return position, last


def _refuse_damaged(folder: Folder, copied: Path, progress: Progress) -> None:
    faults = Faults()
    try:
        with cut(Part(copied, sqlite.SCHEMA_VERSION)) as (db,):
            walk(db, folder.events, log_codec(), faults, progress.tell)
    except StorageError as error:
        faults.add(damaged(error))
    if faults.count:
        raise BackupRefused(f"the log is damaged ({faults.listed[0]}), so nothing is written: {REFUSED}")


def _add(writer: Writer, name: str, path: Path) -> None:
    try:
        writer.add(name, path)
    except FileNotFoundError:  # a retired key, removed since it was listed
        pass


def _last(path: Path, db: Connection) -> tuple[int, str]:
    found = next(rows(path, db, LAST), None)
    return (int(found[0]), found[1].hex()) if found else (0, "")


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _refuse_full(source: Path, disk: Path, free_bytes_min: int) -> None:
    free, needed = shutil.disk_usage(disk).free, source.stat().st_size + free_bytes_min
    if free < needed:
        raise FolderUnusable(f"the disk of {disk} is too full: {free} bytes are free, {needed} are needed")


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """Give an empty folder on the disk of `path`; what a killed restore has left there is removed."""
    staging = path / STAGING if path.is_mount() else path.with_name(f".{path.name}{STAGING}")
    staging.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(staging / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RestoreRefused(f"another restore into {path} is under way") from None
        _clear(staging)
        try:
            yield staging
        finally:
            if staging.exists():
                shutil.rmtree(staging)
    finally:
        os.close(lock)


def _clear(staging: Path) -> None:
    for entry in staging.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def _check_log(source: Path, folder: Folder, manifest: Manifest) -> None:
    if not folder.events.exists():
        raise ArchiveDamaged(f"{source} is damaged: there is no {folder.events.name} in it")
    with cut(Part(folder.events, sqlite.SCHEMA_VERSION)) as (db,):
        if _last(folder.events, db) != (manifest.position, manifest.hash):
            raise ArchiveDamaged(f"{source} is damaged: its log does not end where its manifest says")
    _drop_journal(folder.events)


def _forget_ledger(folder: Folder) -> None:
    """Reset Stripe's ledger: what was charged since the backup is not in it, and has to be looked up."""
    if not folder.stripe.exists():
        return
    with cut(Part(folder.events, sqlite.SCHEMA_VERSION)) as (db,):
        newest = next(rows(folder.events, db, "SELECT at FROM commits ORDER BY position DESC LIMIT 1"), (0,))[0]
    _drop_journal(folder.events)
    with changing(Part(folder.stripe, stripe_ledger.SCHEMA_VERSION)) as db:
        stripe_ledger.forget_file(db, newest + 1)


def _drop_journal(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _settle(staging: Path, path: Path) -> None:
    """Give the folder its name; a mount point has it already, so its entries are moved, the log and the lock last."""
    for folder, _, _ in os.walk(staging, topdown=False):
        sync(Path(folder))
    if not path.is_mount():
        staging.rename(path)
        sync(path.parent)
        return
    last = [staging / "events.db", staging / LOCK]
    for entry in [*(entry for entry in staging.iterdir() if entry not in last), *last]:
        entry.rename(path / entry.name)
    sync(path)
