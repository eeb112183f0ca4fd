"""Tells an open dashboard that something was sold or refunded; the dashboard then reloads its figures."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from marketd.http.asking import find, read
from marketd.http.events import Event
from marketd.http.keys import CLOCK
from marketd.storage.earnings import FindNewest, Newest
from marketd.storage.tills import AwaitSale

NEWS: Final = "news"


class Till:
    """The event stream of one open dashboard: an event when something was sold or refunded since the last one."""

    def __init__(self, request: web.Request, seller_id: str) -> None:
        self._request, self._seller_id = request, seller_id

    async def more(self, wait_s: float, last_id: str) -> Sequence[Event]:
        """
        Give an event as soon as there is news, or nothing after `wait_s`. A dashboard that reconnects sends what it
        knows as its last id; a new one has just been rendered.
        """
        if not last_id.isdecimal():
            known = await read(self._request, FindNewest(self._seller_id), Newest)
            return [Event(b"{}", "begin", str(known.position))]
        until = self._request.app[CLOCK].now_ms() + int(wait_s * 1000)
        found = await find(self._request, AwaitSale(self._seller_id, int(last_id), until), Newest, extra_s=wait_s)
        if found is None or found.position <= int(last_id):
            return []
        return [Event(b"{}", NEWS, str(found.position))]
