"""Reads a long body as it arrives; in each time window a minimum number of bytes has to arrive."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from marketd.http.keys import FILLING, LIMITS
from marketd.http.problems import TooLarge, TooSlow

CHUNK_BYTES: Final = 64 * 1024
SAMPLE_BYTES_MAX: Final = 64 * 1024  # of one file of the sample catalogue

DIGEST: "Final[web.RequestKey[hashlib._Hash]]" = web.RequestKey("digest")


def upload_bytes_max(request: web.Request) -> int:
    """Say how large an upload may be; the sample catalogue goes in whatever the setting is."""
    bytes_max = request.app[LIMITS].upload_bytes_max
    return max(bytes_max, SAMPLE_BYTES_MAX) if request.app[FILLING]() else bytes_max


async def arriving(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body in chunks, adding each to the request's `DIGEST` if it has one; raise `TooLarge`, `TooSlow`."""
    limits, digest, loop = request.app[LIMITS], request.get(DIGEST), asyncio.get_running_loop()
    bytes_max = upload_bytes_max(request)
    size = came = 0
    until_s = loop.time() + limits.upload_window_s
    while True:
        try:
            async with asyncio.timeout_at(until_s):
                chunk = await request.content.read(CHUNK_BYTES)
        except TimeoutError:
            if came < limits.upload_window_bytes_min:
                wanted = f"{limits.upload_window_bytes_min} bytes in {limits.upload_window_s:g} s"
                raise TooSlow(f"of an upload there have to come at least {wanted}") from None
            came, until_s = 0, loop.time() + limits.upload_window_s
            continue
        if not chunk:
            return
        came += len(chunk)
        size += len(chunk)
        if size > bytes_max:
            raise TooLarge(f"a file may have at most {bytes_max} bytes")
        if digest is not None:
            digest.update(chunk)
        yield chunk
        if loop.time() > until_s:  # the consumer was slow, not the sender
            came, until_s = 0, loop.time() + limits.upload_window_s
