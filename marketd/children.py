"""What all our child processes have in common."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
AUTOGROUP: Final = "/proc/self/autogroup"
SESSION_NICENESS: Final = b"10"  # a tenth of the service's share, where the processor is short


def subordinate() -> Callable[[], None] | None:
    """
    Make the function that a child runs between fork and exec, so that it ends with its parent, because an orphan would
    hold its files open, and gets the processor after its parent; Linux only.

    A child that wakes up preempts nobody (sched(7), SCHED_BATCH). Where the kernel shares the processor among sessions
    (sched(7), the autogroup feature), neither that nor the child's own niceness counts against another session, and the
    child has a session of its own: so the session's niceness is raised.

    The signal comes when the *thread* that forked ends, which is the event loop's: run the loop on the main thread.
    libc is looked up before the fork, because afterwards a lock that another thread held is never released.
    """
    if sys.platform != "linux":
        return None
    prctl = _prctl()
    parent = os.getpid()

    def bind() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        with suppress(OSError):  # there is no autogroup, or we may not change it
            session = os.open(AUTOGROUP, os.O_WRONLY)
            os.write(session, SESSION_NICENESS)
            os.close(session)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it had died before the call
            os._exit(1)

    return bind


def end_with_parent(number: signal.Signals, parent: int | None) -> bool:
    """Have this signal sent to us when our parent ends; say whether this is (still) our parent. Linux only."""
    _prctl()(PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent


def _prctl() -> Callable[..., int]:
    found = ctypes.CDLL(None).prctl
    found.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return found
