"""
The HTTP server under the application: aiohttp's, with an end in order.

The one rule: what was taken in hand is finished. aiohttp drops what is still to come of a request's body as soon as it
is told to close, so it is told when nobody sends any more, or when the time is over.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiohttp import web

from marketd.http.keys import IN_HAND

CLEANUP_S_MAX: Final = 0.1  # what is left to who is cut off; to aiohttp, 0 means for ever


@asynccontextmanager
async def serving(
    app: web.Application, listener: socket.socket, *, backlog_max: int, shutdown_s_max: float
) -> AsyncIterator[None]:
    """Answer on a bound socket; at the end take no more connections, and finish what is in hand within that time."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    server = runner.server
    assert server is not None
    try:
        listening = await asyncio.get_running_loop().create_server(server, sock=listener, backlog=backlog_max)
        try:
            yield
        finally:
            listening.close()
            await _finish(app, server, shutdown_s_max)
    finally:
        await runner.cleanup()


async def _finish(app: web.Application, server: web.Server, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await app[IN_HAND].wait_none()
            server.pre_shutdown()
            await server.shutdown(seconds)  # by itself it would wait twice as long for an answer that nobody reads
    server.pre_shutdown()
    await server.shutdown(CLEANUP_S_MAX)
