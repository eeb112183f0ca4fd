"""Child processes: what every one of ours has in common."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
AUTOGROUP: Final = "/proc/self/autogroup"
SESSION_NICENESS: Final = b"10"  # a tenth of what the service gets, where there is not enough for all


def subordinate() -> Callable[[], None] | None:
    """
    Make what a child does between fork and exec, so that it ends with its parent, lest an orphan keep what it has open,
    and waits for the processor rather than its parent does; Linux only.

    Nobody has to make room for a child that wakes up (sched(7), SCHED_BATCH). Where the kernel shares the processor out
    by sessions (sched(7), the autogroup feature) neither that nor the child's own niceness counts for another session,
    and ours lives in one of its own: so the session is nice.

    The signal comes when the *thread* that forked ends, which is the event loop's: run the loop on the main thread.
    libc is looked up before the fork, because afterwards a lock that another thread held is never released.
    """
    if sys.platform != "linux":
        return None
    prctl = _prctl()
    parent = os.getpid()

    def bind() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        with suppress(OSError):  # there is no such thing, or there it is not ours to say
            session = os.open(AUTOGROUP, os.O_WRONLY)
            os.write(session, SESSION_NICENESS)
            os.close(session)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # dead before we had asked
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
