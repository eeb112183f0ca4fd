"""The index process: its settings from standard input, its index, its connection to the bus."""

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from marketd.bus.codec import Codec
from marketd.bus.nats import CarrierLost, NatsBus
from marketd.clock import SystemClock
from marketd.config.logs import set_up
from marketd.config.shown import without_credentials
from marketd.config.tracing import INDEX, traced
from marketd.storage.database import Database, StorageError
from marketd.storage.index_process import READY, IndexNeeds
from marketd.storage.inverted import IndexBroken
from marketd.storage.projector import SCHEMA_VERSION
from marketd.storage.questions import Alike, FindAlike, Renewed, Search, Shown, Spell, Spelt
from marketd.storage.search import SearchIndex, SearchServer

FAILED: Final = 1
END_S_MAX: Final = 10
NICENESS: Final = 5  # where the processor is short, the service itself goes first


def main() -> int:
    """Run the index until the service stops it, or is gone; give the exit code."""
    needs = msgspec.json.decode(sys.stdin.readline(), type=IndexNeeds)
    set_up(needs.log_level, needs.log_format)
    os.nice(NICENESS)
    code = 0
    try:
        asyncio.run(_serve(needs))
    except* (CarrierLost, StorageError, IndexBroken, OSError) as group:  # a full disk, for one
        print(f"marketd index: {without_credentials(str(group.exceptions[0]))}", file=sys.stderr)
        code = FAILED
    return code


async def _serve(needs: IndexNeeds) -> None:
    clock = SystemClock()
    codec = Codec(Search | Spell | FindAlike | Renewed, Shown | Spelt | Alike, {})
    catalogue = Database(Path(needs.catalogue), SCHEMA_VERSION, "", read_only=True)
    bus = NatsBus(needs.url, codec, clock, user=needs.user, password=needs.password, in_process=False)
    async with traced(needs.traces_endpoint, needs.traces_share, INDEX), catalogue, bus:
        index = SearchIndex(Path(needs.folder), catalogue, clock)
        await index.open()
        server = SearchServer(index, bus, clock)
        await server.open()
        print(READY, flush=True)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one) for one in (server.run(), bus.wait_lost(), _freeze(server))]
            await _wait_told_to_end()
            # The service kills an index that takes too long; if it is gone, the alarm ends it, which is safe at any
            # moment.
            signal.alarm(END_S_MAX)
            for task in running:
                task.cancel()


async def _freeze(server: SearchServer) -> None:
    """
    Exclude what is read at the start from garbage collection: it stays, and a look through it would delay an answer.
    """
    await server.wait_warm()
    gc.collect()
    gc.freeze()


async def _wait_told_to_end() -> None:
    """Wait for SIGTERM, or for the end of standard input: then the service is gone."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    loop.add_reader(sys.stdin, told.set)
    await told.wait()
    loop.remove_reader(sys.stdin)
    # When the service is killed both come, and a signal while the loop is closing would be reported as an error.
    loop.remove_signal_handler(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
