"""Every test of the front gets a stage of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.http.stage import Stage, staged


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made
