"""The history of an order, read from the log itself; what is nobody's business is left out."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from marketd.actors.address import Address
from marketd.bus.port import Answer, Bus, Envelope
from marketd.bus.subjects import query_subject
from marketd.clock import Instant, instant
from marketd.storage.log import EventLog

PRIVATE: Final = frozenset({"payment_method_id", "licence_key", "is_counted", "type", "at"})


class ReadHistory(Struct, frozen=True, tag="order-history"):
    order_id: str


class Happening(Struct, frozen=True):
    """One event: its type as it is stored, when, what, and the log position of the record that holds it."""

    type: str
    at: Instant
    data: dict[str, Any]
    position: int


class History(Struct, frozen=True, tag="history.order"):
    happenings: list[Happening]


class OrderHistory:
    """Answers `market.query.order-history`."""

    def __init__(self, events: EventLog) -> None:
        self._log = events

    async def open(self, bus: Bus) -> None:
        """Serve the query."""
        await bus.serve(query_subject(ReadHistory), self._answer)

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        query = envelope.message
        assert isinstance(query, ReadHistory)
        records = await self._log.read(str(Address("order", query.order_id)))
        happenings = [
            _happening(event, record.position, record.commit.at) for record in records for event in record.commit.events
        ]
        return Answer(History(happenings), records[-1].position if records else 0)


def _happening(event: Any, position: int, at: int) -> Happening:
    facts = msgspec.to_builtins(event)
    data = {_camel(name): value for name, value in facts.items() if name not in PRIVATE}
    return Happening(facts["type"], instant(at), data, position)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
