"""
Sets the clock of the Python processes that have this folder in their PYTHONPATH: Python itself imports this module at
the start. `CLOCK_FILE` names a file of eight bytes, the milliseconds by which the clock is ahead; it may change later.
"""

import mmap
import os
import struct
import time

_true_ns = time.time_ns
with open(os.environ["CLOCK_FILE"], "rb") as _file:
    _ahead = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)


def _set_ns() -> int:
    (ahead_ms,) = struct.unpack("<q", _ahead[:8])
    return _true_ns() + int(ahead_ms) * 1_000_000


time.time_ns = _set_ns
time.time = lambda: _set_ns() / 1e9
