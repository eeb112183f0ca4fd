"""The scripts and the style of the pages: files of this package, at a URL that changes with them."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import web

from marketd.http.operation import Answer, Bytes, operation
from marketd.http.problems import NotFound

routes = web.RouteTableDef()

FOLDER: Final = Path(__file__).parent / "static"
TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
DIGITS: Final = 16


@routes.get("/static/{version}/{name}")
@operation(
    answers={200: Answer(Bytes, "text/*", headers=("ETag", "Cache-Control"))}, problems=(NotFound,), part_of="script"
)
async def file(request: web.Request) -> web.Response:
    """Give a static file."""
    name = request.match_info["name"]
    if request.match_info["version"] != digest() or name not in files():
        raise NotFound("no such file, or not of this version")
    return web.Response(
        body=files()[name],
        content_type=TYPES[Path(name).suffix],
        charset="utf-8",
        headers={"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{digest()}.{name}"'},
    )


@cache
def files() -> dict[str, bytes]:
    """Read the files, once per process: some kilobytes."""
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}


@cache
def digest() -> str:
    """Name this version of the files."""
    return sha256(b"".join(files().values())).hexdigest()[:DIGITS]
