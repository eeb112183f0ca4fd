"""
The commands and queries served here, as `nats micro ls`, `info` and `stats` show them (NATS ADR-32).

Every kind of actor is a service with its commands as endpoints; all queries together are one more service. nats-py's
own framework is not used: it would stand between each request and its actor, and would not see requests within the
process. This module only answers the tools, with the schemas of the decoded types and the counts of the tally.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, get_args

import msgspec
from msgspec import Struct

from marketd.bus.nats import QUEUE_GROUP
from marketd.bus.subjects import query_subject
from marketd.bus.tally import NS, Tally
from marketd.clock import Clock, instant, new_id

PREFIX: Final = "$SRV"
TYPE: Final = "io.nats.micro.v1"
FORMAT: Final = "application/msgpack"


class Wire(Protocol):
    """A connection that answers plain requests in bytes."""

    async def tell_whoever_asks(self, subject: str, answers: Any) -> None: ...


class Endpoint(Struct, frozen=True):
    """One type of request: its name, its subject, its type, and the type of its answer if that is known."""

    name: str
    subject: str
    kind: type[Struct]
    answers: Any = None


class Service(Struct, frozen=True):
    """A group of endpoints."""

    name: str
    description: str
    endpoints: Sequence[Endpoint]


def commands(kind: str, union: Any, questions: frozenset[type], answers: Any) -> Service:
    """Describe one kind of actor as a service."""
    found = [
        Endpoint(str(message.__struct_config__.tag).replace(".", "-"), f"market.cmd.*.{kind}.*", message, answers)
        for message in get_args(union)
    ]
    asked = ", ".join(sorted(question.__name__ for question in questions)) or "nothing"
    return Service(f"market-{kind}", f"Commands to one {kind}; {asked} only asks", found)


def queries(kinds: Sequence[type[Struct]]) -> Service:
    """Describe all queries as one service."""
    found = [Endpoint(str(kind.__struct_config__.tag).replace(".", "-"), query_subject(kind), kind) for kind in kinds]
    return Service("market-query", "Queries of the read models", sorted(found, key=lambda endpoint: endpoint.name))


class MicroServices:
    """Answers the tools' requests about the services, once opened on a connection."""

    def __init__(self, services: Sequence[Service], version: str, tally: Tally, clock: Clock) -> None:
        self._services, self._version, self._tally = services, version, tally
        self._started = instant(clock.now_ms())
        self._ids = {service.name: new_id(clock).replace("-", "") for service in services}
        self._infos: dict[str, bytes] = {}

    async def open(self, wire: Wire) -> None:
        """Answer on all subjects that the tools use."""
        for verb, make in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):

            def all_of(make: Any = make) -> list[bytes]:
                return [make(service) for service in self._services]

            await wire.tell_whoever_asks(f"{PREFIX}.{verb}", all_of)
            for service in self._services:

                def one_of(make: Any = make, service: Service = service) -> list[bytes]:
                    return [make(service)]

                await wire.tell_whoever_asks(f"{PREFIX}.{verb}.{service.name}", one_of)
                await wire.tell_whoever_asks(f"{PREFIX}.{verb}.{service.name}.{self._ids[service.name]}", one_of)

    def _identity(self, service: Service, answer: str) -> dict[str, Any]:
        return {
            "type": f"{TYPE}.{answer}_response",
            "name": service.name,
            "id": self._ids[service.name],
            "version": self._version,
            "metadata": {},
        }

    def _ping(self, service: Service) -> bytes:
        return msgspec.json.encode(self._identity(service, "ping"))

    def _info(self, service: Service) -> bytes:
        if service.name not in self._infos:
            endpoints = [
                {
                    "name": endpoint.name,
                    "subject": endpoint.subject,
                    "queue_group": QUEUE_GROUP,
                    "metadata": dict(_metadata(endpoint)),
                }
                for endpoint in service.endpoints
            ]
            info = {**self._identity(service, "info"), "description": service.description, "endpoints": endpoints}
            self._infos[service.name] = msgspec.json.encode(info)
        return self._infos[service.name]

    def _stats(self, service: Service) -> bytes:
        stats = {
            **self._identity(service, "stats"),
            "started": f"{self._started:%Y-%m-%dT%H:%M:%S.%fZ}",
            "endpoints": [self._count(endpoint) for endpoint in service.endpoints],
        }
        return msgspec.json.encode(stats)

    def _count(self, endpoint: Endpoint) -> dict[str, Any]:
        count = self._tally.counts.get(endpoint.kind)
        asked, taken_ns = (count.asked, int(count.taken_s * NS)) if count else (0, 0)
        return {
            "name": endpoint.name,
            "subject": endpoint.subject,
            "queue_group": QUEUE_GROUP,
            "num_requests": asked,
            "num_errors": count.failed if count else 0,
            "last_error": count.last_error if count else "",
            "processing_time": taken_ns,
            "average_processing_time": taken_ns // max(asked, 1),
            "data": None,
        }


def _metadata(endpoint: Endpoint) -> Mapping[str, str]:
    """Give an endpoint's metadata, where every value must be a string: the schemas are JSON in strings."""
    schemas = {"request": endpoint.kind} | ({"response": endpoint.answers} if endpoint.answers is not None else {})
    return {"format": FORMAT} | {
        name: msgspec.json.encode(msgspec.json.schema(kind)).decode() for name, kind in schemas.items()
    }
