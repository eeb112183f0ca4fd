"""
Notification preferences over HTTP: which topics by which channels, in which browsers (W3C Push API), and unsubscribing
by the link of a mail, without signing in (RFC 8058).
"""

from itertools import product
from typing import Annotated, Final, get_args
from urllib.parse import urlsplit

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from marketd.actors import account, preferences
from marketd.actors.address import Address
from marketd.actors.notices import addresses
from marketd.actors.preferences import Channel, Choice, ChooseNotices, Chosen, Contact, ReadContact, Topic
from marketd.clock import Instant, instant
from marketd.http.answers import answered
from marketd.http.asking import ask, tell
from marketd.http.auth import own_address
from marketd.http.bodies import decode, examine, formed
from marketd.http.client import address_of
from marketd.http.doing import asked_at, id_for
from marketd.http.etags import expected, shown
from marketd.http.identity import signed_in
from marketd.http.keys import LIMITS, MAIL_TOKENS, PUSH_KEY
from marketd.http.operation import SIGNED_IN, Answer, Bytes, operation
from marketd.http.problems import Fault, NotFound

routes = web.RouteTableDef()

PAGE: Final = """<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width">
<meta name=color-scheme content="light dark">
<title>{title}</title>
<style>body{{font:1.1em/1.5 system-ui;max-width:40em;margin:3em auto;padding:0 1em}}
button{{font:inherit;padding:.3em .6em}}</style>
<main><h1>{title}</h1>
{main}</main>
</html>
"""
POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
QUESTION: Final = """<p>Your account gets mails about {topic}.</p>
<form method=post><button>Send me no more of them</button></form>
"""
DONE: Final = "<p>There are no more mails about {topic}. When you are signed in, you can have them sent again.</p>\n"

_POINT: Final = formed(r"B[A-Za-z0-9_-]{86}=?", "Expected a public key of P-256 in base64url, as a browser gives it")
_AUTH: Final = formed(r"[A-Za-z0-9_-]{22}(==)?", "Expected 16 bytes in base64url, as a browser gives them")

Endpoint = Annotated[str, Meta(max_length=2048, **formed(addresses.URL, "Expected a URL"))]


class Channels(Struct):
    """Whether notices of a topic are sent by e-mail, and by push to subscribed browsers."""

    email: bool
    push: bool


class ChannelsChange(Struct, forbid_unknown_fields=True):
    email: bool | UnsetType = UNSET
    push: bool | UnsetType = UNSET


class Notifications(Struct):
    """Notices about the user's purchases, their sales, refunds, and webhooks of theirs that were disabled."""

    receipts: Channels
    sales: Channels
    refunds: Channels
    webhooks: Channels


class NotificationsChange(Struct, forbid_unknown_fields=True):
    receipts: ChannelsChange | UnsetType = UNSET
    sales: ChannelsChange | UnsetType = UNSET
    refunds: ChannelsChange | UnsetType = UNSET
    webhooks: ChannelsChange | UnsetType = UNSET


class PushKeys(Struct, forbid_unknown_fields=True):
    p256dh: Annotated[str, Meta(max_length=88, **_POINT)]
    auth: Annotated[str, Meta(max_length=24, **_AUTH)]


class NewSubscription(Struct, forbid_unknown_fields=True, rename="camel"):
    """What `PushSubscription.toJSON()` gives in a browser."""

    endpoint: Endpoint
    keys: PushKeys
    expiration_time: float | None = None


class Subscription(Struct, rename="camel"):
    """A subscribed browser; `service` is the origin of its push service."""

    id: str
    service: str
    created_at: Instant


class NewlySubscribed(Struct, rename="camel"):
    id: str
    created_at: Instant


class Subscriptions(Struct):
    subscriptions: list[Subscription]


class PublicPushKey(Struct, rename="camel"):
    public_key: str


@routes.get("/auth/me/notifications")
@operation(access=SIGNED_IN, answers={200: Answer(Notifications, headers=("ETag",))})
async def show(request: web.Request) -> web.Response:
    """
    Show the user's notification preferences. What an account itself needs, such as a new password, always comes by
    e-mail.
    """
    signed_in(request)

    contact = await ask(request, await own_address(request), ReadContact(), Contact)

    return _shown(contact.preferences.chosen)


@routes.patch("/auth/me/notifications")
@operation(
    access=SIGNED_IN,
    body=NotificationsChange,
    answers={200: Answer(Notifications, headers=("ETag",))},
    takes=("If-Match",),
)
async def choose(request: web.Request) -> web.Response:
    """Change the user's notification preferences; what is not named stays as it is."""
    principal = signed_in(request)
    body, versions = await decode(request, NotificationsChange), expected(request)

    command = ChooseNotices(tuple(_choices(body)), versions)
    chosen = await ask(request, await own_address(request), command, Chosen, principal=principal)

    return _shown(chosen)


