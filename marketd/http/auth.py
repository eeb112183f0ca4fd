"""
Accounts over HTTP: registering, signing in and out, and the user's own profile.

A refresh token is `<account key>.<session id>.<secret>`: it names its account, and works once. Only the SHA-256 of its
secret is stored; the secret is long and random, so it needs no slow hash.
"""

import hashlib
from contextlib import suppress
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from marketd.actors import account
from marketd.actors.account import Role
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.clock import DAY_MS, HOUR_MS, Instant, instant
from marketd.http.answers import answered
from marketd.http.asking import ask, read, tell
from marketd.http.bodies import ShortLine, decode, formed
from marketd.http.client import client_network
from marketd.http.doing import asked_at, id_for, secret_for
from marketd.http.etags import expected, shown
from marketd.http.identity import signed_in
from marketd.http.keys import ADDRESS_LOCKOUT, FILES, LIMITS, LOCKOUT, PASSWORDS, TOKENS
from marketd.http.operation import SIGNED_IN, Answer, operation
from marketd.http.periods import Zone, known
from marketd.http.problems import BadRequest, Fault, NotSignedIn, TooManyFailures
from marketd.http.tokens import Principal
from marketd.storage.people import FindPerson, Person

routes = web.RouteTableDef()

BAD_CREDENTIALS: Final = "the e-mail address or the password is wrong"
BAD_REFRESH: Final = "the refresh token is not good any more: sign in again"

# What browsers accept as an e-mail address (WHATWG HTML, section 4.10.5.1.5), with the length limits of RFC 5321;
# except what a mail program could take for an encoded word (RFC 2047).
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = rf"(?![^@]*=\?)[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})*"
_PASSWORD = r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=[^0-9]*[0-9])[\s\S]*"

Email = Annotated[str, Meta(min_length=3, max_length=254, **formed(_EMAIL, "Expected an e-mail address"))]
NewPassword = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=128,
        **formed(_PASSWORD, "Expected a lower-case letter, an upper-case letter and a digit"),
    ),
]
GivenPassword = Annotated[str, Meta(max_length=1024)]
GivenToken = Annotated[str, Meta(min_length=1, max_length=512)]


class Registration(Struct, forbid_unknown_fields=True):
    email: Email
    password: NewPassword
    name: ShortLine
    role: Literal["buyer", "seller"]


class AdminAccount(Struct, forbid_unknown_fields=True):
    """An administrator's account, as the command line creates it."""

    email: Email
    password: NewPassword


class Credentials(Struct, forbid_unknown_fields=True):
    email: Annotated[str, Meta(max_length=254)]
    password: GivenPassword


class RefreshBody(Struct, forbid_unknown_fields=True, rename="camel"):
    refresh_token: GivenToken


class ProfileChange(Struct, forbid_unknown_fields=True, rename="camel"):
    """Changes the fields that are given, at least one; `timeZone` is an IANA name, or null to remove it."""

    also: ClassVar = {"minProperties": 1}

    name: ShortLine | UnsetType = UNSET
    time_zone: Zone | None | UnsetType = UNSET


class Registered(Struct, rename="camel"):
    message: str
    user_id: str


class TokenPair(Struct, rename="camel"):
    """`expiresIn` is the lifetime of the access token in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    user_id: str


class Profile(Struct, rename="camel"):
    """`timeZone` is present once it was set."""

    user_id: str
    email: str
    name: str
    role: Role
    email_verified: bool
    created_at: Instant
    time_zone: str | UnsetType = UNSET


class PublicKey(Struct):
    """A public key of Ed25519 (RFC 8037) as a JSON Web Key (RFC 7517)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    alg: Literal["EdDSA"]
    use: Literal["sig"]


class KeySet(Struct):
    keys: list[PublicKey]


class RefreshToken(NamedTuple):
    account_key: str
    session_id: str
    secret: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def __str__(self) -> str:
        return ".".join(self)


@routes.post("/auth/register")
@operation(
    body=Registration,
    answers={201: Answer(Registered)},
    problems=(account.Reason.EMAIL_TAKEN,),
)
async def register(request: web.Request) -> web.Response:
    """Create an account."""
    body = await decode(request, Registration)

    profile = await register_account(request, body.email, body.password, body.name, body.role)

    return answered(Registered("the account is made", profile.user_id), status=201)


async def register_account(request: web.Request, email: str, password: str, name: str, role: Role) -> account.Profile:
    """Create an account, for the API and the pages."""
    await request.app[FILES].see_room()
    hashed = await request.app[PASSWORDS].hash(password)
    ticket, user_id = verification(request), id_for(request, "account")
    command = account.Register(user_id, email, name, role, hashed, asked_at(request), ticket)
    return await ask(request, account.address_of(email), command, account.Profile)


@routes.post("/auth/login")
@operation(
    body=Credentials,
    answers={200: Answer(TokenPair, headers=("Cache-Control",))},
    problems=(NotSignedIn, TooManyFailures),
)
async def login(request: web.Request) -> web.Response:
    """Open a session. An unknown address and a wrong password get the same response after the same time."""
    body = await decode(request, Credentials)

    address = await verify_credentials(request, body.email, body.password)

    token = RefreshToken(address.key, id_for(request, "session"), secret_for(request, "token"))
    opened = await ask(
        request, address, account.OpenSession(_session(request, token), asked_at(request)), account.SessionState
    )

    return _pair(request, opened, token)


