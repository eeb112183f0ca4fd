"""The binary: how large it is, how soon it is ready on a machine that has just started, and what it takes in memory."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import ROUNDS, Figure, spread
from bench.processes import index_rests, resident_mib

BINARY: Final = Path(__file__).parent.parent / "dist" / "marketd"
MB: Final = 1_000_000


async def packed(folder: Path) -> list[Figure]:
    """`dist/marketd` in an empty environment, where it has been made."""
    if not BINARY.exists():
        return []
    async with _serving(folder / "empty", "--sample") as (_, sample_s):
        pass
    starts_s = []
    for number in range(ROUNDS):
        async with _serving(folder / f"{number}") as (_, start_s):
            starts_s.append(start_s)
    async with _serving(folder / "idle") as (pid, _):
        await index_rests(pid)
        idle_mib = resident_mib(pid)
    return [
        Figure("size of the binary", BINARY.stat().st_size / MB, "MB", "", "", "at most 60"),
        Figure("its cold start", median(starts_s), "s", spread(starts_s), "an empty store", "at most 3"),
        Figure("the same, with the sample catalogue", sample_s, "s", "", "32 products are listed", "at most 3"),
        Figure("resident when idle", idle_mib, "MiB", "", "all processes together, the launcher too", "at most 110"),
    ]


@asynccontextmanager
async def _serving(folder: Path, *arguments: str) -> AsyncIterator[tuple[int, float]]:
    """Serve from an empty directory."""
    _forget(folder)
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(str(BINARY), "serve", "--port", "0", *arguments), cwd=folder, env={}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        if not await process.stdout.readline():
            raise RuntimeError("the binary did not start")
        yield process.pid, time.perf_counter() - begun
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def _forget(folder: Path) -> None:
    """Make the directory, and have the kernel forget what it has read, if that can be had: root may say so."""
    folder.mkdir()
    os.sync()
    with suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("3")
