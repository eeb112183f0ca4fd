"""What the payment processor posts to the service."""

from typing import Final

from aiohttp import web

from marketd.http.bodies import read_body
from marketd.http.keys import STRIPE_NEWS
from marketd.http.operation import Answer, Bytes, assert_takes, operation
from marketd.http.problems import NotFound, RequestRefused

SIGNATURE: Final = "Stripe-Signature"

routes = web.RouteTableDef()


@routes.post("/webhooks/stripe")
@operation(body=Bytes, answers={204: Answer()}, problems=(NotFound,), takes=(SIGNATURE,))
async def stripe(request: web.Request) -> web.Response:
    """
    Receive an event from Stripe.

    Its content is not trusted: an order that it names, and that waits for Stripe, asks Stripe again at once. An event
    without a valid and recent signature, made with the endpoint's secret, is refused.
    """
    assert_takes(request, SIGNATURE)
    news = request.app.get(STRIPE_NEWS)
    if news is None:
        raise NotFound("there is nothing at this path")
    body = await read_body(request)

    if not news.take(body, request.headers.get(SIGNATURE, "")):
        raise RequestRefused("expected a signature of Stripe's, not older than some minutes")

    return web.Response(status=204)
