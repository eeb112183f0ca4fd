"""The server of our own and its stream: what the settings make of them."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from marketd.bus.integrators import STREAMS
from marketd.clock import SystemClock
from marketd.config.folder import Folder
from marketd.config.relaying import LOOK_S, REFUSED_S_MAX, RENEWED_S, make_server, renewing
from marketd.config.settings import Events, Settings
from tests.clock import TestClock

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


class Refused:
    """A relay whose stream has refused everything for so long, and whose server counts how often it was renewed."""

    def __init__(self) -> None:
        self.refused_s = 0.0
        self.renewed = 0
        self.state = "ok"

    def renew(self) -> None:
        self.renewed += 1


@pytest.mark.asyncio
async def test_a_server_that_takes_nothing_though_there_is_room_is_started_again_ever_less_often() -> None:
    clock, it = TestClock(), Refused()
    counts = []
    running = asyncio.ensure_future(renewing(it, it, it, clock))  # type: ignore[arg-type]
    for refused_s, state, seconds in (
        (REFUSED_S_MAX - 1, "ok", 100.0),
        (REFUSED_S_MAX, "full", 100.0),
        (REFUSED_S_MAX, "low", 2 * LOOK_S),
        (REFUSED_S_MAX, "low", 4 * RENEWED_S),
        (0.0, "ok", 10 * RENEWED_S),
        (REFUSED_S_MAX, "ok", 2 * LOOK_S),
    ):
        it.refused_s, it.state = refused_s, state
        await clock.advance(seconds)
        counts.append(it.renewed)
    running.cancel()

    assert [0, 0, 1] == counts[:3] and 3 <= counts[3] <= 5 and [counts[3], counts[3] + 1] == counts[4:]
