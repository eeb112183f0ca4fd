"""What a route declares is asserted where it is done."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from aiohttp.typedefs import Handler
from msgspec import Struct

from marketd.http.bodies import Paging, decode, parameters
from marketd.http.etags import expected
from marketd.http.identity import signed_in, somebody
from marketd.http.operation import SELLERS, SIGNED_IN, operation, operation_of

pytestmark = pytest.mark.asyncio


class Declared(Struct):
    pass


class Another(Struct):
    pass


async def routed(handler: Handler) -> web.Request:
    """Give a request as this handler gets it."""
    app = web.Application()
    app.router.add_post("/", handler)
    request = make_mocked_request("POST", "/")
    request._match_info = await app.router.resolve(request)  # as aiohttp does itself
    return request


@operation(answers={}, access=SELLERS, body=Declared)
async def handler(request: web.Request) -> web.Response:
    raise AssertionError("nobody calls it")


async def test_a_handler_keeps_its_declaration() -> None:
    found = operation_of(handler)

    assert found is not None and (SELLERS, Declared) == (found.access, found.body)


async def test_who_declares_nothing_has_no_declaration() -> None:
    assert operation_of(routed) is None


async def test_another_body_than_the_declared_one_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="declares body"):
        await decode(await routed(handler), Another)


async def test_parameters_that_are_not_declared_are_a_defect() -> None:
    request = await routed(handler)

    with pytest.raises(AssertionError, match="declares query"):
        parameters(request, Paging)


async def test_other_roles_than_the_declared_ones_are_a_defect() -> None:
    request = await routed(handler)

    with pytest.raises(AssertionError, match="declares access"):
        signed_in(request, *SIGNED_IN.roles)


async def test_to_look_who_it_is_where_it_is_declared_that_somebody_must_be_is_a_defect() -> None:
    request = await routed(handler)

    with pytest.raises(AssertionError, match="declares access"):
        somebody(request)


async def test_a_condition_that_is_not_declared_is_a_defect() -> None:
    request = await routed(handler)

    with pytest.raises(AssertionError, match="does not declare that it takes If-Match"):
        expected(request)
