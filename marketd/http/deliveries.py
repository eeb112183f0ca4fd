"""Webhook deliveries: each with its attempts, and sending events again, one delivery or all since a time."""

from typing import Annotated, Any, Literal

from aiohttp import web
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import asdict

from marketd.actors import webhook
from marketd.actors.webhook import Endpoint
from marketd.clock import Instant, instant, ms_of
from marketd.http.answers import answered, listed
from marketd.http.asking import find, read, tell
from marketd.http.bodies import Paging, examine, parameters
from marketd.http.client import address_of
from marketd.http.doing import asked_at, id_for
from marketd.http.etags import shown
from marketd.http.identity import signed_in
from marketd.http.keys import LIMITS
from marketd.http.operation import SELLERS_AND_ADMINS, Answer, holding, operation
from marketd.http.problems import BadRequest, Fault, NotFound, WrongState
from marketd.http.tokens import Principal
from marketd.http.webhooks import EventPatterns, board_of, faults_of
from marketd.storage.enquiries import (
    Delivery,
    DeliveryPage,
    ListDeliveries,
    ReadDelivery,
    Replay,
    Replayed,
    Resend,
    SendTest,
    Source,
    State,
)

routes = web.RouteTableDef()


class DeliveryList(Paging, frozen=True, forbid_unknown_fields=True):
    state: State | None = None


class ReplayBody(Struct, forbid_unknown_fields=True):
    """What happened from `since` until before `until` (default: now); `events` defaults to those of the webhook."""

    since: Instant
    until: Instant | None = None
    events: EventPatterns | None = None


class WebhookDelivery(Struct, rename="camel"):
    """
    One event for one webhook. `messageId` is the event's id, which is sent as `webhook-id` with each attempt;
    `nextAttemptAt` is set while it is pending and not due yet.
    """

    id: str
    message_id: str
    type: str
    source: Source
    state: State
    created_at: Instant
    attempt_count: int
    next_attempt_at: Instant | None


class DeliveryAttempt(Struct, rename="camel"):
    """One request: the status and the first KiB of its response, or in `error` why there was none."""

    at: Instant
    duration_ms: int
    status: int | None
    error: str | None
    response_body: str


class SentEvent(Struct):
    """
    A CloudEvent (CloudEvents 1.0.2, JSON format) as it is posted; `type` is, for example, `market.order.completed`.
    """

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: Instant
    datacontenttype: Literal["application/json"]
    data: dict[str, Any]
    traceparent: str | UnsetType = UNSET


class WholeDelivery(WebhookDelivery, rename="camel"):
    """A delivery with its newest attempts, the oldest first, and what was sent."""

    attempts: list[DeliveryAttempt]
    payload: Annotated[Raw, holding(SentEvent)]


class WebhookDeliveries(Struct):
    total: int
    page: int
    size: int
    deliveries: list[WebhookDelivery]


class ReplayStarted(Struct, rename="camel"):
    """`events` is the number of events to be sent."""

    replay_id: str
    events: int


@routes.get("/webhooks/{id}/deliveries")
@operation(
    access=SELLERS_AND_ADMINS,
    query=DeliveryList,
    answers={200: Answer(WebhookDeliveries, headers=("Link",))},
    problems=(webhook.Reason.NO_SUCH_WEBHOOK,),
)
async def browse(request: web.Request) -> web.Response:
    """List the deliveries of a webhook, sent or pending, the newest first."""
    owner = signed_in(request, "seller", "admin")
    wanted = parameters(request, DeliveryList)
    await _own(request, owner)

    found = await read(request, ListDeliveries(request.match_info["id"], wanted.state, wanted.wanted), DeliveryPage)

    deliveries = [_body(delivery) for delivery in found.deliveries]
    body = WebhookDeliveries(found.total, wanted.page, wanted.size, deliveries)
    return listed(request, body, found.total, wanted.wanted)


@routes.get("/webhooks/{id}/deliveries/{deliveryId}")
@operation(
    access=SELLERS_AND_ADMINS,
    answers={200: Answer(WholeDelivery, headers=("ETag",))},
    problems=(NotFound, webhook.Reason.NO_SUCH_WEBHOOK),
)
async def show(request: web.Request) -> web.Response:
    """Show a delivery, its attempts, and what was sent."""
    owner = signed_in(request, "seller", "admin")
    await _own(request, owner)

    query = ReadDelivery(request.match_info["id"], request.match_info["deliveryId"])
    delivery = _found(await find(request, query, Delivery))

    attempts = [
        DeliveryAttempt(instant(a.at), a.ms, a.status, a.error, a.answer.decode(errors="replace"))
        for a in delivery.attempts
    ]
    return shown(WholeDelivery(**asdict(_body(delivery)), attempts=attempts, payload=Raw(delivery.body)))


