"""Tells an open dashboard that something was sold or refunded; what it shows then, it asks for."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from marketd.http.asking import read
from marketd.http.events import Event
from marketd.http.keys import CLOCK
from marketd.storage.orders import ListOrders, OrderPage
from marketd.storage.pages import Page

LOOK_S: Final = 1.0
LOOKED_AT: Final = Page(1, 20)
NEWS: Final = "news"


class Newest:
    """The newest sales of one stream, told of when they differ from what they were."""

    def __init__(self, request: web.Request, seller_id: str) -> None:
        self._request, self._seller_id = request, seller_id
        self._known: object = None

    async def more(self, wait_s: float, last_id: str) -> Sequence[Event]:
        """Say that there is news as soon as there is; say nothing once the wait is over."""
        clock = self._request.app[CLOCK]
        until_s = clock.monotonic_s() + wait_s
        while clock.monotonic_s() < until_s:
            found = await read(self._request, ListOrders(self._seller_id, "seller", LOOKED_AT), OrderPage)
            before, self._known = self._known, (found.total, [entry.view.status for entry in found.orders])
            if before not in (None, self._known):
                return [Event(b"{}", NEWS)]
            await clock.sleep(LOOK_S)
        return []
