"""
Actions confirmed with a token from a mail: verifying an e-mail address, and choosing a new password.

A token is checked against our key before any actor is asked or anything is hashed, so a guessed one costs nothing. No
response reveals whether an address has an account (OWASP, Forgot Password Cheat Sheet).
"""

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from marketd.actors import account
from marketd.actors.account import IssueTicket, Purpose, ResetPassword, Ticket, TicketState, VerifyEmail
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.notices.tokens import Claim
from marketd.http.answers import answered
from marketd.http.asking import ask, tell
from marketd.http.auth import Email, NewPassword, own_address, verification
from marketd.http.bodies import decode
from marketd.http.doing import asked_at, id_for
from marketd.http.identity import signed_in
from marketd.http.keys import CLOCK, LIMITS, LOCKOUT, MAIL_TOKENS, PASSWORDS
from marketd.http.operation import SIGNED_IN, Answer, operation
from marketd.http.problems import TooManyMails

routes = web.RouteTableDef()

MailedToken = Annotated[str, Meta(min_length=1, max_length=512)]


class Verification(Struct, forbid_unknown_fields=True):
    token: MailedToken


class ResetRequest(Struct, forbid_unknown_fields=True):
    email: Email


class NewPasswordBody(Struct, forbid_unknown_fields=True):
    token: MailedToken
    password: NewPassword


class MailUnderway(Struct):
    message: str


@routes.post("/auth/verify-email")
@operation(body=Verification, answers={204: Answer()})
async def verify_email(request: web.Request) -> web.Response:
    """Verify an account's e-mail address with a token from a mail; a token works once."""
    claim = _claim(request, "verify-email", (await decode(request, Verification)).token)

    await _spend(request, claim, VerifyEmail(claim.ticket_id, asked_at(request)))

    return web.Response(status=204)


@routes.post("/auth/verify-email/resend")
@operation(access=SIGNED_IN, answers={202: Answer(MailUnderway)}, problems=(TooManyMails,))
async def resend(request: web.Request) -> web.Response:
    """Send the verification mail again, with a new token, unless the address is verified already."""
    principal, limits = signed_in(request), request.app[LIMITS]
    command = IssueTicket(verification(request), limits.mails_hour_max)

    state = await ask(request, await own_address(request), command, TicketState, principal=principal)

    if state.again_at:
        wait_s = (state.again_at - request.app[CLOCK].now_ms()) / 1000
        raise TooManyMails(f"there were {limits.mails_hour_max} mails within the hour", retry_after_s=wait_s)
    return answered(MailUnderway("a mail is on its way, unless the address is verified already"), status=202)


@routes.post("/auth/password-reset")
@operation(body=ResetRequest, answers={202: Answer(MailUnderway)})
async def request_reset(request: web.Request) -> web.Response:
    """Send a reset token to the address if it has an account. If not, the response and its timing are the same."""
    body = await decode(request, ResetRequest)

    await begin_reset(request, body.email)

    return answered(MailUnderway("if there is such an account, a mail is on its way"), status=202)


async def begin_reset(request: web.Request, email: str) -> None:
    """Have a reset mail sent if the account exists; take as long if not."""
    clock, limits = request.app[CLOCK], request.app[LIMITS]
    now, answer_at_s = asked_at(request), clock.monotonic_s() + limits.reset_answer_s
    ticket = Ticket(id_for(request, "ticket"), "password-reset", now, now + limits.reset_minutes * 60_000)

    await _issue(request, account.address_of(email), IssueTicket(ticket, limits.mails_hour_max))
    await clock.sleep(max(0.0, answer_at_s - clock.monotonic_s()))


@routes.post("/auth/password-reset/confirm")
@operation(body=NewPasswordBody, answers={204: Answer()})
async def reset_password(request: web.Request) -> web.Response:
    """Choose a new password with a token from a mail; every session of the account ends."""
    body = await decode(request, NewPasswordBody)
    claim = _claim(request, "password-reset", body.token)

    hashed = await request.app[PASSWORDS].hash(body.password)
    await _spend(request, claim, ResetPassword(claim.ticket_id, hashed, asked_at(request)))
    request.app[LOCKOUT].succeeded(claim.account_key)

    return web.Response(status=204)


def _claim(request: web.Request, purpose: Purpose, token: str) -> Claim:
    claim = request.app[MAIL_TOKENS].read(purpose, token)
    if claim is None:
        raise Refused(account.Reason.TICKET_NOT_GOOD)
    return claim


async def _spend(request: web.Request, claim: Claim, command: Struct) -> None:
    """Send the command of a valid token; only we make tokens, so the account exists."""
    await tell(request, Address("account", claim.account_key), command)


async def _issue(request: web.Request, address: Address, command: IssueTicket) -> None:
    try:
        await tell(request, address, command, until_seen=False)
    except Refused:  # there is no such account, which the response must not reveal
        pass