@routes.get("/push/key")
@operation(answers={200: Answer(PublicPushKey, headers=("ETag", "Cache-Control"))})
async def key(request: web.Request) -> web.Response:
    """Give the key that browsers subscribe with, as `applicationServerKey` (VAPID, RFC 8292)."""
    return shown(PublicPushKey(request.app[PUSH_KEY]), headers={"Cache-Control": "public, max-age=300"})


@routes.get("/push/subscriptions")
@operation(access=SIGNED_IN, answers={200: Answer(Subscriptions)})
async def list_subscriptions(request: web.Request) -> web.Response:
    """List the user's subscribed browsers, the oldest first."""
    signed_in(request)

    contact = await ask(request, await own_address(request), ReadContact(), Contact)

    return answered(Subscriptions([_described(one) for one in contact.preferences.subscriptions]))


@routes.post("/push/subscriptions")
@operation(
    access=SIGNED_IN,
    body=NewSubscription,
    answers={201: Answer(NewlySubscribed, headers=("Location",))},
)
async def subscribe(request: web.Request) -> web.Response:
    """
    Subscribe a browser to push notices. One that has subscribed before keeps its id; beyond the limit, the oldest ends.
    """
    principal = signed_in(request)
    new, allowed = await examine(request, NewSubscription), request.app[LIMITS].push_private_allowed
    endpoint = new.fitting.endpoint
    fault = endpoint and addresses.fault_of(endpoint, allow_http=allowed, allow_private=allowed)
    body = new.body([Fault("/endpoint", fault)] if fault else [])

    wanted = preferences.Subscription(
        id_for(request, "push"), body.endpoint, body.keys.p256dh, body.keys.auth, asked_at(request)
    )
    command = preferences.SubscribePush(wanted)
    made = await ask(request, await own_address(request), command, preferences.Subscribed, principal=principal)

    location = {"Location": address_of(request, f"/push/subscriptions/{made.subscription_id}")}
    return answered(NewlySubscribed(made.subscription_id, instant(made.at)), status=201, headers=location)


@routes.delete("/push/subscriptions/{id}")
@operation(access=SIGNED_IN, answers={204: Answer()})
async def unsubscribe(request: web.Request) -> web.Response:
    """End a browser's subscription; one that does not exist is ignored."""
    principal = signed_in(request)

    command = preferences.EndPush(request.match_info["id"], "by hand")
    await tell(request, await own_address(request), command, principal=principal)

    return web.Response(status=204)


@routes.get("/unsubscribe/{token}")
@operation(answers={200: Answer(Bytes, "text/html", headers=("Cache-Control",))}, problems=(NotFound,), is_link=True)
async def stop_page(request: web.Request) -> web.Response:
    """Ask for confirmation to unsubscribe: mail programs and link scanners open links as well."""
    _, topic = _stopped(request)

    return _page("No more mails?", QUESTION.format(topic=topic))


@routes.post("/unsubscribe/{token}")
@operation(answers={200: Answer(Bytes, "text/html", headers=("Cache-Control",))}, problems=(NotFound,))
async def stop(request: web.Request) -> web.Response:
    """Unsubscribe from mails of a topic; the link is enough, so a mail program can do it with one click."""
    address, topic = _stopped(request)

    await tell(request, address, ChooseNotices((Choice(topic, "email", False),)))

    return _page("Done", DONE.format(topic=topic))


def _page(title: str, main: str) -> web.Response:
    return web.Response(text=PAGE.format(title=title, main=main), content_type="text/html", headers=HEADERS)


def _stopped(request: web.Request) -> tuple[Address, Topic]:
    """Read the token of a mail; only we make tokens, so the account exists."""
    found = request.app[MAIL_TOKENS].read_stop(request.match_info["token"])
    if found is None:
        raise NotFound("there is nothing at this path")
    return Address(account.ACCOUNT.kind, found[0]), found[1]


def _described(subscription: preferences.Subscription) -> Subscription:
    """Describe a subscription; the rest of its endpoint stays between the browser and us."""
    parts = urlsplit(subscription.endpoint)
    return Subscription(subscription.subscription_id, f"{parts.scheme}://{parts.netloc}", instant(subscription.at))


def _choices(body: NotificationsChange) -> list[Choice]:
    asked = ((topic, getattr(body, topic)) for topic in get_args(Topic))
    named = ((topic, change) for topic, change in asked if isinstance(change, ChannelsChange))
    pairs = product(named, get_args(Channel))
    flags = ((topic, channel, getattr(change, channel)) for (topic, change), channel in pairs)
    return [Choice(topic, channel, is_on) for topic, channel, is_on in flags if is_on is not UNSET]


def _shown(chosen: Chosen) -> web.Response:
    topics = {topic: Channels(chosen.wants(topic, "email"), chosen.wants(topic, "push")) for topic in get_args(Topic)}
    return shown(Notifications(**topics), version=chosen.version)
