"""
Memory: the heap of the C library, where large blocks are the system's again as soon as they are free; and how often
Python looks for garbage.

glibc takes a large block from the system and gives it back, until it frees the first one: then it reckons that such
blocks come and go, and takes those of that size out of its heap from then on (mallopt(3), M_MMAP_THRESHOLD). Argon2
needs 19 MiB for a password, in each of its threads, so a quiet service would keep some 50 MiB for the next ones.

Besides, each thread has a heap of its own, and what is free in one is of no use to the others. Here they take turns at
Python's lock anyway, so one heap for all of them is enough.

Python looks for garbage that holds itself whenever there are 700 more objects than at the last look, which is in every
second purchase, and took a twentieth of it. There is hardly any such garbage, so it may look less often.
"""

import ctypes
import gc
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1  # <malloc.h>
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
YOUNG_MAX: Final = 10_000  # new objects until the next look: some MB of them, and a look of 1 ms
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


def settle() -> None:
    """Take all that is there now for good, so that nobody has to wait while it is looked through, and look seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX)
