"""
The reference of the API: its documents, the page that shows one, and a page for each type of problem.

The page is Swagger UI, whose files come with this package and are served from here, so it loads nothing from elsewhere.
Their URLs have their digest in them, so they can be cached for ever.
"""

import html
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from marketd.http import asyncapi
from marketd.http.etags import tag_of, tagged
from marketd.http.keys import DOCUMENT
from marketd.http.operation import Answer, Bytes, operation
from marketd.http.problems import SORTS, NotFound

routes = web.RouteTableDef()

FOLDER: Final = Path(__file__).parent / "pages" / "docs"
FILES: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "start.js": "text/javascript"}
DIGITS: Final = 16
PERMISSIONS: Final = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"

PROBLEM_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
# Only the page's own scripts, styles and images, and those of its style sheet.
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@routes.get("/openapi.json")
@operation(
    answers={200: Answer(Bytes, headers=("ETag", "Cache-Control"))},
)
async def document(request: web.Request) -> web.Response:
    """Describe every route (OpenAPI 3.1)."""
    body = request.app[DOCUMENT]
    return tagged(body, tag=_tag(body), headers={"Cache-Control": "no-cache"})


@routes.get("/asyncapi.json")
@operation(answers={200: Answer(Bytes, headers=("ETag", "Cache-Control"))})
async def events(request: web.Request) -> web.Response:
    """Describe the public events over NATS (AsyncAPI 3.0)."""
    body = _events()
    return tagged(body, tag=_tag(body), headers={"Cache-Control": "no-cache"})


@routes.get("/docs")
@operation(answers={200: Answer(Bytes, "text/html", headers=("Cache-Control",))})
async def docs(request: web.Request) -> web.Response:
    """Show the OpenAPI document as a page."""
    folder = f"/docs/{digest()}"
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>marketd: the HTTP API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f'<link rel="stylesheet" href="{folder}/swagger-ui.css"><div id="api"></div>'
        f'<script src="{folder}/swagger-ui-bundle.js"></script><script src="{folder}/start.js"></script></html>'
    )
    headers = {
        "Content-Security-Policy": DOCS_POLICY,
        "Permissions-Policy": PERMISSIONS,
        "Cache-Control": "no-cache",
    }
    return web.Response(text=page, content_type="text/html", headers=headers)


@routes.get("/docs/{version}/{name}")
@operation(answers={200: Answer(Bytes, "text/*", headers=("ETag", "Cache-Control"))}, problems=(NotFound,))
async def docs_file(request: web.Request) -> web.Response:
    """Give a file of the reference page."""
    name = request.match_info["name"]
    if request.match_info["version"] != digest() or name not in FILES:
        raise NotFound("no such file, or not of this version")
    return web.Response(
        body=files()[name],
        content_type=FILES[name],
        charset="utf-8",
        headers={"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{digest()}.{name}"'},
    )


@routes.get("/problems/{slug}")
@operation(answers={200: Answer(Bytes, "text/html")}, problems=(NotFound,))
async def explain(request: web.Request) -> web.Response:
    """Explain a type of problem, whose `type` is this address."""
    sort = SORTS.get(request.match_info["slug"])
    if sort is None:
        raise NotFound("no such sort of problem")
    title = html.escape(f"{sort.title} ({sort.status})")
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<style>body{font:1.1em/1.5 system-ui;max-width:40em;margin:3em auto;padding:0 1em}</style>"
        f"<main><h1>{title}</h1><p>{html.escape(sort.advice)}</p></main></html>"
    )
    return web.Response(
        text=page,
        content_type="text/html",
        headers={"Content-Security-Policy": PROBLEM_POLICY, "Permissions-Policy": PERMISSIONS},
    )


@cache
def _events() -> bytes:
    return msgspec.json.encode(asyncapi.document())


@cache
def _tag(body: bytes) -> str:
    return tag_of(body)


@cache
def files() -> dict[str, bytes]:
    """Read the page's files, once per process: less than two megabytes."""
    return {name: (FOLDER / name).read_bytes() for name in FILES}


@cache
def digest() -> str:
    """Name this version of the files."""
    return sha256(b"".join(files().values())).hexdigest()[:DIGITS]
