"""
Atomic writes of files that only their owner can read: written under another name, then renamed; and syncing to disk.

A reader sees all of the old bytes or all of the new ones, whatever happens meanwhile. Only one writer at a time may
write a file; a caller that can't ensure that needs temporary names of its own, as in `storage/files.py`.

What root writes gets the owner of its folder, as SQLite does with its journals: otherwise a command that is run as root
would leave files that the service, which runs as another user, can't read.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

ROOT: Final = 0


def write_whole(path: Path, data: bytes, *, lasts: bool = True) -> None:
    """
    Write or replace a file; raise `OSError`, and then the old one is still there, unless only the final sync failed.
    The file survives a power cut, unless `lasts` is false: then the disk is not waited for, and a file that was lost
    has to be made again.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # a file that was left behind may be readable by others
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        inherit_owner(file.fileno(), path.parent)
        file.write(data)
        if lasts:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if lasts:
        sync(path.parent)


def make_folder(path: Path, mode: int) -> None:
    """Make a folder, and those above it, where there is none; raise `OSError`."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for folder in reversed(missing):
        hand_over(folder, folder.parent)


def inherit_owner(handle: int, folder: Path) -> None:
    """Where we are root, have a file that we have opened in a folder belong to whom the folder belongs to."""
    if os.geteuid() == ROOT:
        _give(handle, folder.stat())


def hand_over(folder: Path, like: Path) -> None:
    """Where we are root, have a folder, and all of root's in it, belong to whom another belongs to."""
    owner = like.stat() if os.geteuid() == ROOT and like.is_dir() else None
    if owner is None or owner.st_uid == ROOT:
        return
    for _, _, files, inner in os.fwalk(folder):
        _give(inner, owner)
        for name in files:
            with suppress(OSError):  # gone again, a link, or a socket: nothing that anybody has to read
                handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inner)
                try:
                    _give(handle, owner)
                finally:
                    os.close(handle)


def _give(handle: int, owner: os.stat_result) -> None:
    """Give away what is root's. Where it has a second name, that may be elsewhere, put there by whom we give it to."""
    found = os.fstat(handle)
    is_single = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
    if found.st_uid == ROOT and is_single:
        with suppress(OSError):  # a disk that knows no owners
            os.fchown(handle, owner.st_uid, owner.st_gid)


def sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
