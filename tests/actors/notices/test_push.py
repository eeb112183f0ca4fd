"""Push messages, to a real push service: what a browser can open, who it is from, and what its answers mean."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest
import pytest_asyncio
from msgspec.structs import replace

from marketd.actors.notices.port import Gone, NoticeFailed, PushMessage, Rejected, Sent
from marketd.actors.notices.posting import Answered, Line, LineLimits, Unreached
from marketd.actors.notices.push import PushKey, WebPush
from tests.actors.notices.push_service import PushService, claims_of
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

NOW_S: Final = 1_700_000_000
KEY: Final = PushKey(bytes(range(32)))
MESSAGE: Final = PushMessage(
    "o1.7.sale", "Sold: Grüße 🐻 (USD 19.99)", "https://shop.example/orders/o1", (NOW_S + 600) * 1000
)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[PushService]:
    service = PushService()
    async with service.up():
        yield service


@pytest_asyncio.fixture
async def push() -> AsyncIterator[WebPush]:
    async with Line(LineLimits(allow_private=True, allow_http=True, wait_s_max=2)) as line:
        yield WebPush(line, KEY, "mailto:shop@shop.example", TestClock())


async def test_a_browser_can_open_what_it_is_sent(service: PushService, push: WebPush) -> None:
    assert Sent() == await push.send(MESSAGE, service.subscribe("phone"))

    (taken,) = service.taken
    assert ("phone", MESSAGE.title, MESSAGE.url) == (taken.browser, taken.shown["title"], taken.shown["url"])


async def test_the_push_service_knows_who_it_is_from_and_for_how_long(service: PushService, push: WebPush) -> None:
    await push.send(MESSAGE, service.subscribe("phone"))

    assert {"aud": service.url, "sub": "mailto:shop@shop.example", "exp": NOW_S + 43_200} == claims_of(service.taken[0])
    assert f"k={KEY.public}" in service.taken[0].headers["Authorization"]


async def test_a_message_that_waits_is_kept_only_while_it_is_worth_showing(service: PushService, push: WebPush) -> None:
    await push.send(MESSAGE, service.subscribe("phone"))
    await push.send(replace(MESSAGE, expires_at=0), service.subscribe("phone"))

    assert ["600", "0"] == [taken.headers["TTL"] for taken in service.taken]


async def test_a_repeat_takes_the_place_of_the_first(service: PushService, push: WebPush) -> None:
    for message in (MESSAGE, MESSAGE, replace(MESSAGE, push_id="o2.7.sale")):
        await push.send(message, service.subscribe("phone"))

    topics = [taken.headers["Topic"] for taken in service.taken]
    assert (topics[0], 2, {32}) == (topics[1], len(set(topics)), set(map(len, topics)))
    assert topics == [taken.shown["tag"] for taken in service.taken]


@pytest.mark.parametrize("status", [404, 410])
async def test_a_browser_that_is_there_no_more_is_told_apart(service: PushService, push: WebPush, status: int) -> None:
    service.answers["phone"] = status

    assert Gone() == await push.send(MESSAGE, service.subscribe("phone"))


@pytest.mark.parametrize("status", [301, 400, 401, 403, 413])
async def test_what_is_refused_for_good_is_over(service: PushService, push: WebPush, status: int) -> None:
    service.answers["phone"] = status

    assert Rejected(str(status)) == await push.send(MESSAGE, service.subscribe("phone"))


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_what_is_refused_for_now_is_tried_again(service: PushService, push: WebPush, status: int) -> None:
    service.answers["phone"] = status

    with pytest.raises(NoticeFailed, match=f"the push service answered {status}"):
        await push.send(MESSAGE, service.subscribe("phone"))


async def test_a_push_service_that_is_down_is_tried_again(push: WebPush) -> None:
    service = PushService()
    async with service.up():
        subscription = service.subscribe("phone")

    with pytest.raises(NoticeFailed, match="could not be connected to"):
        await push.send(MESSAGE, subscription)


async def test_nothing_goes_to_our_own_network(service: PushService) -> None:
    async with Line(LineLimits(allow_http=True)) as line:
        with pytest.raises(NoticeFailed, match="the address is not allowed"):
            await WebPush(line, KEY, "mailto:a@b", TestClock()).send(MESSAGE, service.subscribe("phone"))

    assert 0 == service.asked


@pytest.mark.parametrize(
    ("p256dh", "auth"), [("", ""), ("BAAA", "AAAAAAAAAAAAAAAAAAAAAA"), ("B" + "A" * 86, "AAAAAAAAAAAAAAAAAAAAAA")]
)
async def test_a_browser_whose_keys_are_none_is_gone(
    service: PushService, push: WebPush, p256dh: str, auth: str
) -> None:
    subscription = replace(service.subscribe("phone"), p256dh=p256dh, auth=auth)

    assert (Gone(), 0) == (await push.send(MESSAGE, subscription), service.asked)


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
async def test_any_secret_makes_a_key(secret: bytes) -> None:
    assert 87 == len(PushKey(secret).public)


async def test_a_key_is_the_same_each_time() -> None:
    assert KEY.public == PushKey(bytes(range(32))).public


class NoLine:
    """Sends nothing, and keeps what was to be sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered | Unreached:
        self.bodies.append(body)
        return Answered(201)


async def test_nobody_between_can_read_it(service: PushService) -> None:
    line = NoLine()
    await WebPush(line, KEY, "mailto:a@b", TestClock()).send(MESSAGE, service.subscribe("phone"))

    assert b"Sold" not in line.bodies[0]