async def verify_credentials(request: web.Request, email: str, password: str) -> Address:
    """Check the credentials and give the account's address; raise `NotSignedIn` or `TooManyFailures`."""
    address, lockout, network = account.address_of(email), request.app[LOCKOUT], client_network(request)
    async with lockout.turn(address.key):
        if wait_s := max(lockout.wait_s(address.key), request.app[ADDRESS_LOCKOUT].wait_s(network)):
            raise TooManyFailures("too many failures in a row", retry_after_s=wait_s)
        known = await _credentials(request, address)
        if not await request.app[PASSWORDS].verify(password, known.password_hash if known else None):
            lockout.failed(address.key)
            request.app[ADDRESS_LOCKOUT].failed(network)
            raise NotSignedIn(BAD_CREDENTIALS)
        lockout.succeeded(address.key)
    return address


@routes.post("/auth/refresh")
@operation(body=RefreshBody, answers={200: Answer(TokenPair, headers=("Cache-Control",))}, problems=(NotSignedIn,))
async def refresh(request: web.Request) -> web.Response:
    """Exchange a refresh token for a new pair; one that was used before ends the session."""
    given = _parse((await decode(request, RefreshBody)).refresh_token)
    fresh = given._replace(secret=secret_for(request, "token"))
    command = account.RefreshSession(given.digest, _session(request, fresh), asked_at(request))

    try:
        state = await ask(request, Address("account", given.account_key), command, account.SessionState)
    except Refused:
        raise NotSignedIn(BAD_REFRESH) from None
    if not state.is_open:
        raise NotSignedIn(BAD_REFRESH)

    return _pair(request, state, fresh)


@routes.post("/auth/logout")
@operation(body=RefreshBody, answers={204: Answer()})
async def logout(request: web.Request) -> web.Response:
    """End the session of a refresh token; an invalid token is ignored."""
    body = await decode(request, RefreshBody)
    with suppress(Refused, NotSignedIn):
        given = _parse(body.refresh_token)
        await tell(request, Address("account", given.account_key), account.EndSession(given.session_id, given.digest))
    return web.Response(status=204)


@routes.get("/auth/me")
@operation(access=SIGNED_IN, answers={200: Answer(Profile, headers=("ETag",))})
async def me(request: web.Request) -> web.Response:
    """Give the profile of the signed-in user."""
    profile = await ask(request, await own_address(request), account.Describe(), account.Profile)
    return shown(_shown(profile), version=profile.version)


@routes.patch("/auth/me")
@operation(access=SIGNED_IN, body=ProfileChange, answers={200: Answer(Profile, headers=("ETag",))}, takes=("If-Match",))
async def rename(request: web.Request) -> web.Response:
    """
    Change the user's name, or the time zone in which their days begin.

    A seller's analytics use that time zone, unless a request names another one.
    """
    principal = signed_in(request)
    body, versions = await decode(request, ProfileChange), expected(request)
    if body.name is UNSET and body.time_zone is UNSET:
        raise BadRequest([Fault("/name", "Required, unless there is a timeZone")])

    address = await own_address(request)
    command = account.Rename(body.name, versions, body.time_zone)
    profile = await ask(request, address, command, account.Profile, principal=principal)

    return shown(_shown(profile), version=profile.version)


@routes.get("/.well-known/jwks.json")
@operation(answers={200: Answer(KeySet, headers=("ETag", "Cache-Control"))})
async def jwks(request: web.Request) -> web.Response:
    """Give the public keys that verify access tokens."""
    return shown(request.app[TOKENS].jwks(), headers={"Cache-Control": "public, max-age=300"})


async def _credentials(request: web.Request, address: Address) -> account.Credentials | None:
    """Read an account's credentials without waiting for the read models; an unknown account takes as long."""
    try:
        answer = await tell(request, address, account.ReadCredentials(), until_seen=False)
    except Refused:
        return None
    assert isinstance(answer.value, account.Credentials), f"{address} answered {type(answer.value)}"
    return answer.value


async def own_address(request: web.Request) -> Address:
    """Find the account of the signed-in user."""
    return await _address_of(request, signed_in(request).user_id)


async def zone_of(request: web.Request, user_id: str) -> str:
    """Give the time zone in which a user's days begin."""
    address = await _address_of(request, user_id)
    return known((await ask(request, address, account.Describe(), account.Profile)).zone)


async def _address_of(request: web.Request, user_id: str) -> Address:
    person = await read(request, FindPerson(user_id), Person)
    return Address("account", person.account_key)


def verification(request: web.Request) -> account.Ticket:
    """Make a ticket whose token proves that the user reads the account's mail."""
    now = asked_at(request)
    expires_at = now + request.app[LIMITS].verify_hours * HOUR_MS
    return account.Ticket(id_for(request, "ticket"), "verify-email", now, expires_at)


def _session(request: web.Request, token: RefreshToken) -> account.Session:
    now = asked_at(request)
    expires_at = now + request.app[LIMITS].refresh_days * DAY_MS
    return account.Session(token.session_id, token.digest, expires_at, now, now)


def _pair(request: web.Request, state: account.SessionState, token: RefreshToken) -> web.Response:
    tokens = request.app[TOKENS]
    access = tokens.issue(Principal(state.user_id, state.role, token.session_id))
    pair = TokenPair(access, str(token), "Bearer", tokens.seconds, state.user_id)
    return answered(pair, headers={"Cache-Control": "no-store"})


def _parse(text: str) -> RefreshToken:
    parts = text.split(".")
    if len(parts) != 3 or not Address("account", parts[0]).is_sound:
        raise NotSignedIn(BAD_REFRESH)
    return RefreshToken(*parts)


def _shown(profile: account.Profile) -> Profile:
    return Profile(
        user_id=profile.user_id,
        email=profile.email,
        name=profile.name,
        role=profile.role,
        email_verified=profile.is_verified,
        created_at=instant(profile.created_at),
        time_zone=profile.zone or UNSET,
    )
