"""Child processes: what every one of ours has in common."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


def subordinate() -> Callable[[], None] | None:
    """
    Make what a child does between fork and exec, so that it ends with its parent, lest an orphan keep what it has open,
    and never takes the processor from it when it wakes up (sched(7): SCHED_BATCH); Linux only.

    The signal comes when the *thread* that forked ends, which is the event loop's: run the loop on the main thread.
    libc is looked up before the fork, because afterwards a lock that another thread held is never released.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    parent = os.getpid()

    def bind() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # dead before we had asked
            os._exit(1)

    return bind
