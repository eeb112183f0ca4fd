"""Errands: what the command line has done by a service that runs, or by one that it runs for just that long."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from marketd.actors import account
from marketd.bus.port import Envelope
from marketd.bus.subjects import command_subject
from marketd.clock import SystemClock, new_id
from marketd.config.errands import ErrandFailed, create_admin, describe_keys
from marketd.config.folder import opened
from marketd.config.settings import Auth, Data, Nats, Settings, Storage
from marketd.config.wiring import running

pytestmark = pytest.mark.asyncio

CLOCK: Final = SystemClock()
ROOT: Final = "Root@Example.org"
SERVING: Final = """
import asyncio, sys
from marketd.clock import SystemClock
from marketd.config.settings import Data, Settings, Storage
from marketd.config.wiring import running

async def main():
    async with running(Settings(data=Data(sys.argv[1]), storage=Storage(free_bytes_min=0)), SystemClock()):
        print("running", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Real parts, with passwords hashed as cheaply as Argon2 can."""
    auth = Auth(argon2_memory_kib=8, argon2_time_cost=1)
    (tmp_path / "data").mkdir()
    return Settings(
        data=Data(str(tmp_path / "data")), auth=auth, storage=Storage(free_bytes_min=0), nats=Nats(start_s_max=5)
    )


@pytest.fixture
def service(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A service that runs in another process."""
    command = [sys.executable, "-c", SERVING, settings.data.dir]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and "running\n" == process.stdout.readline()
        yield process
        process.communicate(timeout=30)


async def account_of(settings: Settings, email: str) -> account.Credentials:
    command_id = new_id(CLOCK)
    envelope = Envelope(command_id, account.ReadCredentials(), command_id, CLOCK.now_ms() + 10_000)
    async with running(settings, CLOCK) as running_service:
        found = (await running_service.bus.ask(command_subject(account.address_of(email)), envelope)).value
    assert isinstance(found, account.Credentials)
    return found


async def refusal(settings: Settings, email: str = ROOT, password: str = "Passw0rd") -> str:
    with pytest.raises(ErrandFailed) as caught:
        await create_admin(settings, CLOCK, email, password)
    return str(caught.value)


@pytest.mark.slow
async def test_an_admin_is_made_where_nothing_runs(settings: Settings) -> None:
    await create_admin(settings, CLOCK, ROOT, "Passw0rd")

    assert "admin" == (await account_of(settings, "root@example.org")).role


@pytest.mark.slow
async def test_the_password_of_an_admin_is_kept_as_a_hash_only(settings: Settings) -> None:
    await create_admin(settings, CLOCK, ROOT, "Passw0rd")

    assert (await account_of(settings, ROOT)).password_hash.startswith("$argon2id$")


@pytest.mark.slow
async def test_a_taken_address_is_refused(settings: Settings) -> None:
    await create_admin(settings, CLOCK, ROOT, "Passw0rd")

    assert "the e-mail address is taken" == await refusal(settings, "root@example.org")


@pytest.mark.slow
async def test_an_admin_is_made_by_the_service_that_runs(settings: Settings, service: subprocess.Popen[str]) -> None:
    await create_admin(settings, CLOCK, ROOT, "Passw0rd")
    service.communicate(timeout=30)

    assert "admin" == (await account_of(settings, ROOT)).role


@pytest.mark.slow
async def test_the_service_that_runs_refuses_a_taken_address(
    settings: Settings, service: subprocess.Popen[str]
) -> None:
    await create_admin(settings, CLOCK, ROOT, "Passw0rd")

    assert "the e-mail address is taken" == await refusal(settings)


async def test_a_service_that_is_still_starting_is_said_to_be(settings: Settings) -> None:
    with opened(Path(settings.data.dir), 0) as folder:
        assert (await refusal(settings)).startswith(f"the service on {folder.path} is still starting, or uses a NATS")


@pytest.mark.slow
async def test_a_service_that_can_not_be_reached_is_waited_for_no_longer_than_the_limit(settings: Settings) -> None:
    settings = replace(settings, nats=Nats(start_s_max=0.2))
    with opened(Path(settings.data.dir), 0) as folder:
        folder.nats.mkdir()
        endpoint = {"url": "nats://127.0.0.1:1", "user": "market", "password": "x"}
        (folder.nats / "endpoint.json").write_text(json.dumps(endpoint))

        assert (await refusal(settings)).startswith("no connection to NATS at nats://127.0.0.1:1")


@pytest.mark.parametrize(
    ("email", "password", "expected"),
    [
        ("root", "Passw0rd", "email: Expected an e-mail address"),
        ("", "Passw0rd", "email: Expected str of length >= 3"),
        (ROOT, "", "password: Expected str of length >= 8"),
        (ROOT, "password", "password: Expected a lower-case letter, an upper-case letter and a digit"),
        (
            "root",
            "x",
            "email: Expected an e-mail address; password: Expected str of length >= 8",
        ),
    ],
)
async def test_every_fault_is_named(settings: Settings, email: str, password: str, expected: str) -> None:
    assert expected == await refusal(settings, email, password)


async def test_for_a_faulty_wish_nothing_is_started(settings: Settings, tmp_path: Path) -> None:
    await refusal(settings, "root", "x")

    assert [] == os.listdir(tmp_path / "data")


async def test_a_directory_that_is_not_there_is_not_made(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "data").rmdir()

    assert f"there is no data directory {tmp_path / 'data'}" == await refusal(settings)
    assert [] == os.listdir(tmp_path)


async def test_keys_that_can_not_be_seen_are_not_taken_for_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: object) -> list[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (Path(settings.data.dir) / "keys").mkdir()
    monkeypatch.setattr(os, "listdir", closed)
    with pytest.raises(PermissionError, match="keys"):
        describe_keys(settings)
