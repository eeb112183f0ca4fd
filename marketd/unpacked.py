"""
The folder into which the binary was unpacked: its launcher makes it at each start and removes it at the end.

The one rule: a process that runs from such a folder holds a lock on it, and only unlocked folders are removed. The lock
(flock(2)) is on the folder itself, which also keeps systemd-tmpfiles from removing old files in it (tmpfiles.d(5)).

The launcher is PyInstaller's: it unpacks, starts this very program from the unpacked files, passes signals on to it,
and waits. The processes that the service starts use the same folder, and end before it.
"""

import fcntl
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from marketd.children import end_with_parent

NAMES: Final = "_MEI*"  # as the launcher calls them
INHABITED: Final = ".inhabited"  # made once a process has locked the folder
OURS: Final = "marketd/py.typed"  # other programs are packed in the same way
INIT: Final = 1
UNPACKING_S_MAX: Final = 600.0  # a folder that is not locked by then was abandoned while it was unpacked


def own_folder() -> Path | None:
    """Give the folder of the binary; None if this is no binary."""
    home = getattr(sys, "_MEIPASS", None)
    return Path(home) if home is not None else None


def move_in() -> None:
    """Lock our own folder until the process ends, end with the launcher, and remove the folders of killed runs."""
    if (home := own_folder()) is None:
        return
    if not end_with_parent(signal.SIGKILL, _launcher()):
        os._exit(1)
    if inhabit(home):
        remove_dead(home)


def inhabit(home: Path) -> bool:
    """Lock a folder for as long as this process lives; False if the file system has no locks."""
    held = os.open(home, os.O_RDONLY | os.O_DIRECTORY)  # never closed; processes that we start do not inherit it
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return False
    (home / INHABITED).touch()
    return True


def remove_dead(home: Path) -> list[Path]:
    """Remove the folders beside ours that killed runs have left; say which."""
    return [path for path in _left_beside(home) if _removed(path)]


def _left_beside(home: Path) -> Iterator[Path]:
    """Yield this program's folders that were used, or begun long before our own."""
    made_s = home.stat().st_mtime
    for path in home.parent.glob(NAMES):
        try:
            found = path.lstat()
        except OSError:  # its launcher has just removed it
            continue
        if path == home or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            continue
        is_old = (path / OURS).exists() and made_s - found.st_mtime > UNPACKING_S_MAX
        if is_old or (path / INHABITED).exists():
            yield path


def _removed(path: Path) -> bool:
    """Remove a folder, unless it is locked."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        shutil.rmtree(path, ignore_errors=True)
        return True
    finally:
        os.close(held)


def _launcher() -> int | None:
    """Give the launcher's process id, whose executable is ours; None if it is dead and we have another parent."""
    parent = os.getppid()
    try:
        return parent if os.path.samefile(f"/proc/{parent}/exe", "/proc/self/exe") else None
    except PermissionError:  # unreadable, as for init, or for a process that runs a file with capabilities
        return parent if parent != INIT else None
    except OSError:
        return None
