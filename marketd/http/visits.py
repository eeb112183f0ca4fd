"""Notes visits of products for the counter of views; this is the hottest path, so nothing is computed here."""

from aiohttp import hdrs, web

from marketd.http.client import client_network, network_of
from marketd.http.keys import PROXIES, VIEWS
from marketd.http.tokens import Principal
from marketd.storage.views import Visit


def note_visit(request: web.Request, seller_id: str, product_id: str, viewer: Principal | None) -> None:
    """Note a visit, unless it is the seller's own; a visitor who is not signed in is known by address and browser."""
    if request.method != "GET":
        return
    app = request.app
    if viewer is not None:
        if viewer.user_id != seller_id:
            app[VIEWS].note(Visit(seller_id, product_id, viewer.user_id))
        return
    network = client_network(request) if app[PROXIES].networks else network_of(request.remote or "")
    app[VIEWS].note(Visit(seller_id, product_id, network, request.headers.get(hdrs.USER_AGENT, "")))
