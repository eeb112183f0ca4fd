"""What a client has already is not sent again."""

import pytest
from aiohttp.test_utils import make_mocked_request

from marketd.http.etags import validated

BODY = b'{"a":1}'
HEADERS = {"Cache-Control": "max-age=5", "Vary": "Authorization"}


def asked(*, body: bytes = BODY, known: str = "") -> tuple[int, object]:
    headers = {"If-None-Match": known} if known else {}
    response = validated(make_mocked_request("GET", "/", headers=headers), body, HEADERS)
    return response.status, response.body


def tag(body: bytes = BODY) -> str:
    return str(validated(make_mocked_request("GET", "/"), body, HEADERS).headers["ETag"])


def test_a_tag_is_strong() -> None:
    assert ('"', '"') == (tag()[0], tag()[-1])


def test_the_same_body_has_the_same_tag() -> None:
    assert tag() == tag()


def test_another_body_has_another_tag() -> None:
    assert tag() != tag(b'{"a":2}')


def test_who_has_nothing_gets_all() -> None:
    assert (200, BODY) == asked()


def test_who_has_something_else_gets_all() -> None:
    assert (200, BODY) == asked(known='"other"')


@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
def test_who_has_it_already_is_told_so(known: str) -> None:
    status, _ = asked(known=known.format(tag()))

    assert 304 == status


def test_who_has_it_already_gets_no_body() -> None:
    assert None is asked(known=tag())[1]


def test_who_has_it_already_learns_how_long_it_may_be_kept() -> None:
    request = make_mocked_request("GET", "/", headers={"If-None-Match": tag()})
    headers = validated(request, BODY, HEADERS).headers

    assert ("max-age=5", "Authorization", tag()) == (headers["Cache-Control"], headers["Vary"], headers["ETag"])
