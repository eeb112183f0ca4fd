"""
Writes the pages that follow from the code: docs/api.md from the routes, docs/settings.md from the settings.

`make docs` runs it; a test sees that what it would write is what is there.
"""

from pathlib import Path
from typing import Final

from aiohttp import web

from marketd.clock import SystemClock
from marketd.config.settings import FIELDS, SECTIONS, Settings
from marketd.config.shown import shown
from marketd.http.app import make_app

FOLDER: Final = Path(__file__).parent
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def api_page() -> str:
    """Every route, with what its handler says of itself."""
    rows = [
        f"| `{route.method} {route.resource.canonical}` | {_first_sentence(route)} |"
        for route in make_app(SystemClock(), body_bytes_max=0).router.routes()
        if route.method in METHODS and route.resource
    ]
    return "\n".join(
        [
            "# The HTTP API",
            "",
            "Bodies and answers are JSON in UTF-8; errors are problem documents (RFC 9457) whose `type` is a page that",
            "explains it; times are RFC 3339 in UTC; ids are UUIDs. Where somebody has to be signed in, send",
            "`Authorization: Bearer` and the access token of `POST /auth/login`.",
            "",
            "| call | what it does |",
            "| --- | --- |",
            *rows,
            "",
            "Any POST takes an `Idempotency-Key` of up to 255 visible characters: sent again within a day under the",
            "same key it gets the first answer again and nothing is done twice; another request under the key is",
            "refused with 422. `RateLimit-Policy` and `RateLimit` say how many requests one may send and how many are",
            "left; 429 and 503 come with `Retry-After`.",
            "",
            "`GET /orders/{id}` takes `Prefer: wait=N`: it answers when the order is no longer pending, or after N",
            "seconds. Lists take `page` (from 1) and `size` (1 to 100), and answer with `total` and `Link` headers.",
            "",
            "Tokens that come by mail are good once, until the time that the mail names, and only the newest of its",
            "sort; one that is no good is a 400 that names `/token`. What ends a session (signing out, a new password,",
            "`DELETE /auth/sessions`, a refresh token used twice) ends its access tokens at once.",
            "",
            "Reviews come in the order of `sort`: `newest`, `oldest`, `highest` or `lowest`. A hidden one is neither",
            "listed nor counted; its author and admins find it at its own address, with `hidden` and `hiddenReason`.",
            "",
            "A single thing has an `ETag`: `If-None-Match` saves an answer that is known already (304); `If-Match` on",
            "`PATCH` and `DELETE` guards against overwriting what somebody else has changed meanwhile (412). Answers",
            "are compressed with zstd or gzip for who accepts it. Every path answers `OPTIONS`, and `HEAD` where it",
            "answers `GET`. A W3C `traceparent` is taken up, and found again in each record and log line that follows.",
            "",
            "`/mobile/…` and `/web/…` are whole screens in one answer, each part of which has its own deadline. A part",
            "that fails leaves its field empty and its name in `degraded`; such an answer is not to be kept. Uploaded",
            "images have a smaller variant, a WebP at most 640 pixels wide, which `mobileUrl` names.",
            "",
        ]
    )


def settings_page() -> str:
    """Every setting: its key, its default, and its sentence."""
    lines = [
        "# Settings",
        "",
        "Defaults, then the TOML file of `--config`, then the environment, then flags; the later wins. The setting",
        "`port` of section `http` is `port` in `[http]` in the file, and `MARKETD_HTTP__PORT` in the environment.",
        "`marketd config` prints what is in force, and from where. An unknown key, a wrong type or an impossible value",
        "stops the start. (Kubernetes sets `MARKETD_PORT` for a service of that name: give it another one there.)",
    ]
    for section in SECTIONS:
        kind = type(getattr(Settings(), section))
        lines += [
            "",
            f"## {section}",
            "",
            str(kind.__doc__),
            "",
            "| key | default | what it is |",
            "| --- | --- | --- |",
        ]
        for field in FIELDS.values():
            if field.section == section:
                lines.append(f"| `{field.key}` | `{shown(field.default)}` | {field.description} |")
    return "\n".join([*lines, ""])


PAGES: Final = {"api.md": api_page, "settings.md": settings_page}


def _first_sentence(route: web.AbstractRoute) -> str:
    return (route.handler.__doc__ or "").strip().split("\n")[0]


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
