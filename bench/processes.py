"""The processes that are measured: the service, and a bare aiohttp server that gives one body."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

PARTS: Final = {"service": "marketd serve", "search index": "marketd index", "nats-server": "nats-server"}
REST: Final = "others"
REST_S_MAX: Final = 180.0
LOOK_S: Final = 0.05
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


class Running(NamedTuple):
    """A server that is up: its process id, where it listens, and how long it took to say so."""

    pid: int
    host: str
    port: int
    start_s: float


@asynccontextmanager
async def service(data: Path, **environ: str) -> AsyncIterator[Running]:
    """Run `marketd serve` on a data directory; `environ` are settings as MARKETD_… variables. Its limits are lifted."""
    arguments = ["-m", "marketd", "serve", "--data", str(data), "--port", "0"]
    async with _process(arguments, {"MARKETD_LIMITS__ENABLED": "false", **environ}) as running:
        yield running


@asynccontextmanager
async def bare(body: Path) -> AsyncIterator[Running]:
    """Run a bare aiohttp server that answers every GET with the bytes of the file."""
    async with _process(["-m", "bench.bare", str(body)], {}) as running:
        yield running


@asynccontextmanager
async def receiver() -> AsyncIterator[Running]:
    """Run a receiver of webhooks that takes whatever is posted."""
    async with _process(["-m", "bench.receiving"], {}) as running:
        yield running


@asynccontextmanager
async def _process(arguments: list[str], environ: dict[str, str]) -> AsyncIterator[Running]:
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, env={**os.environ, **environ}
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        if not line:
            raise RuntimeError(f"{' '.join(arguments)} did not start")
        url = urlsplit(next(word for word in line.split() if "http://" in word).removeprefix("http="))
        yield Running(process.pid, url.hostname or "", url.port or 0, time.perf_counter() - begun)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def resident_mib(pid: int) -> float:
    """Resident memory of a process and all its children."""
    return sum(_resident_kib(one) for one in _family(pid)) / 1024


def held_mib(pid: int) -> float:
    """What a process and all its children take from the machine: as `resident_mib`, but what they share counts once."""
    of_files: dict[tuple[str, ...], int] = {}
    own_kib = 0
    for one in _family(pid):
        for mapping, resident_kib, anonymous_kib in _mappings(one):
            own_kib += anonymous_kib
            of_files[mapping] = max(of_files.get(mapping, 0), resident_kib - anonymous_kib)
    return (own_kib + sum(of_files.values())) / 1024


def _mappings(pid: int) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Give each mapping's offset, device and inode, and the KiB resident: all of it, and of no file (proc(5))."""
    mapping: tuple[str, ...] = ()
    resident_kib = 0
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        name, *fields = line.split()
        if not name.endswith(":"):
            mapping = tuple(fields[1:4])
        elif name == "Rss:":
            resident_kib = int(fields[0])
        elif name == "Anonymous:":
            yield mapping, resident_kib, int(fields[0])


def children_of(pid: int, command: str) -> list[int]:
    """Find those below a process whose command line has these words."""
    wanted = command.replace(" ", "\0").encode()
    return [one for one in _family(pid) if wanted in Path(f"/proc/{one}/cmdline").read_bytes()]


def children_mib(pid: int, command: str) -> float:
    """Resident memory of those below a process whose command line has these words."""
    return sum(map(_resident_kib, children_of(pid, command))) / 1024


async def index_rests(pid: int) -> None:
    """Wait until the service has put its search index to rest."""
    async with asyncio.timeout(REST_S_MAX):
        while children_of(pid, PARTS["search index"]):
            await asyncio.sleep(LOOK_S)


def memory_mib(pid: int) -> dict[str, float]:
    """Resident memory of a service, the search index, nats-server and the rest; nothing of what has ended."""
    return _by_part(pid, lambda one: _resident_kib(one) / 1024)


def cpu_s(pid: int) -> dict[str, float]:
    """Processor time that each of them has taken so far."""
    return _by_part(pid, processor_s)


def processor_s(pid: int) -> float:
    """Processor time that one process has taken so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def _by_part(pid: int, measured: Callable[[int], float]) -> dict[str, float]:
    found = dict.fromkeys(PARTS, 0.0)
    with suppress(OSError):
        for one in _family(pid):
            command = Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            part = next((part for part, words in PARTS.items() if words in command), REST)
            found[part] = found.get(part, 0.0) + measured(one)
    return found


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
