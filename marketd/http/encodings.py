"""
Content codings: responses compressed with zstd or gzip, if the client accepts it (RFC 9110, sections 8.4 and 12.5.3).

The one rule: a response with a secret is not compressed, because its compressed length would reveal it (BREACH). So a
`no-store` response is compressed only if its handler marks it `WITHOUT_SECRET`: it is new each time, and not personal.
Small bodies, and files sent from disk, are not compressed either. A response with an ETag is compressed once and
cached, the least recently used leaving first; a large one is compressed in a thread or, if those are all busy, not at
all.
"""

import asyncio
import re
import zlib
from collections import OrderedDict
from functools import lru_cache
from typing import Final, Literal

import zstandard
from aiohttp import hdrs, web

from marketd.http.names import ETAG
from marketd.http.weights import LINE_CHARACTERS_MAX, weights

Coding = Literal["zstd", "gzip"]

WITHOUT_SECRET: Final = web.ResponseKey("without_secret", bool)
CODINGS: Final[tuple[Coding, ...]] = ("zstd", "gzip")  # the first of those with the same weight is chosen
ZSTD_LEVEL: Final = 3
GZIP_LEVEL: Final = 4
GZIP_WINDOW: Final = 31  # zlib's code for a window of 32 KiB in a gzip frame
IN_LOOP_BYTES_MAX: Final = 24 * 1024  # gzip takes a third of a millisecond for it
THREADS_MAX: Final = 2

_ALIASES: Final = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3
_TEXTUAL: Final = re.compile(
    r"application/(?:json|[\w.-]+\+json|javascript|xml|openmetrics-text)(?:;|\Z)|text/(?!event-stream)"
)


class Encodings:
    """Compresses bodies of `bytes_min` and more; caches at most `kept_bytes_max` of the results."""

    def __init__(self, bytes_min: int = 1024, kept_bytes_max: int = 8 * 1024 * 1024) -> None:
        self._bytes_min, self._kept_bytes_max = bytes_min, kept_bytes_max
        self._kept: OrderedDict[str, bytes] = OrderedDict()  # by ETag, which no other bytes have
        self._kept_bytes = 0
        self._busy = 0
        self._zstd = zstandard.ZstdCompressor(level=ZSTD_LEVEL)

    def statistics(self) -> dict[str, int]:
        """The size of the cache, and the number of busy threads."""
        return {"kept": len(self._kept), "kept_bytes": self._kept_bytes, "busy": self._busy}

    def _may_shrink(self, response: web.Response) -> bool:
        """Say whether the body is large enough, text, without a secret, and not encoded yet."""
        headers, body = response.headers, response.body
        if not isinstance(body, bytes) or len(body) < self._bytes_min or hdrs.CONTENT_ENCODING in headers:
            return False
        if not _TEXTUAL.match(headers.get(hdrs.CONTENT_TYPE, "")):
            return False
        policy = headers.get(hdrs.CACHE_CONTROL, "")
        return "no-transform" not in policy and ("no-store" not in policy or response.get(WITHOUT_SECRET, False))

    def choose(self, request: web.Request, response: web.Response) -> Coding | None:
        """Choose the coding and set it in the headers; the ETag becomes that of the encoded bytes."""
        if not self._may_shrink(response):
            return None
        headers, body = response.headers, response.body
        headers[hdrs.VARY] = f"{headers['Vary']}, Accept-Encoding" if hdrs.VARY in headers else "Accept-Encoding"
        if hdrs.ACCEPT_ENCODING not in request.headers:
            return None
        coding = preferred(request.headers.getall(hdrs.ACCEPT_ENCODING))
        assert isinstance(body, bytes)
        if coding is None or (len(body) > IN_LOOP_BYTES_MAX and self._busy >= THREADS_MAX):
            return None
        headers[hdrs.CONTENT_ENCODING] = coding
        if ETAG in headers:
            headers[ETAG] = f'{headers[ETAG][:-1]}-{coding}"'
        return coding

    async def encode(self, response: web.Response, coding: Coding) -> None:
        """Encode the body with the chosen coding."""
        tag, body = response.headers.get(ETAG), response.body
        assert isinstance(body, bytes)
        known = self._kept.get(tag) if tag else None
        if known is not None and tag:
            self._kept.move_to_end(tag)
            response.body = known
            return
        response.body = encoded = await self._encoded(body, coding)
        if tag and response.status == 200:
            self._keep(tag, encoded)

    async def _encoded(self, body: bytes, coding: Coding) -> bytes:
        if len(body) <= IN_LOOP_BYTES_MAX:
            return self._zstd.compress(body) if coding == "zstd" else _gzip(body)
        self._busy += 1
        try:
            return await asyncio.to_thread(_zstd if coding == "zstd" else _gzip, body)
        finally:
            self._busy -= 1

    def _keep(self, tag: str, encoded: bytes) -> None:
        self._kept_bytes += len(encoded) - len(self._kept.pop(tag, b""))
        self._kept[tag] = encoded
        while self._kept_bytes > self._kept_bytes_max:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest)


def preferred(lines: list[str] | tuple[str, ...]) -> Coding | None:
    """
    Give our coding that `Accept-Encoding` prefers; None if it prefers no coding, or names none of ours. None too if it
    accepts nothing that we have: the client may still be able to read the body as it is.
    """
    line = ",".join(lines)
    return _preferred(line.lower()) if 0 < len(line) <= LINE_CHARACTERS_MAX else None


@lru_cache(maxsize=256)
def _preferred(line: str) -> Coding | None:
    given = {_ALIASES.get(name, name): weight for name, weight in weights(line).items()}
    others = given.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: given.get(coding, others))
    weight = given.get(best, others)
    return best if weight > 0 and weight >= given.get("identity", 0.0) else None


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, GZIP_LEVEL, GZIP_WINDOW)


def _zstd(body: bytes) -> bytes:
    """Compress in a thread, with a compressor of its own: they can't be shared between threads."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body)
