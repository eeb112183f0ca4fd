"""The history of an order, as clients see it; and as a stream of events, while it goes on."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from aiohttp import web
from msgspec.structs import replace

from marketd.actors import order
from marketd.actors.money import Money
from marketd.actors.watch import AwaitChange
from marketd.http.answers import written
from marketd.http.asking import find, read
from marketd.http.events import Event
from marketd.http.keys import CLOCK
from marketd.storage.history import Happening, History, ReadHistory

POSITION_DIGITS_MAX: Final = 18


def shown(happening: Happening) -> Happening:
    """Name its facts as an order's are named: the title is `productTitle`, and the price a number."""
    names = {"title": "productTitle"}
    facts = {names.get(name, name): fact for name, fact in happening.data.items()}
    if "price" in facts:
        price = Money(**facts["price"])
        facts |= {"price": price.amount, "currency": price.currency}
    return replace(happening, data=facts)


class Unfolding:
    """The event stream of one order."""

    def __init__(self, request: web.Request, order_id: str) -> None:
        self._request, self._order_id = request, order_id

    async def more(self, wait_s: float, last_id: str) -> Sequence[Event]:
        """Give what happened after the record at position `last_id`; if nothing did, wait for it, up to `wait_s`."""
        after = int(last_id) if last_id.isascii() and last_id.isdigit() and len(last_id) <= POSITION_DIGITS_MAX else 0
        until = self._request.app[CLOCK].now_ms() + int(wait_s * 1000)
        await find(self._request, AwaitChange(self._order_id, after, until), order.View, extra_s=wait_s)
        history = await read(self._request, ReadHistory(self._order_id), History)
        new = [happening for happening in history.happenings if happening.position > after]
        return [_event(happening, follower) for happening, follower in zip_longest(new, new[1:])]


def _event(happening: Happening, follower: Happening | None) -> Event:
    """Make an event; only the last of a record has its id, so a client that missed it gets all of the record again."""
    is_last = follower is None or follower.position != happening.position
    return Event(written(shown(happening)), happening.type, str(happening.position) if is_last else "")
