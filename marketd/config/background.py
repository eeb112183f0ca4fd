"""Tasks that run for as long as a block lasts."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(*runs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these coroutines for as long as the block lasts; one that fails ends the block."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(run) for run in runs]
        try:
            yield
        finally:
            for task in started:
                task.cancel()
