"""
Stored files over HTTP, whole or in part (RFC 9110, sections 13 and 14).

The one rule: the validator of a file is its SHA-256, the same for the same bytes wherever and whenever they were
stored. There is no `Last-Modified`, so conditions on dates never hold. aiohttp's own validator is made from the file's
modification time, and it refuses headers that the RFC says to ignore; so these headers are evaluated here and hidden
from it.
"""

import re
from pathlib import Path
from typing import Final

from aiohttp import ETag, web
from aiohttp.abc import AbstractStreamWriter

from marketd.http.operation import ANY, Answer, Bytes
from marketd.http.problems import PreconditionFailed, RangeNotSatisfiable

KEPT: Final = ("Cache-Control", "Content-Security-Policy", "Cross-Origin-Resource-Policy")  # in a 304 too

# A single range: a request for several gets the whole file, which every client understands.
_RANGE: Final = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


# What a route that answers with a file declares: its responses, and the headers that it reads.
FILE_ANSWERS: Final = {
    200: Answer(Bytes, ANY, headers=("ETag", "Cache-Control", "Accept-Ranges", "Content-Disposition")),
    206: Answer(Bytes, ANY, headers=("ETag", "Cache-Control", "Accept-Ranges", "Content-Disposition", "Content-Range")),
    304: Answer(headers=("ETag", "Cache-Control")),
}
FILE_CONDITIONS: Final = ("If-Range", "Range")


class KeptFile(web.FileResponse):
    """A file, or its bytes from `part[0]` to `part[1]`, both included, sent by aiohttp's own means."""

    def __init__(self, path: Path, tag: str, headers: dict[str, str], part: tuple[int, int] | None) -> None:
        super().__init__(path, headers=headers)
        self._tag, self._part = tag, part

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Hide all headers from aiohttp but the range that is to be sent."""
        wanted = {"Range": f"bytes={self._part[0]}-{self._part[1]}"} if self._part else {}
        return await super().prepare(request.clone(headers=wanted))

    @property
    def etag(self) -> ETag | None:
        return ETag(self._tag)

    @etag.setter
    def etag(self, value: ETag | str | None) -> None:
        """Set ours, whatever aiohttp thinks it is."""
        self.headers["ETag"] = f'"{self._tag}"'

    @property
    def last_modified(self) -> None:
        return None

    @last_modified.setter
    def last_modified(self, value: object) -> None:
        """Have none."""


def file_response(request: web.Request, path: Path, headers: dict[str, str]) -> web.StreamResponse:
    """
    Answer with a file that must exist: a missing one is our defect, which aiohttp would answer with 404. Files are
    named after the SHA-256 of their bytes, or of what they were made from.

    Raise `PreconditionFailed` or `RangeNotSatisfiable`.
    """
    size, digest = path.stat().st_size, path.name
    if "If-Match" in request.headers and not _names(request.headers.getall("If-Match"), digest, weakly=False):
        raise PreconditionFailed("the file is another one than `If-Match` says")
    if _names(request.headers.getall("If-None-Match", []), digest, weakly=True):
        kept = {name: headers[name] for name in KEPT if name in headers}
        return web.Response(status=304, headers=kept | {"ETag": f'"{digest}"'})
    return KeptFile(path, digest, headers, _part(request, digest, size))


def _part(request: web.Request, digest: str, size: int) -> tuple[int, int] | None:
    """Say which part is requested; None for the whole file, also if the range is malformed."""
    if request.method != "GET" or request.headers.get("If-Range", f'"{digest}"').strip() != f'"{digest}"':
        return None
    found = _RANGE.fullmatch(",".join(request.headers.getall("Range", [])))
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), int(found[2] or size - 1)
        if found[2] and last < first:
            return None
    if first >= size:
        raise RangeNotSatisfiable(size)
    return first, min(last, size - 1)


def _names(conditions: list[str], digest: str, *, weakly: bool) -> bool:
    """Say whether one of these entity tags is ours; `*` matches every file."""
    tags = [tag.strip() for tag in ",".join(conditions).split(",")]
    return "*" in tags or f'"{digest}"' in tags or (weakly and f'W/"{digest}"' in tags)
