"""
Examples for the OpenAPI document: one value per field name, from which those of bodies and responses are composed.

The one rule: a field with a new name needs an example here, or the document can't be made.
"""

from typing import Any, Final

from marketd.http.schemas import PREFIX, Schema

_DIGEST: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_BUYER: Final = "0192f3a4-1b7d-7e02-8c55-9d1f3a6b2e47"
_SELLER: Final = "0192f39f-66c8-7a19-b1d4-4e8c7f205a93"
_PRODUCT: Final = "0192f3a5-7c1e-7b44-9a3d-5f2e8c6b1d70"
_ORDER: Final = "0192f3ae-93f0-7d28-a7c1-6b4f8e2d5091"
_REVIEW: Final = "0192f3b1-02d4-7c11-8f6a-2b9d4e7a3c58"
_POINT: Final = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
_REPLAY: Final = "0192f3c4-81d2-7a65-90e7-3b5c9f1d2a68"
_WEBHOOK: Final = "0192f3bf-0a4c-7c3e-a6d8-7f2b1e9c5403"
_WEBHOOK_URL: Final = "https://books.example/sales"
_TIME: Final = "2026-11-23T09:30:00Z"

FIELDS: Final[dict[str, Any]] = {
    "accessToken": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIwMTkyIn0.c2lnbmF0dXJl",
    "acquiredAt": _TIME,
    "as": "buyer",
    "at": _TIME,
    "attemptCount": 1,
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    "authorId": _BUYER,
    "authorName": "Ann",
    "average": 4.5,
    "body": "Just what I was looking for.",
    "buyerId": _BUYER,
    "averageOrder": 19.99,
    "buyers": 40,
    "calls": 1204,
    "category": "sound",
    "conversion": 0.04,
    "count": 12,
    "createdAt": _TIME,
    "current": True,
    "currencies": ["USD"],
    "currency": "USD",
    "data": {"orderId": _ORDER},
    "datacontenttype": "application/json",
    "degraded": [],
    "description": "An hour of rain on a tin roof.",
    "detail": "Required",
    "didYouMean": "rain",
    "disabled": False,
    "disabledReason": None,
    "durationMs": 84,
    "email": "ann@example.org",
    "emailVerified": True,
    "error": None,
    "endpoint": "https://push.example/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
    "expirationTime": None,
    "expiresAt": _TIME,
    "expiresIn": 900,
    "failureReason": None,
    "failures": 0,
    "failuresInRow": 0,
    "from": _TIME,
    "hasAccess": True,
    "hidden": False,
    "hiddenReason": None,
    "histogram": {"1": 0, "2": 0, "3": 1, "4": 4, "5": 7},
    "id": _PRODUCT,
    "instance": _PRODUCT,
    "interval": "day",
    "kid": "2026-11",
    "kind": "api",
    "lastError": None,
    "lastUsedAt": _TIME,
    "licenceKey": "RAIN-4711",
    "licenceKeys": ["RAIN-4711", "RAIN-4712"],
    "maxPrice": 50,
    "memberSince": _TIME,
    "message": "done",
    "messageId": "4711-0-9f86d081",
    "minPrice": 5,
    "minRating": 4,
    "mobileUrl": f"/previews/{_DIGEST}/mobile",
    "name": "Ann",
    "nextAttemptAt": None,
    "oldSecretExpiresAt": None,
    "netRevenue": 239.88,
    "opened": 0,
    "orderId": _ORDER,
    "p256dh": _POINT,
    "page": 1,
    "parts": {"log": {"state": "ok"}},
    "password": "Passw0rd-of-Ann",
    "paymentMethodId": "pm_card_visa",
    "pointer": "/name",
    "position": 4711,
    "price": 19.99,
    "productId": _PRODUCT,
    "productTitle": "Field recordings",
    "publicKey": _POINT,
    "push": True,
    "q": "rain",
    "rating": 5,
    "reason": "It was bought by mistake.",
    "refreshToken": "6f1c.0192f3a4.Qm9vbQ",
    "refunds": 0,
    "refused": 0,
    "replayId": _REPLAY,
    "reply": "Thank you!",
    "responseBody": "ok",
    "returning": 10,
    "revenue": 239.88,
    "score": 3.2,
    "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "seller": _SELLER,
    "sellerId": _SELLER,
    "sellerName": "Sam",
    "service": "https://push.example",
    "share": 0.25,
    "shortDescription": "An hour of rain on a tin roof...",
    "since": _TIME,
    "size": 20,
    "source": "event",
    "specversion": "1.0",
    "state": "delivered",
    "start": "2026-11-23T00:00:00Z",
    "stock": None,
    "successes": 0,
    "subject": _ORDER,
    "suggestions": ["rain", "rain on a tin roof"],
    "time": _TIME,
    "timeZone": "Europe/Berlin",
    "timezone": "Europe/Berlin",
    "title": "Field recordings",
    "to": "2026-11-24T00:00:00Z",
    "token": "MDE5MmYzYTQ.c2lnbmF0dXJl",
    "total": 1,
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "type": "application/zip",
    "until": _TIME,
    "units": 12,
    "updatedAt": _TIME,
    "url": "https://files.example/rain.zip",
    "userId": _BUYER,
    "views": 300,
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
# Fields whose name means something else in this type.
OF_TYPES: Final[dict[str, Any]] = {
    "Alert.id": _ORDER,
    "Channels.email": True,
    "ChannelsChange.email": True,
    "Circuit.name": "search",
    "Download.size": 146_515,
    "Download.name": "rain.zip",
    "Facets.category": {"sound": 1},
    "CardFile.name": "rain.zip",
    "CardFile.size": 146_515,
    "FileBody.name": "rain.zip",
    "FileBody.size": 146_515,
    "Happening.type": "order.placed",
    "MobilePreview.name": "cover.png",
    "MobilePreview.type": "image/png",
    "MobilePreview.url": f"/previews/{_DIGEST}",
    "OrderBody.id": _ORDER,
    "Totals.orders": 12,
    "Period.orders": 12,
    "BestSeller.orders": 12,
    "Preview.name": "cover.png",
    "Preview.type": "image/png",
    "Preview.url": f"/previews/{_DIGEST}",
    "PreviewBody.name": "cover.png",
    "PreviewBody.type": "image/png",
    "PreviewBody.url": "https://files.example/cover.png",
    "ProblemDocument.type": "/problems/not-found",
    "ProblemDocument.title": "Not found",
    "ProblemDocument.status": 404,
    "ProblemDocument.detail": "no such product",
    "ReviewCard.id": _REVIEW,
    "ReviewCard.title": "Lovely",
    "NewReview.title": "Lovely",
    "ReviewChange.title": "Lovely",
    "SellerCard.id": _SELLER,
    "SellerCard.name": "Sam",
    "SellerCard.products": 3,
    "Upload.name": "rain.zip",
    "Upload.size": 146_515,
    "Upload.url": f"upload://{_DIGEST}",
    "UploadParameters.name": "rain.zip",
    "DeliveryAttempt.status": 200,
    "NewWebhook.description": "the bookkeeping",
    "NewWebhook.events": ["order.*"],
    "NewWebhook.url": _WEBHOOK_URL,
    "RegisteredWebhook.description": "the bookkeeping",
    "RegisteredWebhook.events": ["order.*"],
    "RegisteredWebhook.id": _WEBHOOK,
    "RegisteredWebhook.url": _WEBHOOK_URL,
    "ReplayBody.events": ["order.*"],
    "ReplayStarted.events": 12,
    "SentEvent.id": "4711-0-9f86d081",
    "SentEvent.source": "https://shop.example",
    "SentEvent.subject": _ORDER,
    "SentEvent.type": "market.order.completed",
    "Webhook.description": "the bookkeeping",
    "Webhook.events": ["order.*"],
    "Webhook.id": _WEBHOOK,
    "Webhook.url": _WEBHOOK_URL,
    "WebhookChange.description": "the bookkeeping",
    "WebhookChange.events": ["order.*"],
    "WebhookChange.url": _WEBHOOK_URL,
    "WebhookDelivery.type": "order.completed",
    "WholeDelivery.type": "order.completed",
}


def example(schema: Schema, schemas: dict[str, Schema], kind: str, name: str = "") -> Any:
    """Give an example of a schema: that of the field `name` of the type `kind`, or of the whole type."""
    if "$ref" in schema:
        inner = schema["$ref"].removeprefix(PREFIX)
        return example(schemas[inner], schemas, inner)
    if f"{kind}.{name}" in OF_TYPES:
        return OF_TYPES[f"{kind}.{name}"]
    if "anyOf" in schema:
        return example(schema["anyOf"][0], schemas, kind, name)
    if "properties" in schema:
        shown = {name: example(field, schemas, kind, name) for name, field in schema["properties"].items()}
        return {name: value for name, value in shown.items() if not _is_left_out(schema["properties"][name], value)}
    if "enum" in schema and FIELDS.get(name) not in schema["enum"]:
        return schema["enum"][0]
    if schema.get("type") == "array" and name not in FIELDS:
        return [example(schema["items"], schemas, kind, name)]
    return FIELDS[name]


def _is_left_out(schema: Schema, value: Any) -> bool:
    """Say whether an example of null stands for a field that is never null, and not there then."""
    return value is None and "type" in schema
