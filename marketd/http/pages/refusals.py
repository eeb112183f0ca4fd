"""
What a page says when it can't be shown, or what it was asked for can't be done.

Who is not signed in gets the form to sign in with where the page would have been, and comes back to it. A form that
asks for an account shows again what was written into it, but for the password; every other refusal has a page. So has
an address at which there is nothing, for who asks for HTML; a program gets its problem document there.
"""

from math import ceil
from typing import Final

from aiohttp import web

from marketd.http.keys import REQUEST_ID
from marketd.http.operation import operation_of
from marketd.http.pages.forms import GIVEN
from marketd.http.pages.frame import HTML, shown
from marketd.http.problems import SORTS, BadRequest, NotSignedIn, Problem, allowed, problem_of

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


def page_of(request: web.Request, error: Exception) -> web.Response | None:
    """Write the page of a refusal; None for what is no page."""
    declared = operation_of(request.match_info.handler)
    if not (_is_astray(request) if declared is None else declared.part_of == "page"):
        return None
    problem = problem_of(error, request[REQUEST_ID])
    if isinstance(problem, NotSignedIn) and request.path != SIGN_IN:
        coming_back = str(request.rel_url) if request.method in ("GET", "HEAD") else "/"
        return shown(request, FORMS[SIGN_IN], given=BLANK | {"next": coming_back}, faults=[], is_asked=True)
    sort, template = SORTS[problem.slug], FORMS.get(request.path)
    given = request.get(GIVEN, {})
    if template and request.method == "POST":
        kept = {name: given.get(name, empty) for name, empty in BLANK.items()}
        page = shown(request, template, status=sort.status, given=kept, faults=_faults(problem), is_asked=False)
        return _again(problem, page)
    facts = {"title": sort.title, "faults": _faults(problem), "request_id": request[REQUEST_ID]}
    page = _again(problem, shown(request, "refusal.html", status=sort.status, **facts))
    if isinstance(error, web.HTTPMethodNotAllowed):
        page.headers["Allow"] = allowed(error)
    return page


def _is_astray(request: web.Request) -> bool:
    """Say whether somebody with a browser has come to where there is nothing; programs do not name HTML."""
    accepted = ",".join(request.headers.getall("Accept", ())).lower()
    return request.match_info.http_exception is not None and request.method in ("GET", "HEAD") and HTML in accepted


def _again(problem: Problem, page: web.Response) -> web.Response:
    """Say when it may be tried again."""
    if problem.retry_after_s is not None:
        page.headers["Retry-After"] = str(max(1, ceil(problem.retry_after_s)))
    return page


def _faults(problem: Problem) -> list[str]:
    if not isinstance(problem, BadRequest):
        return [str(problem)]
    return [f"{WORDS.get(name, name)}: {fault.detail}" for fault in problem.faults if (name := fault.pointer[1:])]
