"""
Webhooks over HTTP: the URLs that events are posted to, which events, and the secrets that sign them.

They are read from the actor of the signed-in user, so other users' webhooks are not found.
"""

from typing import Annotated, Final

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict

from marketd.actors import webhook
from marketd.actors.address import Address
from marketd.actors.notices.addresses import URL, fault_of
from marketd.actors.webhook import Endpoint, Why
from marketd.bus.events import DATA
from marketd.clock import Instant, instant
from marketd.http.answers import answered
from marketd.http.asking import ask, tell
from marketd.http.bodies import LINES, examine, formed
from marketd.http.client import address_of
from marketd.http.doing import asked_at, id_for
from marketd.http.etags import expected, shown
from marketd.http.identity import signed_in
from marketd.http.keys import CLOCK, LIMITS, WEBHOOK_SIGNER
from marketd.http.operation import SELLERS_AND_ADMINS, Answer, operation
from marketd.http.problems import Fault
from marketd.http.tokens import Principal

routes = web.RouteTableDef()

ONE: Final = "/webhooks/{id:(?!stripe$)[^/]+}"  # that path is Stripe's own (news.py)
KINDS: Final = tuple(dict.fromkeys(name.partition(".")[0] for name in DATA))
PATTERNS: Final = ("*", *(f"{kind}.*" for kind in KINDS), *DATA)
OF_SELLERS: Final = frozenset({"*", *(pattern for pattern in PATTERNS if pattern.startswith(("product.", "order.")))})


def _pattern_fault(pattern: str) -> str | None:
    return (
        None if pattern in PATTERNS else "Expected the name of a public event, or `order.*` for all of a kind, or `*`"
    )


EventPattern = Annotated[
    str, Meta(extra={"check": _pattern_fault}, extra_json_schema={"enum": [*PATTERNS], "type": "string"})
]
EventPatterns = Annotated[list[EventPattern], Meta(min_length=1, max_length=len(PATTERNS))]
EndpointUrl = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=2_048,
        **formed(URL, "Expected an http or https URL of ASCII characters, without a user and a fragment"),
    ),
]
Note = Annotated[
    str,
    Meta(max_length=500, **formed(f"(?:{LINES})?", "Expected no control characters but line breaks and tabs")),
]


class NewWebhook(Struct, forbid_unknown_fields=True):
    """`events` are names of public events, or `order.*` for all of a kind, or `*`."""

    url: EndpointUrl
    events: EventPatterns
    description: Note = ""


class WebhookChange(Struct, forbid_unknown_fields=True):
    url: EndpointUrl | UnsetType = UNSET
    events: EventPatterns | UnsetType = UNSET
    description: Note | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class Webhook(Struct, rename="camel"):
    """`disabledReason` is set while nothing is sent; `oldSecretExpiresAt` while two secrets are valid."""

    id: str
    url: str
    events: list[str]
    description: str
    disabled: bool
    disabled_reason: Why | None
    old_secret_expires_at: Instant | None
    created_at: Instant
    updated_at: Instant


class RegisteredWebhook(Webhook, rename="camel"):
    """A webhook with its secret, which is not shown again."""

    secret: str


class Webhooks(Struct):
    webhooks: list[Webhook]


@routes.post("/webhooks")
@operation(
    access=SELLERS_AND_ADMINS,
    body=NewWebhook,
    answers={201: Answer(RegisteredWebhook, headers=("Cache-Control", "ETag", "Location"))},
    problems=(webhook.Reason.TOO_MANY_WEBHOOKS,),
)
async def register(request: web.Request) -> web.Response:
    """
    Register a URL that events are posted to, signed by the Standard Webhooks specification.

    A seller gets events of their own products and sales, an admin all events.
    """
    owner = signed_in(request, "seller", "admin")
    new = await examine(request, NewWebhook)
    body = new.body(faults_of(request, owner, new.fitting.url, new.fitting.events))
    at = asked_at(request)
    endpoint = Endpoint(
        webhook_id=id_for(request, "webhook"),
        url=body.url,
        events=tuple(dict.fromkeys(body.events)),
        description=body.description,
        scope="all" if owner.role == "admin" else "own",
        secrets=(webhook.Secret(id_for(request, "secret")),),
        created_at=at,
        updated_at=at,
    )

    command = webhook.Register(endpoint, request.app[LIMITS].webhooks.endpoints_max)
    made = (await ask(request, board_of(owner), command, webhook.View, principal=owner)).endpoint

    location = address_of(request, f"/webhooks/{made.webhook_id}")
    return _with_secret(request, made, status=201, headers={"Location": location})


@routes.get("/webhooks")
@operation(access=SELLERS_AND_ADMINS, answers={200: Answer(Webhooks)})
async def browse(request: web.Request) -> web.Response:
    """List the user's webhooks, the oldest first."""
    owner = signed_in(request, "seller", "admin")
    found = await ask(request, board_of(owner), webhook.ListEndpoints(), webhook.Endpoints, principal=owner)
    now_ms = request.app[CLOCK].now_ms()
    return answered(Webhooks([_body(endpoint, now_ms) for endpoint in found.endpoints]))


