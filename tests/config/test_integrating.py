"""Integrators on the command line: what becomes of a removal that the service that runs does not hear of."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from marketd.bus.gate import LookAgain
from marketd.bus.integrators import Integrator, Register
from marketd.bus.subjects import query_subject
from marketd.clock import SystemClock
from marketd.config.errands import ErrandFailed
from marketd.config.folder import Folder, opened
from marketd.config.integrating import list_integrators, remove_integrator
from marketd.config.settings import Data, Settings
from tests.bus.post import Ears, bus_at, server_at

pytestmark = pytest.mark.asyncio

ACME: Final = Integrator("acme", ("*",), "a hash", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    with opened(folder.path, 0):  # a data directory from now on
        pass
    with Register(folder.integrators).changing() as known:
        known.append(ACME)
    return folder


@pytest_asyncio.fixture
async def ears(folder: Folder) -> AsyncIterator[Ears]:
    """What a service that runs on the folder hears."""
    ears = Ears()
    with opened(folder.path, 0):
        async with server_at(folder.path) as server, bus_at(server) as bus:
            await bus.serve(query_subject(LookAgain), ears)
            yield ears


def settings_of(folder: Folder) -> Settings:
    return Settings(data=Data(dir=str(folder.path)))


async def test_who_can_not_be_told_that_one_was_removed_is_said_to_let_it_in_still(folder: Folder) -> None:
    with opened(folder.path, 0), pytest.raises(ErrandFailed, match=r"acme .* may let it in still: remove it again"):
        await remove_integrator(settings_of(folder), SystemClock(), "acme")


async def test_who_could_not_be_told_lets_it_in_no_more_from_its_next_start_on(folder: Folder) -> None:
    with opened(folder.path, 0), pytest.raises(ErrandFailed):
        await remove_integrator(settings_of(folder), SystemClock(), "acme")

    assert [] == list_integrators(settings_of(folder))


@pytest.mark.slow
async def test_of_one_who_is_not_in_the_list_the_service_is_told_all_the_same(folder: Folder, ears: Ears) -> None:
    with pytest.raises(ErrandFailed, match="there is no integrator nobody; a service that runs has looked again"):
        await remove_integrator(settings_of(folder), SystemClock(), "nobody")

    assert [LookAgain()] == [envelope.message for envelope in ears.heard]
