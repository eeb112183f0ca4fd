"""The routes as the service has them: what is tested for each of them is tested for those of tomorrow too."""

from typing import Final, NamedTuple

from aiohttp import web

from marketd.clock import SystemClock
from marketd.http.app import make_app
from marketd.http.operation import Operation, operation_of


class Route(NamedTuple):
    """One of them, written `GET /orders/{id}`."""

    method: str
    path: str
    operation: Operation

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _routes() -> list[Route]:
    found = []
    for route in make_app(SystemClock(), body_bytes_max=1).router.routes():
        declared = operation_of(route.handler)
        if route.method != "HEAD" and isinstance(route.resource, web.Resource):
            assert declared is not None, f"{route.method} {route.resource.canonical} declares nothing"
            found.append(Route(route.method, route.resource.canonical, declared))
    return found


# Those of the API, which its document names; and those of the pages, which a browser's session opens.
ROUTES: Final = [route for route in _routes() if route.operation.part_of == "api"]
PAGES: Final = [route for route in _routes() if route.operation.part_of != "api"]
