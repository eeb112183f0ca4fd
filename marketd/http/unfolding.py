"""An order as it unfolds: what happened to it after a record of the log, as events of a stream."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from aiohttp import web

from marketd.actors import order
from marketd.actors.watch import AwaitChange
from marketd.http.answers import written
from marketd.http.asking import find, read
from marketd.http.events import Event
from marketd.http.keys import CLOCK
from marketd.storage.history import Happening, History, ReadHistory

POSITION_DIGITS_MAX: Final = 18


class Unfolding:
    """One order's."""

    def __init__(self, request: web.Request, order_id: str) -> None:
        self._request, self._order_id = request, order_id

    async def more(self, wait_s: float, last_id: str) -> Sequence[Event]:
        """Give what happened after the record of this position; if nothing did, wait for it, but only so long."""
        after = int(last_id) if last_id.isascii() and last_id.isdigit() and len(last_id) <= POSITION_DIGITS_MAX else 0
        until = self._request.app[CLOCK].now_ms() + int(wait_s * 1000)
        await find(self._request, AwaitChange(self._order_id, after, until), order.View, extra_s=wait_s)
        history = await read(self._request, ReadHistory(self._order_id), History)
        new = [happening for happening in history.happenings if happening.position > after]
        return [_event(happening, follower) for happening, follower in zip_longest(new, new[1:])]


def _event(happening: Happening, follower: Happening | None) -> Event:
    """Only the last event of a record has its id: who has seen no more than the others will see all of them again."""
    is_last = follower is None or follower.position != happening.position
    return Event(written(happening), happening.type, str(happening.position) if is_last else "")
