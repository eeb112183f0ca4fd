"""One town for all who only look or are turned away at its doors, and a stage for those who need to stand behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.http.stage import Stage, staged
from tests.security.town import Town, peopled


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """At the end it must stop with exit code 0, and its log be free of tracebacks."""
    async with peopled(tmp_path_factory.mktemp("town") / "data") as town:
        yield town


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made
