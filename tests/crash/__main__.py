"""
`python -m tests.crash --rounds 20 --seed 1`: so many rounds in which something befalls the real service, and what came
of each.

A new data directory every ten rounds, with the next seed. Where something is found the rounds end, and what is there
is kept.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

from tests.crash.run import ROUNDS_MAX, WEIGHTS, Run, Tally, drawn, table

DISK_BYTES: Final = 160 * 1024 * 1024  # the journals of four databases fit, and are soon in the way
ON_A_DISK: Final = "full"  # the fault that needs it
STOP_S: Final = 20.0
SHARE_ON_DISK: Final = 10  # of so many rounds, one is on a full disk
UNSHARE: Final = ("unshare", "--user", "--map-root-user", "--mount")


def main() -> int:
    """Give back 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default="", help="which of them, separated by commas; any if not given")
    parser.add_argument("--stop-s", type=float, default=STOP_S, help="for how long what is stopped stands still")
    parser.add_argument("--disk", action="store_true", help="fill a small disk, in a namespace that may mount one")
    asked = parser.parse_args()
    if asked.faults == ON_A_DISK and not asked.disk:
        return live_on_a_small_disk(asked.rounds, asked.seed)
    began_s, tally = time.perf_counter(), Tally()
    for first in range(0, asked.rounds, ROUNDS_MAX):
        if not tally.found:
            count = min(ROUNDS_MAX, asked.rounds - first)
            live(asked, asked.seed + first // ROUNDS_MAX, count, tally)
    print(table(tally), f"{time.perf_counter() - began_s:.0f} s", *tally.found, sep="\n", flush=True)
    if asked.disk or asked.faults or tally.found:
        return int(bool(tally.found))
    return live_on_a_small_disk(max(1, asked.rounds // SHARE_ON_DISK), asked.seed)


def live(asked: argparse.Namespace, seed: int, count: int, tally: Tally) -> None:
    """Live through some rounds on one data directory."""
    folder = Path(tempfile.mkdtemp(prefix="marketd-crash-"))
    faults = asked.faults.split(",") if asked.faults else list(WEIGHTS)
    if asked.disk:
        faults = [ON_A_DISK]
        (folder / "disk").mkdir()
        subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", f"{folder}/disk"), check=True)
    run = Run(folder, seed, stop_s=asked.stop_s, tell=partial(print, f"{seed}:", flush=True))
    lived = asyncio.run(run.rounds(drawn(seed, count, faults), tally))
    if tally.found:
        again = f"make crash ROUNDS={lived} SEED={seed} FAULTS={','.join(faults)}"
        tally.found.append(f"again, but for the moments: {again}")
        tally.found.append(f"what is there is kept in {folder}")
        return
    if asked.disk:
        subprocess.run(("umount", f"{folder}/disk"), check=True)
    shutil.rmtree(folder)


def live_on_a_small_disk(rounds: int, seed: int) -> int:
    """Live through some rounds in a namespace of their own, where anybody may mount a disk; give its exit code."""
    if not can_mount():
        print("no full disk: no namespace may be made here to mount a small one in")
        return 0
    ours = (sys.executable, "-m", "tests.crash", "--disk", "--rounds", str(rounds), "--seed", str(seed))
    return subprocess.run((*UNSHARE, *ours)).returncode


def can_mount() -> bool:
    """Say whether a disk may be mounted in a namespace of its own."""
    if shutil.which(UNSHARE[0]) is None:
        return False
    mount = (*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir())
    return subprocess.run(mount, capture_output=True, timeout=10).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
