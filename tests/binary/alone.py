"""The binary where there is nothing but itself: an empty directory, an empty environment, no Python in reach."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.journeys.process import Ended, Service

ROOT: Final = Path(__file__).parent.parent.parent
BINARY: Final = os.environ.get("MARKETD_TEST_BINARY")  # set by `make test-binary`, which has it made before
COMMAND_S_MAX: Final = 30.0
HOME: Final = b"_PYI_APPLICATION_HOME_DIR="  # what the launcher tells the program that it has unpacked


def placed(folder: Path) -> Path:
    """Put a copy of the binary into an empty directory."""
    assert BINARY is not None
    folder.mkdir()
    return Path(shutil.copy(ROOT / BINARY, folder / "marketd"))


@asynccontextmanager
async def living(folder: Path, *arguments: str) -> AsyncIterator[Service]:
    """Serve from the directory, by default with data in it; at the end leave nothing running."""
    process = await asyncio.create_subprocess_exec(
        *("./marketd", "serve", "--port", "0", *arguments),
        cwd=folder,
        env={},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    service = Service(process, folder / "data")
    try:
        await service.wait_ready()
        yield service
    finally:
        family = service.family()
        await service.gone()
        for pid in family[1:]:
            kill(pid)


async def run(folder: Path, *arguments: str, given: str = "") -> Ended:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *("./marketd", *arguments),
        cwd=folder,
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_S_MAX):
            out, err = await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode or 0, out.decode(), err.decode())


def home_of(service: Service) -> Path:
    """Say where the launcher has unpacked the service."""
    environ = Path(f"/proc/{program_of(service)}/environ").read_bytes().split(b"\0")
    (home,) = [value.removeprefix(HOME) for value in environ if value.startswith(HOME)]
    return Path(os.fsdecode(home))


def program_of(service: Service) -> int:
    """Name the process that serves: the launcher's only child."""
    return service.family()[1]


def kill(pid: int) -> None:
    """End a process that is not our child, if it is still there."""
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass
