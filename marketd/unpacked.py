"""
Where the binary has unpacked itself: a folder that its launcher makes at each start and removes when all is over.

The one rule: who lives in such a folder holds a lock on it, and only what nobody holds is removed. The lock (flock(2))
is on the folder itself, which also keeps systemd-tmpfiles from taking out what has become old (tmpfiles.d(5)).

The launcher is PyInstaller's: it unpacks, starts this very program from what it has unpacked, passes signals on to it,
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
INHABITED: Final = ".inhabited"  # there from when somebody has locked the folder
OURS: Final = "marketd/py.typed"  # other programs are packed in the same way
INIT: Final = 1
UNPACKING_S_MAX: Final = 600.0  # a folder that nobody lives in by then was left before it was whole


def own_folder() -> Path | None:
    """Say where the binary lives; None where this is no binary."""
    home = getattr(sys, "_MEIPASS", None)
    return Path(home) if home is not None else None


def move_in() -> None:
    """Hold our own folder until the process ends, end with the launcher, and remove what killed runs have left."""
    if (home := own_folder()) is None:
        return
    if not end_with_parent(signal.SIGKILL, _launcher()):
        os._exit(1)
    if inhabit(home):
        remove_dead(home)


def inhabit(home: Path) -> bool:
    """Lock a folder for as long as this process lives; False where the file system knows no locks."""
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
    """Name what is ours, and was lived in or begun long before our own folder was."""
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
    """Remove a folder, unless somebody holds it."""
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
    """Say who has started us, who runs the same file as we do; None if it is dead and we are somebody else's."""
    parent = os.getppid()
    try:
        return parent if os.path.samefile(f"/proc/{parent}/exe", "/proc/self/exe") else None
    except PermissionError:  # it may not be looked at, as init, or who runs a file with capabilities
        return parent if parent != INIT else None
    except OSError:
        return None
