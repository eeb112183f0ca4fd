"""What runs beside a part for as long as the part lasts."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(*runs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let these run for as long as the block lasts; one that fails ends the block."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(run) for run in runs]
        try:
            yield
        finally:
            for task in started:
                task.cancel()
