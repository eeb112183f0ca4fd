"""
The pages of refusals: a page that can't be shown, or a request that can't be fulfilled.

A visitor who is not signed in gets the sign-in form in place of the page, and returns to it afterwards. A visitor whose
session ended before a form was sent returns to the page of the form, and the text of the form is kept. The forms to
sign in, to sign up and for a new password are shown again with what was entered, except the password; every other
refusal has a page. So have an unknown path, and an expired link from a mail, for clients that prefer HTML; others get a
problem document there.
"""

import re
from math import ceil
from typing import Final

from aiohttp import web

from marketd.actors import account
from marketd.http.keys import REQUEST_ID
from marketd.http.operation import Operation, operation_of
from marketd.http.pages.forms import GIVEN
from marketd.http.pages.frame import HTML, shown
from marketd.http.problems import LED_NOWHERE, SORTS, BadRequest, MethodNotAllowed, NotSignedIn, Problem, reason_slug
from marketd.http.weights import prefers

SIGN_IN: Final = "/auth/sign-in"
SIGN_UP: Final = "/auth/sign-up"
FORGOTTEN: Final = "/auth/forgotten"
FORMS: Final = {SIGN_IN: "sign-in.html", SIGN_UP: "sign-up.html", FORGOTTEN: "forgotten.html"}
# The fields that a form is shown again with.
BLANK: Final = {"email": "", "name": "", "role": "buyer", "next": "/", "kept": ""}
PAGES_OF_FORMS: Final = re.compile(r"/shop/products/[^/]+|/dashboard/products/[^/]+|/dashboard/(?:orders|zone)|/ops")
NOT_DONE: Final = "This was not done, as you are signed in no more. Sign in, and send it again from the page it was on."
WORDS: Final = {
    "email": "E-mail",
    "password": "Password",
    "name": "Name",
    "role": "Role",
    "rating": "Rating",
    "title": "Title",
    "body": "Review",
}


def page_of(request: web.Request, problem: Problem) -> web.Response | None:
    """Make the page of a refusal; None where a problem document is to be sent."""
    declared = operation_of(request.match_info.handler)
    is_page = declared is not None and declared.part_of == "page"
    if not (is_page or _is_astray(request, declared)):
        return None
    if declared and declared.is_link and SORTS[problem.slug].status not in LED_NOWHERE:
        return None
    if isinstance(problem, NotSignedIn) and request.path != SIGN_IN:
        return _asked_to_sign_in(request)
    sort, template = SORTS[problem.slug], FORMS.get(request.path)
    given = request.get(GIVEN, {})
    if template and request.method == "POST":
        kept = {name: given.get(name, empty) for name, empty in BLANK.items()}
        facts = {"given": kept, "faults": _faults(problem), "wrong": _wrong(problem), "is_asked": False}
        return _again(problem, shown(request, template, status=sort.status, **facts))
    is_link = declared is not None and declared.is_link
    told = {"title": sort.title, "faults": _faults(problem), "request_id": request[REQUEST_ID], "is_link": is_link}
    page = _again(problem, shown(request, "refusal.html", status=sort.status, **told))
    if isinstance(problem, MethodNotAllowed):
        page.headers["Allow"] = problem.allowed
    return page


def _asked_to_sign_in(request: web.Request) -> web.Response:
    """Show the sign-in form, which leads back to the page asked for, or to the page of the form that was sent."""
    if request.method in ("GET", "HEAD"):
        given = BLANK | {"next": str(request.rel_url)}
        return shown(request, FORMS[SIGN_IN], given=given, faults=[], is_asked=True)
    page = PAGES_OF_FORMS.match(request.rel_url.raw_path)
    given = BLANK | {"next": page[0] if page else "/", "kept": request.get(GIVEN, {}).get("body", "")}
    return shown(request, FORMS[SIGN_IN], given=given, faults=[NOT_DONE], is_asked=False)


def _is_astray(request: web.Request, declared: Operation | None) -> bool:
    """Say whether a browser followed a link, or asked for an unknown path; programs do not prefer HTML."""
    is_lost = request.match_info.http_exception is not None if declared is None else declared.is_link
    return is_lost and request.method in ("GET", "HEAD") and prefers(request, HTML)


def _again(problem: Problem, page: web.Response) -> web.Response:
    """Say when to try again, if the problem does."""
    if problem.retry_after_s is not None:
        page.headers["Retry-After"] = str(max(1, ceil(problem.retry_after_s)))
    return page


def _wrong(problem: Problem) -> list[str]:
    """Name the fields at fault, in the order of the forms; the first is where one goes on writing."""
    if isinstance(problem, BadRequest):
        named = {fault.pointer[1:] for fault in problem.faults}
        return [name for name in ("name", "email", "password") if name in named]
    if isinstance(problem, NotSignedIn):  # whose password it is not, or whose address: nobody is told which
        return ["email", "password"]
    return ["email"] if problem.slug == reason_slug(account.Reason.EMAIL_TAKEN) else []


def _faults(problem: Problem) -> list[str]:
    if not isinstance(problem, BadRequest):
        return [str(problem)]
    return [f"{WORDS.get(name, name)}: {fault.detail}" for fault in problem.faults if (name := fault.pointer[1:])]
