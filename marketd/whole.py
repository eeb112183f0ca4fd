"""
Atomic writes of files that only their owner can read: written under another name, then renamed; and syncing to disk.

A reader sees all of the old bytes or all of the new ones, whatever happens meanwhile. Only one writer at a time may
write a file; a caller that can't ensure that needs temporary names of its own, as in `storage/files.py`.
"""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, lasts: bool = True) -> None:
    """
    Write or replace a file; raise `OSError`, and then the old one is still there, unless only the final sync failed.
    The file survives a power cut, unless `lasts` is false: then the disk is not waited for, and a file that was lost
    has to be made again.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # a file that was left behind may be readable by others
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        if lasts:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if lasts:
        sync(path.parent)


def sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
