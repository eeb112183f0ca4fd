"""
Writes what follows from the code: docs/api.md from the API's document, docs/settings.md from the settings, and the
dashboard docs/grafana.json from its table.

`make docs` runs it; a test sees that what it would write is what is there.
"""

from pathlib import Path
from typing import Any, Final

from docs.dashboard import dashboard
from marketd.config.fields import FIELDS, SECTIONS
from marketd.config.settings import Settings
from marketd.config.shown import shown
from marketd.http import openapi
from marketd.http.app import PAGE_ROOMS, ROOMS

FOLDER: Final = Path(__file__).parent
EVERYWHERE: Final = {"408", "413", "415", "417", "500", "503"}
TABLE: Final = ("| call | what it does | answers |", "| --- | --- | --- |")
NOTES: Final = (
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
    "of 1,024 bytes or more are compressed with zstd or gzip for who accepts it, but for those with a secret in",
    "them, of which the compressed length would tell: tokens, download links, secrets of webhooks, and all pages",
    "but the shop's for who is not signed in. Every path answers `OPTIONS`, and `HEAD` where it",
    "answers `GET`. A W3C `traceparent` is taken up, and found again in each record and log line that follows.",
    "",
    "`/mobile/…` and `/web/…` are whole screens in one answer, each part of which has its own deadline. A part",
    "that fails leaves its field empty and its name in `degraded`; such an answer is not to be kept. Uploaded",
    "images have a smaller variant, a WebP at most 640 pixels wide, which `mobileUrl` names.",
)


def api_page() -> str:
    """Every operation: what it does, for whom, and with what it may answer."""
    document = openapi.document(ROOMS)
    lines = [
        "# The HTTP API",
        "",
        "A running service has more of this at `/docs`, and for programs at `/openapi.json`: every parameter, body,",
        "answer and problem, with examples. Bodies and answers are JSON in UTF-8; errors are problem documents (RFC",
        "9457) whose `type` is a page that explains it; times are RFC 3339 in UTC; ids are UUIDs. To be signed in,",
        "send `Authorization: Bearer` and the access token of `POST /auth/login`.",
    ]
    for tag in document["tags"]:
        lines += [
            "",
            f"## {tag['name']}",
            "",
            tag["description"],
            "",
            "| call | what it does | answers |",
            "| --- | --- | --- |",
        ]
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    said = f"{operation['summary']} {operation['description']}".replace("\n", " ")
                    lines.append(f"| `{method.upper()} {path}` | {said} | {_answers(operation)} |")
    return "\n".join([*lines, "", *NOTES, ""])


def _answers(operation: dict[str, Any]) -> str:
    """Name the statuses that are an operation's own; what any can meet is left out."""
    return ", ".join(status for status in operation["responses"] if status not in EVERYWHERE)


def pages_page() -> str:
    """Every address that people open with a browser, and what the scripts of those pages ask."""
    lines = [
        "# The pages",
        "",
        "What people open with a browser. A session of theirs is a cookie, which opens nothing but these; the API",
        "wants a bearer token, which opens none of these. A POST is answered only where a page of the service itself",
        "has sent it, with the token that is in each of its forms. Who is not signed in is asked to, and comes back:",
        "to the page that they asked for, or to that of a form which they sent too late, and what they wrote is kept.",
        "",
        "The shop shows pictures that were uploaded, and no others. A preview with an `https` address is in the",
        "answers of the API, but no page loads it: by their policy (`img-src 'self'`) no third party is told who looks",
        "at what. To have it shown, upload it with `POST /uploads?name=cover.png` and give the `upload://…` of the",
        "answer as the `url` of the preview, or choose it in the form of the product, at `/dashboard/products/{id}`.",
    ]
    for room in PAGE_ROOMS:
        name, said = room.__name__.rpartition(".")[2], (room.__doc__ or "").strip().split("\n\n")[0]
        lines += ["", f"## {name}", "", said.replace("\n", " "), "", "| address | what it does |", "| --- | --- |"]
        for route, declared in openapi.declared_routes([room]):
            does = f"{(route.handler.__doc__ or '').strip().split(chr(10))[0]} {openapi.who(declared)}"
            lines.append(f"| `{route.method} {openapi.path(route)}` | {does} |")
    return "\n".join([*lines, ""])


def settings_page() -> str:
    """Every setting: its key, its default, and its sentence."""
    lines = [
        "# Settings",
        "",
        "Defaults, then the TOML file of `--config`, then the environment, then flags; the later wins. The setting",
        "`port` of section `http` is `port` in `[http]` in the file, and `MARKETD_HTTP__PORT` in the environment.",
        "In the environment a list is written with commas: `MARKETD_HTTP__CORS_ORIGINS=https://a.example,https://b.example`.",
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


PAGES: Final = {"api.md": api_page, "pages.md": pages_page, "grafana.json": dashboard, "settings.md": settings_page}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
