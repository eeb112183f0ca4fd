"""
The data directory: its layout, and the lock by which one service at a time uses it.

    FolderError
    ├── FolderForeign     the directory holds something else
    ├── FolderInUse       another marketd is running on it
    ├── FolderMissing     there is no directory, or no store in it
    └── FolderUnusable    it can't be written, or the disk is full
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from marketd.storage.archive import is_plain
from marketd.storage.database import is_ours
from marketd.whole import inherit_owner, make_folder

LOCK: Final = "marketd.lock"
HARMLESS: Final = frozenset({"lost+found"})
STAGING: Final = ".restoring"  # where a restore into a mount point unpacks


class FolderError(Exception):
    """The data directory can't be used; the message is one line for the operator."""


class FolderForeign(FolderError):
    pass


class FolderInUse(FolderError):
    pass


class FolderMissing(FolderError):
    pass


class FolderUnusable(FolderError):
    pass


class Folder:
    """The layout of a data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events = path / "events.db"
        self.reads = path / "read.db"
        self.search = path / "search"
        self.sandbox = path / "sandbox.db"
        self.stripe = path / "stripe.db"
        self.answers = path / "answers.db"
        self.webhooks = path / "webhooks.db"
        self.notices = path / "notices.db"
        self.views = path / "views.db"
        self.files = path / "files"
        self.keys = path / "keys"
        self.nats = path / "nats"
        self.mail = path / "mail"
        self.integrators = path / "integrators.json"
        self.sample_password = path / "sample-password.txt"
        self.sample_unfinished = path / "sample-unfinished"


# What a backup contains; the rest is rebuilt (read models, index, the broker's store) or not part of the store.
KEPT_FILES: Final = (
    "sandbox.db",
    "stripe.db",
    "answers.db",
    "webhooks.db",
    "notices.db",
    "integrators.json",
    "views.db",
    "sample-password.txt",
    "sample-unfinished",
)
KEPT_FOLDERS: Final = ("files", "keys")
PASSING: Final = re.compile(r"files/incoming/.*|.*\.new")


def is_kept(name: str) -> bool:
    """Say whether a backup contains this path of the data directory."""
    first, _, rest = name.partition("/")
    if not is_plain(name) or PASSING.fullmatch(name):
        return False
    return first in KEPT_FOLDERS if rest else first in ("events.db", *KEPT_FILES)


def found(path: Path) -> Folder:
    """Find the store in a data directory, which must exist; raise `FolderMissing`."""
    folder = Folder(path)
    if not path.is_dir():
        raise FolderMissing(f"there is no data directory {path}")
    if not folder.events.is_file():
        raise FolderMissing(f"{path} is not the data directory of a store: there is no {folder.events.name} in it")
    return folder


def is_empty(path: Path) -> bool:
    """Say whether a directory does not exist, or has nothing in it."""
    return not os.path.lexists(path) or (path.is_dir() and not {e.name for e in path.iterdir()} - HARMLESS - {STAGING})


@contextmanager
def opened(path: Path, free_bytes_min: int) -> Iterator[Folder]:
    """Make the directory if needed, and keep it locked for the duration of the block; raise `FolderError`."""
    try:
        make_folder(path, 0o750)
        _refuse_foreign(path)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        inherit_owner(lock, path)
    except OSError as error:
        raise FolderUnusable(f"the data directory {path} can't be used: {error.strerror}") from None
    try:
        _take_lock(path, lock)
        _refuse_headless(Folder(path))
        _refuse_full(path, free_bytes_min)
        yield Folder(path)
    finally:
        os.close(lock)


def is_in_use(path: Path) -> bool:
    """Say whether a marketd is running on the directory."""
    try:
        lock = os.open(path / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _refuse_foreign(path: Path) -> None:
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")} - HARMLESS
    if names and LOCK not in names and not is_ours(Folder(path).events):
        raise FolderForeign(f"{path} is not a data directory of marketd: it has {min(names)} in it")


def _refuse_headless(folder: Folder) -> None:
    """Refuse a store without its log: what is left of it is not an empty store."""
    left = [part for part in (folder.sandbox, folder.stripe, folder.reads, folder.files) if part.exists()]
    if left and not folder.events.exists():
        raise FolderUnusable(
            f"{folder.events} is missing, though {left[0].name} is there: restore a backup, or take another directory"
        )


def _take_lock(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderInUse(f"another marketd is running on {path}") from None


def _refuse_full(path: Path, free_bytes_min: int) -> None:
    free = shutil.disk_usage(path).free
    if free < free_bytes_min:
        raise FolderUnusable(f"the disk of {path} is full: {free} bytes are free, {free_bytes_min} are needed")
