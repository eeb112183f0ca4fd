"""The heap gives large blocks back and is seldom looked through; tried in other processes, because it is for good."""

import platform
import subprocess
import sys

import pytest

KEPT = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps large blocks")

# Three threads at once hold 19 MiB each, in the C library's heap and not in Python's, twice.
HOLDING = """
import ctypes, os, sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from marketd.heap import give_back

libc, block, threads = ctypes.CDLL(None), 19 * 1024 * 1024, 3
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
barrier = Barrier(threads)

def hold(_):
    held = libc.malloc(block)
    ctypes.memset(held, 1, block)
    barrier.wait()
    libc.free(held)

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if "settled" in sys.argv:
    assert give_back()
with ThreadPoolExecutor(threads) as pool:
    before = resident()
    for _ in range(2):
        list(pool.map(hold, range(threads)))
    print(resident() - before)
"""


def kept(*words: str) -> int:
    """Say how many bytes more a process keeps than before."""
    done = subprocess.run([sys.executable, "-c", HOLDING, *words], capture_output=True, text=True, check=True)
    return int(done.stdout)


@KEPT
def test_large_blocks_that_are_free_are_given_back() -> None:
    assert kept("settled") < 4 * 1024 * 1024


@KEPT
def test_without_it_they_are_kept() -> None:
    assert kept() > 15 * 1024 * 1024


SETTLING = """
import gc
from marketd.heap import YOUNG_MAX, settle

held = [[] for _ in range(1000)]
settle()
print(gc.get_threshold()[0] == YOUNG_MAX, gc.get_freeze_count() > len(held), gc.isenabled())
"""


def test_what_is_there_is_taken_for_good_and_garbage_still_looked_for() -> None:
    done = subprocess.run([sys.executable, "-c", SETTLING], capture_output=True, text=True, check=True)

    assert ["True"] * 3 == done.stdout.split()