@routes.get(ONE)
@operation(
    access=SELLERS_AND_ADMINS,
    answers={200: Answer(Webhook, headers=("ETag",))},
    problems=(webhook.Reason.NO_SUCH_WEBHOOK,),
)
async def show(request: web.Request) -> web.Response:
    """Show one webhook."""
    owner = signed_in(request, "seller", "admin")
    return _tagged(request, await own(request, owner))


@routes.patch(ONE)
@operation(
    access=SELLERS_AND_ADMINS,
    body=WebhookChange,
    answers={200: Answer(Webhook, headers=("ETag",))},
    takes=("If-Match",),
    problems=(webhook.Reason.NO_SUCH_WEBHOOK,),
)
async def revise(request: web.Request) -> web.Response:
    """
    Change a webhook, or disable or enable it.

    While it is disabled nothing is sent, and new events are not kept for it; pending deliveries continue when it is
    enabled.
    """
    owner = signed_in(request, "seller", "admin")
    change, versions = await examine(request, WebhookChange), expected(request)
    body = change.body(faults_of(request, owner, change.fitting.url, change.fitting.events))

    events = UNSET if body.events is UNSET else tuple(dict.fromkeys(body.events))
    now_ms, webhook_id = request.app[CLOCK].now_ms(), request.match_info["id"]
    command = webhook.Revise(webhook_id, now_ms, body.url, events, body.description, body.disabled, versions)
    view = await ask(request, board_of(owner), command, webhook.View, principal=owner)

    return _tagged(request, view.endpoint)


@routes.delete(ONE)
@operation(
    access=SELLERS_AND_ADMINS,
    answers={204: Answer()},
    takes=("If-Match",),
    problems=(webhook.Reason.NO_SUCH_WEBHOOK,),
)
async def remove(request: web.Request) -> web.Response:
    """Remove a webhook, and with it all its deliveries."""
    owner = signed_in(request, "seller", "admin")
    command = webhook.Remove(request.match_info["id"], request.app[CLOCK].now_ms(), expected(request))
    await tell(request, board_of(owner), command, principal=owner)
    return web.Response(status=204)


@routes.post("/webhooks/{id}/rotate-secret")
@operation(
    access=SELLERS_AND_ADMINS,
    answers={200: Answer(RegisteredWebhook, headers=("Cache-Control", "ETag"))},
    problems=(webhook.Reason.NO_SUCH_WEBHOOK,),
)
async def rotate_secret(request: web.Request) -> web.Response:
    """Sign with a new secret and, for a day, with the old one too."""
    owner = signed_in(request, "seller", "admin")
    command = webhook.RotateSecret(request.match_info["id"], id_for(request, "secret"), asked_at(request))
    view = await ask(request, board_of(owner), command, webhook.View, principal=owner)
    return _with_secret(request, view.endpoint)


def board_of(owner: Principal) -> Address:
    """Give the address of the actor that has a user's webhooks."""
    return Address("webhook", owner.user_id)


async def own(request: web.Request, owner: Principal) -> Endpoint:
    """Find the webhook of the path among the user's own."""
    command = webhook.Describe(request.match_info["id"])
    return (await ask(request, board_of(owner), command, webhook.View, principal=owner)).endpoint


def faults_of(
    request: web.Request, owner: Principal, url: str | UnsetType, events: list[str] | UnsetType
) -> list[Fault]:
    """Name a URL that nothing may be posted to, and events that this user may not get."""
    limits, faults = request.app[LIMITS].webhooks, []
    if url is not UNSET and (fault := fault_of(url, allow_http=limits.allow_http, allow_private=limits.allow_private)):
        faults.append(Fault("/url", fault))
    if events is not UNSET and owner.role != "admin":
        others = [index for index, pattern in enumerate(events) if pattern not in OF_SELLERS]
        faults += [Fault(f"/events/{index}", "Expected events of products or orders") for index in others]
    return faults


def _tagged(request: web.Request, endpoint: Endpoint) -> web.Response:
    return shown(_body(endpoint, request.app[CLOCK].now_ms()), version=endpoint.version)


def _with_secret(
    request: web.Request, endpoint: Endpoint, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Answer with a webhook and its newest secret, which no cache may keep."""
    known = _body(endpoint, request.app[CLOCK].now_ms())
    secret = request.app[WEBHOOK_SIGNER].secret(endpoint.webhook_id, endpoint.secrets[0].secret_id)
    body = RegisteredWebhook(**asdict(known), secret=secret)
    headers = {**(headers or {}), "Cache-Control": "no-store"}
    return shown(body, version=endpoint.version, status=status, headers=headers)


def _body(endpoint: Endpoint, now_ms: int) -> Webhook:
    ends = [s.expires_at for s in endpoint.secrets if s.expires_at is not None and s.expires_at > now_ms]
    return Webhook(
        id=endpoint.webhook_id,
        url=endpoint.url,
        events=list(endpoint.events),
        description=endpoint.description,
        disabled=endpoint.disabled is not None,
        disabled_reason=endpoint.disabled,
        old_secret_expires_at=instant(max(ends)) if ends else None,
        created_at=instant(endpoint.created_at),
        updated_at=instant(endpoint.updated_at),
    )
