"""
The AsyncAPI 3.0 document of the public events (www.asyncapi.com/docs/reference/specification/v3.0.0), generated from
the types that are encoded. Each event is a channel, whose address ends in the id of the event's subject.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from marketd import __version__
from marketd.bus.events import DATA, CloudEvent
from marketd.bus.subjects import EVENTS_STREAM, event_subject
from marketd.http.schemas import PREFIX, Schema, travelling

VERSION: Final = "3.0.0"
MEDIA_TYPE: Final = "application/cloudevents+json"
DESCRIPTION: Final = f"""\
What happens in the shop, as CloudEvents 1.0 over NATS.

Credentials are made by `marketd integrator add`. Events of one thing come in order, each at least once: a repeat has
the same `id`. They are heard live on their subjects, or pulled from a durable consumer of the JetStream stream
`{EVENTS_STREAM}`, which keeps them while a reader is away; older ones come again by `marketd events replay`.
"""
SUMMARIES: Final[Mapping[str, str]] = {
    "product.listed": "A product is on sale",
    "product.revised": "A product or its stock was changed by its seller",
    "product.withdrawn": "A product is not on sale any more",
    "product.reviewed": "A review was written, changed or replied to",
    "order.placed": "Somebody wants to buy",
    "order.paid": "The payment was captured",
    "order.completed": "The buyer has what they paid for",
    "order.failed": "The order came to nothing, or its refund failed",
    "order.refunded": "The payment went back, and the access ended",
    "buyer.registered": "Somebody came to buy",
    "seller.registered": "Somebody came to sell",
}


def document() -> dict[str, Any]:
    """Write the document."""
    return {
        "asyncapi": VERSION,
        "info": {"title": "marketd: public events", "version": __version__, "description": DESCRIPTION},
        "defaultContentType": MEDIA_TYPE,
        "servers": {
            "nats": {
                "host": "{host}",
                "protocol": "nats",
                "description": "The address that `marketd integrator add` prints.",
                "variables": {"host": {"default": "127.0.0.1:4222"}},
                "security": [{"$ref": "#/components/securitySchemes/integrator"}],
            }
        },
        "channels": {name: _channel(name) for name in DATA},
        "operations": {f"tell.{name}": _operation(name) for name in DATA},
        "components": {
            "messages": {name: _message(name) for name in DATA},
            "schemas": _schemas(),
            "securitySchemes": {
                "integrator": {"type": "userPassword", "description": "Made by `marketd integrator add`."}
            },
        },
    }


def _channel(name: str) -> Schema:
    return {
        "address": event_subject(name, "{id}"),
        "title": SUMMARIES[name],
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "parameters": {"id": {"description": f"The id of the {name.partition('.')[0]}."}},
    }


def _operation(name: str) -> Schema:
    """Describe an event as sent: AsyncAPI takes the point of view of the service."""
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": SUMMARIES[name],
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
    }


def _message(name: str) -> Schema:
    return {
        "name": f"market.{name}",
        "title": SUMMARIES[name],
        "contentType": MEDIA_TYPE,
        "payload": {
            "allOf": [
                {"$ref": PREFIX + _name_of(DATA[name])},
                {"properties": {"type": {"const": f"market.{name}"}}},
            ]
        },
    }


def _schemas() -> dict[str, Schema]:
    """Give the schemas of the envelopes and of all types in them, by name."""
    data = list(dict.fromkeys(DATA.values()))
    kinds = [CloudEvent[kind] for kind in data]  # type: ignore[valid-type]
    references, found = msgspec.json.schema_components(kinds, ref_template=PREFIX + "{name}")
    renamed = {
        str(reference["$ref"]).removeprefix(PREFIX): _name_of(kind)
        for reference, kind in zip(references, data, strict=True)
    }
    return {renamed.get(name, name): travelling(schema) for name, schema in sorted(found.items())}


def _name_of(data: type[Struct]) -> str:
    return f"{data.__name__.removesuffix('Data')}Event"
