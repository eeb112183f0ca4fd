"""
The service as its operator has it: a process, started by the command line, stopped by a signal.

Whatever a test does to it, nothing of it is left behind: neither the process nor its nats-server.
"""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final, NamedTuple

COMMAND: Final = (sys.executable, "-m", "marketd")
# Passwords are hashed as cheaply as Argon2 allows, and nobody's requests are counted: these journeys are not about it.
QUICK: Final = {
    "MARKETD_AUTH__ARGON2_MEMORY_KIB": "64",
    "MARKETD_AUTH__ARGON2_TIME_COST": "1",
    "MARKETD_LIMITS__ENABLED": "false",
}
START_S_MAX: Final = 20.0
STOP_S_MAX: Final = 20.0
READY: Final = re.compile(
    r"marketd ready http=(?P<http>https?://\S+) nats=(?P<nats>(?:nats|tls)://\S+) data=(?P<data>.*)\n"
)


class NotReady(Exception):
    """The process ended, or printed something other than the ready line."""


class Ended(NamedTuple):
    """How a command ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str


class Service:
    """One life of the service, from its ready line on."""

    def __init__(self, process: asyncio.subprocess.Process, data: Path) -> None:
        self.data = data
        self.url, self.nats_url = "", ""
        self._process = process
        self._said: list[str] = []
        self._heard = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())  # ended in `gone`

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return "".join(self._said)

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    async def wait_ready(self) -> None:
        """Read the ready line; raise `NotReady`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S_MAX):
            line = (await self._process.stdout.readline()).decode()
            found = READY.fullmatch(line)
            if found is None:
                self.kill()
                await self._process.wait()
                await self._listening
                raise NotReady(f"{line!r}, then:\n{self.log}")
        self.url, self.nats_url = found["http"], found["nats"]

    async def wait_said(self, words: str) -> None:
        """Wait until there is a line with these words in the log."""
        async with asyncio.timeout(START_S_MAX), self._heard:
            await self._heard.wait_for(lambda: words in self.log)

    async def stop(self) -> int:
        """Ask it to stop, and give the exit code."""
        self.terminate()
        return await self.wait_ended()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        """Give it no chance."""
        if not self.has_ended:
            self._process.kill()

    async def wait_ended(self) -> int:
        async with asyncio.timeout(STOP_S_MAX):
            return await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def family(self) -> list[int]:
        """Name its process and all those under it."""
        family = [self._process.pid]
        for pid in family:  # which grows meanwhile
            family += _children(pid)
        return family

    def nats_servers(self) -> list[int]:
        """Name the processes of nats-server that use its data."""
        ours = f"{self.data}/nats/"
        return [pid for pid, command in _commands().items() if "nats-server" in command and ours in command]

    def index_processes(self) -> list[int]:
        """Name the processes of the search index that it has started."""
        return [pid for pid in _children(self._process.pid) if "marketd index" in _commands().get(pid, "")]

    async def gone(self) -> None:
        """Leave nothing behind."""
        indexes = self.index_processes()
        self.kill()
        await self._process.wait()
        for pid in [*self.nats_servers(), *(pid for pid in indexes if "marketd index" in _commands().get(pid, ""))]:
            _kill(pid)
        await self._listening
        self._process._transport.close()  # type: ignore[attr-defined]  # asyncio has no public way to close the pipes

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            async with self._heard:
                self._said.append(line.decode())
                self._heard.notify_all()


@asynccontextmanager
async def starting(data: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> AsyncIterator[Service]:
    """Start the service on a free port, and do not wait for it; at the end leave nothing of it behind."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "serve", "--data", str(data), "--port", "0", *arguments),
        env=_environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    service = Service(process, data)
    try:
        yield service
    finally:
        await service.gone()


@asynccontextmanager
async def running(data: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> AsyncIterator[Service]:
    """Run the service on a free port; at the end stop it, unless the test has, and look at how it went."""
    async with starting(data, *arguments, settings=settings) as service:
        await service.wait_ready()
        yield service
        if not service.has_ended:
            assert 0 == await service.stop(), service.log
        assert "Traceback" not in service.log, service.log


async def marketd(*arguments: str, given: str = "", settings: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *arguments),
        env=_environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(START_S_MAX):
            out, err = await process.communicate(given.encode())
    except BaseException:
        process.kill()
        await process.communicate()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def wait_gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, gone.set)
    try:
        async with asyncio.timeout(STOP_S_MAX):
            await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


class Ledger(NamedTuple):
    """The orders by what the sandbox processor did with their money."""

    captured: set[str]
    refunded: set[str]

    @property
    def kept(self) -> set[str]:
        """What stays with the sellers."""
        return self.captured - self.refunded


def ledger_of(data: Path) -> Ledger:
    """Read the sandbox processor's books."""
    with closing(sqlite3.connect(f"file:{data}/sandbox.db?mode=ro", uri=True)) as books:
        captured = books.execute("SELECT order_id FROM charges WHERE outcome = 'captured'").fetchall()
        refunded = books.execute("SELECT order_id FROM refunds WHERE outcome = 'paid back'").fetchall()
    return Ledger({order_id for (order_id,) in captured}, {order_id for (order_id,) in refunded})


def _environment(settings: Mapping[str, str] | None) -> dict[str, str]:
    """Give ours without the settings that may be in it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MARKETD_")}
    return inherited | QUICK | dict(settings or {})


def _commands() -> dict[int, str]:
    """Give the command line of every process."""
    if not Path("/proc/self/cmdline").exists():
        listed = subprocess.run(("ps", "-A", "-o", "pid=,command="), capture_output=True, text=True, check=True).stdout
        return {int(pid): command for pid, command in (line.split(None, 1) for line in listed.splitlines())}
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
    return found


def _children(parent: int) -> list[int]:
    """Name the processes that this one has started."""
    listed = subprocess.run(("ps", "-A", "-o", "pid=,ppid="), capture_output=True, text=True, check=True).stdout
    pairs = (map(int, line.split()) for line in listed.splitlines())
    return [pid for pid, above in pairs if above == parent]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
