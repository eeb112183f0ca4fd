"""
What a page says when it can't be shown, or what it was asked for can't be done.

Who is not signed in gets the form to sign in with where the page would have been, and comes back to it. A form that
asks for an account shows again what was written into it, but for the password; every other refusal has a page. So has
an address at which there is nothing, and a link in a mail that is good no more, for who asks for HTML; a program gets
its problem document there.
"""

from math import ceil
from typing import Final

from aiohttp import web

from marketd.http.keys import REQUEST_ID
from marketd.http.operation import Operation, operation_of
from marketd.http.pages.forms import GIVEN
from marketd.http.pages.frame import HTML, shown
from marketd.http.problems import LED_NOWHERE, SORTS, BadRequest, MethodNotAllowed, NotSignedIn, Problem
from marketd.http.weights import prefers

SIGN_IN: Final = "/auth/sign-in"
SIGN_UP: Final = "/auth/sign-up"
FORGOTTEN: Final = "/auth/forgotten"
FORMS: Final = {SIGN_IN: "sign-in.html", SIGN_UP: "sign-up.html", FORGOTTEN: "forgotten.html"}
BLANK: Final = {"email": "", "name": "", "role": "buyer", "next": "/"}  # what a form is shown with again
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
    """Write the page of a refusal; None for what is no page."""
    declared = operation_of(request.match_info.handler)
    is_page = declared is not None and declared.part_of == "page"
    if not (is_page or _is_astray(request, declared)):
        return None
    if declared and declared.is_link and SORTS[problem.slug].status not in LED_NOWHERE:
        return None
    if isinstance(problem, NotSignedIn) and request.path != SIGN_IN:
        coming_back = str(request.rel_url) if request.method in ("GET", "HEAD") else "/"
        return shown(request, FORMS[SIGN_IN], given=BLANK | {"next": coming_back}, faults=[], is_asked=True)
    sort, template = SORTS[problem.slug], FORMS.get(request.path)
    given = request.get(GIVEN, {})
    if template and request.method == "POST":
        kept = {name: given.get(name, empty) for name, empty in BLANK.items()}
        page = shown(request, template, status=sort.status, given=kept, faults=_faults(problem), is_asked=False)
        return _again(problem, page)
    is_link = declared is not None and declared.is_link
    facts = {"title": sort.title, "faults": _faults(problem), "request_id": request[REQUEST_ID], "is_link": is_link}
    page = _again(problem, shown(request, "refusal.html", status=sort.status, **facts))
    if isinstance(problem, MethodNotAllowed):
        page.headers["Allow"] = problem.allowed
    return page


def _is_astray(request: web.Request, declared: Operation | None) -> bool:
    """Say whether a browser was led to where there is nothing, by an address or a link; programs do not prefer HTML."""
    is_lost = request.match_info.http_exception is not None if declared is None else declared.is_link
    return is_lost and request.method in ("GET", "HEAD") and prefers(request, HTML)


def _again(problem: Problem, page: web.Response) -> web.Response:
    """Say when it may be tried again."""
    if problem.retry_after_s is not None:
        page.headers["Retry-After"] = str(max(1, ceil(problem.retry_after_s)))
    return page


def _faults(problem: Problem) -> list[str]:
    if not isinstance(problem, BadRequest):
        return [str(problem)]
    return [f"{WORDS.get(name, name)}: {fault.detail}" for fault in problem.faults if (name := fault.pointer[1:])]
