"""The server of our own and its stream: what the settings make of them."""

import json
import sys
from pathlib import Path

import pytest

from marketd.bus.integrators import STREAMS
from marketd.clock import SystemClock
from marketd.config.folder import Folder
from marketd.config.relaying import make_server
from marketd.config.settings import Events, Settings

GIB = 1024**3
MIB = 1024**2


def text(path: Path) -> str:
    return path.read_text()


@pytest.mark.asyncio
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("kept", [MIB, 64 * MIB, 4 * GIB])
async def test_the_servers_heap_has_twice_the_room_that_the_kept_events_need_and_some(
    kept: int, tmp_path: Path
) -> None:
    settings = Settings(events=Events(keep_bytes_max=kept))

    async with make_server(settings, Folder(tmp_path), SystemClock()) as server:
        environment = text(Path(f"/proc/{server.pid}/environ")).split("\0")
        configured = json.loads(text(tmp_path / "nats" / "server.conf"))

    needed = len(STREAMS) * kept // 2
    assert f"GOMEMLIMIT={2 * needed + 128 * MIB}" in environment
    assert configured["jetstream"]["max_file_store"] >= len(STREAMS) * kept


def test_the_server_has_ids_of_two_minutes_in_memory_by_default() -> None:
    assert 120 == Settings().events.duplicate_window_s
