"""A log of a million events: how soon the service is up with it, and how long everything made from it takes to make."""

import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import ROUNDS, Figure, made, spread
from bench.past import write_past
from bench.processes import resident_mib, service
from marketd.config.folder import LOCK

EVENTS: Final = 1_000_000
SETTLE_S: Final = 5.0


async def million(folder: Path) -> list[Figure]:
    """`marketd rebuild`, then `marketd serve`, with a million events of a shop's past."""
    data = made(folder / "data")
    (data / LOCK).touch()
    await write_past(data, EVENTS)
    rebuilt_s = await _rebuilt(data)
    starts_s = []
    async with service(data) as running:  # the first start after a rebuild has to read everything from the disk's cache
        await asyncio.sleep(SETTLE_S)
        idle_mib = resident_mib(running.pid)
    for _ in range(ROUNDS):
        async with service(data) as running:
            starts_s.append(running.start_s)
    log = f"{EVENTS:,} events, {(data / 'events.db').stat().st_size / 1024**2:,.0f} MiB of log"
    return [
        Figure("start with a million events", median(starts_s), "s", spread(starts_s), log, "at most 3"),
        Figure("rebuild of a million events", rebuilt_s, "s", "", "read models and search index", "at most 90"),
        Figure("resident with a million events, idle", idle_mib, "MiB", "", "all processes together", ""),
    ]


async def _rebuilt(data: Path) -> float:
    begun = time.perf_counter()
    command = ("-m", "marketd", "rebuild", "--data", str(data))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.DEVNULL)
    if code := await process.wait():
        raise RuntimeError(f"the rebuild ended with {code}")
    return time.perf_counter() - begun
