"""
The heap of the C library: large blocks are the system's again as soon as they are free.

glibc takes a large block from the system and gives it back, until it frees the first one: then it reckons that such
blocks come and go, and takes those of that size out of its heap from then on (mallopt(3), M_MMAP_THRESHOLD). Argon2
needs 19 MiB for a password, in each of its threads, so a quiet service would keep some 50 MiB for the next ones.
"""

import ctypes
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1  # <malloc.h>
M_MMAP_THRESHOLD: Final = -3
BLOCK_BYTES: Final = 1024 * 1024  # far above what a request needs, so that none of them waits for the system


def give_back() -> bool:
    """Settle what is a large block, and that no more than one of them is kept; say whether that is possible here."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # musl has none
    if mallopt is None:
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    return all(mallopt(what, BLOCK_BYTES) for what in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