@routes.post("/webhooks/{id}/deliveries/{deliveryId}/resend")
@operation(
    access=SELLERS_AND_ADMINS,
    answers={202: Answer(WebhookDelivery, headers=("Location",))},
    problems=(NotFound, WrongState, webhook.Reason.NO_SUCH_WEBHOOK),
)
async def resend(request: web.Request) -> web.Response:
    """
    Send a delivery again, at once and with the same retries as the first time; its `webhook-id` stays the same.

    `Location` leads to the delivery.
    """
    owner = signed_in(request, "seller", "admin")
    endpoint, position = await _own(request, owner)
    _refuse_disabled(endpoint)

    command = Resend(request.match_info["id"], request.match_info["deliveryId"])
    delivery = _found(await find(request, command, Delivery, at_least=position))

    return _accepted(request, delivery)


@routes.post("/webhooks/{id}/test")
@operation(
    access=SELLERS_AND_ADMINS,
    answers={202: Answer(WebhookDelivery, headers=("Location",))},
    problems=(NotFound, webhook.Reason.NO_SUCH_WEBHOOK),
)
async def test(request: web.Request) -> web.Response:
    """
    Send an event of type `market.webhook.test`, without retries, even while the webhook is disabled.

    `Location` leads to the delivery.
    """
    owner = signed_in(request, "seller", "admin")
    _, position = await _own(request, owner)

    webhook_id = request.match_info["id"]
    command = SendTest(owner.user_id, webhook_id, id_for(request, "delivery"))
    delivery = _found(await find(request, command, Delivery, at_least=position))

    return _accepted(request, delivery)


@routes.post("/webhooks/{id}/replay")
@operation(
    access=SELLERS_AND_ADMINS,
    body=ReplayBody,
    answers={202: Answer(ReplayStarted)},
    problems=(NotFound, WrongState, webhook.Reason.NO_SUCH_WEBHOOK),
)
async def replay(request: web.Request) -> web.Response:
    """
    Send past events from the log, also those from before the webhook, or while it was disabled.

    An event that the webhook has received already is sent again with the same `webhook-id`.
    """
    owner = signed_in(request, "seller", "admin")
    wanted = await examine(request, ReplayBody)
    body = wanted.body(faults_of(request, owner, UNSET, wanted.fitting.events or UNSET))
    endpoint, position = await _own(request, owner)
    _refuse_disabled(endpoint)
    since, until = ms_of(body.since), asked_at(request) if body.until is None else ms_of(body.until)

    events = endpoint.events if body.events is None else tuple(body.events)
    replay = Replay(owner.user_id, endpoint.webhook_id, id_for(request, "replay"), since, until, events)
    wait_s = request.app[LIMITS].webhooks.replay_wait_s_max
    replayed = await find(request, replay, Replayed, at_least=position, wait_s=wait_s)

    if replayed is None:
        raise NotFound("no such webhook")
    if replayed.is_too_much:
        raise BadRequest([Fault("/since", "Expected a shorter time: more has happened than is sent at once")])
    return answered(ReplayStarted(replay.replay_id, replayed.events), status=202)


async def _own(request: web.Request, owner: Principal) -> tuple[Endpoint, int]:
    """Find the webhook of the path among the caller's own, and the log position that it is known to."""
    command = webhook.Describe(request.match_info["id"])
    answer = await tell(request, board_of(owner), command, principal=owner)
    assert isinstance(answer.value, webhook.View), f"{board_of(owner)} answered {type(answer.value)}"
    return answer.value.endpoint, answer.position


def _refuse_disabled(endpoint: Endpoint) -> None:
    if endpoint.disabled is not None:
        raise WrongState("the webhook is disabled: enable it first")


def _found(delivery: Delivery | None) -> Delivery:
    if delivery is None:
        raise NotFound("no such delivery")
    return delivery


def _accepted(request: web.Request, delivery: Delivery) -> web.Response:
    """Answer with what is sent, and where what came of it can be seen."""
    location = address_of(request, f"/webhooks/{request.match_info['id']}/deliveries/{delivery.delivery_id}")
    return answered(_body(delivery), status=202, headers={"Location": location})


def _body(delivery: Delivery) -> WebhookDelivery:
    return WebhookDelivery(
        id=delivery.delivery_id,
        message_id=delivery.message_id,
        type=delivery.name,
        source=delivery.source,
        state=delivery.state,
        created_at=instant(delivery.created_at),
        attempt_count=delivery.attempt_count,
        next_attempt_at=instant(delivery.next_at) if delivery.next_at is not None else None,
    )
