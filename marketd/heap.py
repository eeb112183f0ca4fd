"""
Memory: makes the C library return large blocks to the system as soon as they are free, and Python's garbage collector
run less often.

glibc takes a large block from the system and gives it back when it is freed; but after the first one it raises the
threshold, and allocates blocks of that size on its heap from then on (mallopt(3), M_MMAP_THRESHOLD). Argon2 needs 19
MiB for a password, in each of its threads, so an idle service would keep some 50 MiB for the next ones.

Besides, each thread has an arena of its own, and what is free in one is of no use to the others. Threads wait for
Python's global lock anyway, so one arena for all of them is enough.

Python's collector of cyclic garbage runs whenever there are 700 more objects than at its last run. That was in every
second purchase, and took a twentieth of its time. There is hardly any cyclic garbage, so it may run less often.
"""

import ctypes
import gc
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1  # <malloc.h>
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
YOUNG_MAX: Final = 10_000  # new objects until the next collection: some MB of them, and 1 ms to collect
BLOCK_BYTES: Final = 1024 * 1024  # far above what a request allocates, so that none waits for the system


def give_back() -> bool:
    """
    Fix the size of a large block, let at most one of them stay free on the heap, and use one arena; say whether that is
    possible here.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # musl has none
    if mallopt is None:
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    settled = ((M_MMAP_THRESHOLD, BLOCK_BYTES), (M_TRIM_THRESHOLD, BLOCK_BYTES), (M_ARENA_MAX, 1))
    return all(mallopt(what, value) for what, value in settled)


def settle() -> None:
    """
    Exclude all objects that exist now from garbage collection, which would delay requests, and collect less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX)
