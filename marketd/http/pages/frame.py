"""
How a page is made: a template, its values, and headers that limit what a browser may do with it.

The one rule: values are written into a page only by a template, which escapes them; a page has no inline script or
style, and loads none from elsewhere.
"""

from datetime import date, datetime
from decimal import Decimal
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from marketd.actors.money import decimals
from marketd.clock import Instant, instant
from marketd.http.encodings import WITHOUT_SECRET
from marketd.http.keys import LIMITS
from marketd.http.pages import static
from marketd.http.pages.web_session import VIEWER
from marketd.http.periods import UTC, known
from marketd.storage.catalog import PREVIEWS

FOLDER: Final = Path(__file__).parent / "templates"
HTML: Final = "text/html"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # With `no-referrer`, browsers would not say from which origin a form was sent either (Fetch, section 3.1).
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
UNITS: Final = ("bytes", "KB", "MB", "GB")


def shown(request: web.Request, template: str, *, status: int = 200, **facts: Any) -> web.Response:
    """Answer with a page."""
    text = written(request, template, **facts)
    return web.Response(status=status, text=text, content_type=HTML, headers=HEADERS)


def shown_to_anybody(request: web.Request, template: str, **facts: Any) -> web.Response:
    """
    Answer with a page that is the same for all visitors without a session; a viewer's holds the secret of their forms.
    """
    page = shown(request, template, **facts)
    page[WITHOUT_SECRET] = VIEWER not in request
    return page


def written(request: web.Request, template: str, **facts: Any) -> str:
    """Render a page, or a part of one."""
    viewer = request.get(VIEWER)
    around = {
        "base": base(request),
        "static": f"{base(request)}/static/{static.digest()}",
        "viewer": viewer,
        "csrf": viewer.token(request) if viewer else "",
        "path": request.path,
        "zone": known(viewer.zone) if viewer else UTC,
    }
    return _templates().get_template(template).render(around | facts)


def sent_on(request: web.Request, path: str) -> web.Response:
    """Redirect the browser to another page, by GET."""
    return web.Response(status=303, headers={**HEADERS, "Location": base(request) + path})


def base(request: web.Request) -> str:
    """Give the prefix of our paths, if the service is published below a path."""
    return urlsplit(request.app[LIMITS].public_url or "").path.rstrip("/")


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"money": money, "size": size, "count": count, "seconds": seconds}
    made.filters |= {"day": _day, "minute": _minute, "minute_of": _minute_of, "day_of": _day_of}
    made.tests["is_own"] = lambda url: url.startswith(PREVIEWS)  # no page loads anything from elsewhere
    marks: Any = made.get_template("marks.html").module
    made.globals |= {"mark": marks.mark, "at_fault": marks.at_fault, "wrong": ()}
    return made


def money(amount: Decimal | float, currency: str) -> str:
    """Write an amount as people read it: 1,234.50 USD."""
    return f"{amount:,.{decimals(currency)}f}\u00a0{currency}"


def day(at: date) -> str:
    """Write a day: 5 Nov 2026."""
    return f"{at.day}\u00a0{at:%b}\u00a0{at.year}"


@pass_context
def _day(around: Context, at: date) -> str:
    """Write a day; of a moment, the day in the viewer's time zone."""
    return day(at.astimezone(ZoneInfo(around["zone"])) if isinstance(at, datetime) else at)


@pass_context
def _day_of(around: Context, ms: int) -> str:
    return _day(around, instant(ms))


@pass_context
def _minute(around: Context, at: Instant) -> str:
    """Write a time in the viewer's time zone: 5 Nov 2026, 14:03 CET."""
    there = at.astimezone(ZoneInfo(around["zone"]))
    return f"{day(there)}, {there:%H:%M}\u00a0{there:%Z}"


@pass_context
def _minute_of(around: Context, ms: int) -> str:
    return _minute(around, instant(ms))


def size(octets: float) -> str:
    """Write the size of a file: 1.4 MB."""
    for unit in UNITS:
        if octets < 1000 or unit == UNITS[-1]:
            break
        octets /= 1000
    return f"{octets:.0f}\u00a0{unit}" if octets >= 100 or unit == UNITS[0] else f"{octets:.1f}\u00a0{unit}"


def count(number: float) -> str:
    """Write a number with thousands separators."""
    return f"{number:,.0f}"


def seconds(given: float) -> str:
    """Write a short time: 0.4 ms, 12 ms, 1.4 s; or that it is beyond all bounds of a histogram."""
    if given == inf:
        return "longer"
    if given < 0.01:
        return f"{given * 1000:.1f}\u00a0ms"
    return f"{given * 1000:.0f}\u00a0ms" if given < 1 else f"{given:.1f}\u00a0s"
