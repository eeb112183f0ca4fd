"""
The heap of the C library: large blocks are the system's again as soon as they are free.

glibc takes a large block from the system and gives it back, until it frees the first one: then it reckons that such
blocks come and go, and takes those of that size out of its heap from then on (mallopt(3), M_MMAP_THRESHOLD). Argon2
needs 19 MiB for a password, in each of its threads, so a quiet service would keep some 50 MiB for the next ones.

Besides, each thread has a heap of its own, and what is free in one is of no use to the others. Here they take turns at
Python's lock anyway, so one heap for all of them is enough.
"""

import ctypes
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1  # <malloc.h>
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
BLOCK_BYTES: Final = 1024 * 1024  # far above what a request needs, so that none of them waits for the system


def give_back() -> bool:
    """
    Settle what is a large block, that no more than one of them is kept, and that there is one heap; say whether that
    is possible here.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # musl has none
    if mallopt is None:
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    settled = ((M_MMAP_THRESHOLD, BLOCK_BYTES), (M_TRIM_THRESHOLD, BLOCK_BYTES), (M_ARENA_MAX, 1))
    return all(mallopt(what, value) for what, value in settled)
