"""Signing in, signing up, asking for a new password, and signing out, each as a form."""

import re
from typing import Annotated, Final, Literal

from aiohttp import web
from msgspec import Meta, Struct

from marketd.http.auth import Email, GivenPassword, NewPassword, register_account, verify_credentials
from marketd.http.bodies import ShortLine
from marketd.http.confirmations import begin_reset
from marketd.http.operation import SIGNED_IN, Answer, Bytes, operation
from marketd.http.pages.forms import Nothing, open_form, signed_form
from marketd.http.pages.frame import HTML, sent_on, shown
from marketd.http.pages.refusals import BLANK, FORGOTTEN, SIGN_IN, SIGN_UP
from marketd.http.pages.web_session import end_session, open_session
from marketd.http.problems import NotSignedIn, TooManyFailures

routes = web.RouteTableDef()

# A path on this host: not on another one (`//host`, and `/\host`, which browsers treat the same), and in one line.
OUR_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")
NEXT_MAX: Final = 2048
KEPT_MAX: Final = 10_000
ENTERED: Final = {303: Answer(headers=("Location",))}
HOMES: Final = {"seller": "/dashboard", "buyer": "/"}

Next = Annotated[str, Meta(max_length=NEXT_MAX)]


class SignIn(Struct, forbid_unknown_fields=True):
    """`next` is the page to return to, and `kept` the text that was entered there."""

    email: Annotated[str, Meta(max_length=254)]
    password: GivenPassword
    next: Next = "/"
    kept: Annotated[str, Meta(max_length=KEPT_MAX)] = ""


class SignUp(Struct, forbid_unknown_fields=True):
    email: Email
    password: NewPassword
    name: ShortLine
    role: Literal["buyer", "seller"]
    next: Next = "/"


class Forgotten(Struct, forbid_unknown_fields=True):
    email: Email


@routes.get(SIGN_IN)
@operation(answers={200: Answer(Bytes, HTML)}, part_of="page")
async def sign_in_page(request: web.Request) -> web.Response:
    """Show the form to sign in."""
    return shown(request, "sign-in.html", given=BLANK | {"next": _next(request)}, faults=[], is_asked=False)


@routes.post(SIGN_IN)
@operation(body=SignIn, answers=ENTERED, problems=(NotSignedIn, TooManyFailures), part_of="page")
async def sign_in(request: web.Request) -> web.Response:
    """Open a session in this browser; the lockout is the same as in the API."""
    form = await open_form(request, SignIn)

    address = await verify_credentials(request, form.email, form.password)

    response = sent_on(request, _ours(form.next))
    await open_session(request, address, response)
    return response


@routes.get(SIGN_UP)
@operation(answers={200: Answer(Bytes, HTML)}, part_of="page")
async def sign_up_page(request: web.Request) -> web.Response:
    """Show the form to sign up."""
    role = "seller" if request.query.get("role") == "seller" else "buyer"
    return shown(
        request, "sign-up.html", given=BLANK | {"next": _next(request), "role": role}, faults=[], is_asked=False
    )


@routes.post(SIGN_UP)
@operation(body=SignUp, answers=ENTERED, part_of="page")
async def sign_up(request: web.Request) -> web.Response:
    """Create an account, and open a session in this browser."""
    form = await open_form(request, SignUp)

    await register_account(request, form.email, form.password, form.name, form.role)
    address = await verify_credentials(request, form.email, form.password)

    response = sent_on(request, HOMES[form.role] if form.next == "/" else _ours(form.next))
    await open_session(request, address, response)
    return response


@routes.get(FORGOTTEN)
@operation(answers={200: Answer(Bytes, HTML)}, part_of="page")
async def forgotten_page(request: web.Request) -> web.Response:
    """Show the form to ask for a new password."""
    return shown(request, "forgotten.html", given=BLANK, faults=[], is_asked=False)


@routes.post(FORGOTTEN)
@operation(body=Forgotten, answers={200: Answer(Bytes, HTML)}, part_of="page")
async def forgotten(request: web.Request) -> web.Response:
    """Send a mail to choose a new password, if the account exists; the page is the same if not."""
    form = await open_form(request, Forgotten)
    await begin_reset(request, form.email)
    return shown(request, "forgotten.html", given=BLANK, faults=[], is_asked=True)


@routes.post("/auth/sign-out")
@operation(access=SIGNED_IN, body=Nothing, answers=ENTERED, part_of="page")
async def sign_out(request: web.Request) -> web.Response:
    """End the session of this browser."""
    viewer, _ = await signed_form(request, Nothing)

    response = sent_on(request, "/")
    await end_session(request, viewer, response)
    return response


def _next(request: web.Request) -> str:
    return _ours(request.query.get("next", "/")[:NEXT_MAX])


def _ours(path: str) -> str:
    """Give a path on this host as it is, and the front page for anything else."""
    return path if OUR_PATH.fullmatch(path) else "/"
