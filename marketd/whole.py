"""
Files that are there whole or not at all, for their owner's eyes only: written beside their place, put there at one
stroke; and how what was written comes to the disk.

Who reads sees all of the old bytes or all of the new, whatever happens meanwhile. One at a time may write a file; who
can't see to that needs names of their own for what is under way, as `storage/files.py` has them.
"""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, lasts: bool = True) -> None:
    """
    Write or replace a file; raise `OSError`, and then the old one is still there. It outlasts a power cut, but where it
    need not (`lasts`): the disk is not waited for, and what the cut took has to be made anew by whoever misses it.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # one that was left behind may be open to others
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        if lasts:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if lasts:
        sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
