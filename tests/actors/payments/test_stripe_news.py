"""News from Stripe: only what it has signed, lately, is taken in; and of that only which order to ask about."""

import hmac
import json

import pytest

from marketd.actors.payments.stripe_ledger import ORDER
from marketd.actors.payments.stripe_news import StripeNews
from marketd.bus.breaker import Breaker
from tests.actors.payments.parties import breaker_of
from tests.clock import TestClock

SECRET = "whsec_9f86d081884c"
TOLERANCE_S = 300
ORDER_ID = "018bcfe5-6800-7f5b-9652-24a58b791f1d"


class Endpoint:
    """The endpoint and whoever it tells."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self.breaker, self.hurried = breaker_of(self.clock), list[str]()
        self.news = StripeNews(SECRET, self.clock, self.breaker, self.hurried.append, tolerance_s=TOLERANCE_S)

    @property
    def now_s(self) -> int:
        return self.clock.now_ms() // 1000

    def take(self, body: bytes, *, secret: str = SECRET, age_s: int = 0) -> bool:
        return self.news.take(body, signature_of(body, secret, self.now_s - age_s))


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


def signature_of(body: bytes, secret: str, at_s: int) -> str:
    digest = hmac.digest(secret.encode(), f"{at_s}.".encode() + body, "sha256").hex()
    return f"t={at_s},v1={digest},v0=00"


def event(kind: str = "payment_intent", order_id: object = ORDER_ID) -> bytes:
    about = {"object": kind, "status": "succeeded", "metadata": {ORDER: order_id}}
    return json.dumps({"object": "event", "type": f"{kind}.succeeded", "data": {"object": about}}).encode()


def test_what_stripe_has_signed_is_taken_in(endpoint: Endpoint) -> None:
    assert (True, [ORDER_ID]) == (endpoint.take(event()), endpoint.hurried)


@pytest.mark.parametrize("kind", ["payment_intent", "charge", "refund"])
def test_news_of_anything_of_an_order_names_the_order(endpoint: Endpoint, kind: str) -> None:
    endpoint.take(event(kind))

    assert [ORDER_ID] == endpoint.hurried


def test_what_somebody_else_has_signed_is_refused(endpoint: Endpoint) -> None:
    assert (False, []) == (endpoint.take(event(), secret="whsec_other"), endpoint.hurried)


def test_what_was_changed_on_the_way_is_refused(endpoint: Endpoint) -> None:
    signature = signature_of(event(), SECRET, endpoint.now_s)

    assert not endpoint.news.take(event(order_id="another"), signature)


def test_a_time_that_was_changed_on_the_way_is_refused(endpoint: Endpoint) -> None:
    signature = signature_of(event(), SECRET, endpoint.now_s - 9_999)

    assert not endpoint.news.take(event(), signature.replace(f"t={endpoint.now_s - 9_999}", f"t={endpoint.now_s}"))


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [(TOLERANCE_S, True), (TOLERANCE_S + 1, False), (-TOLERANCE_S, True), (-TOLERANCE_S - 1, False)],
)
def test_the_clocks_may_differ_by_so_much(endpoint: Endpoint, age_s: int, expected: bool) -> None:
    assert expected is endpoint.take(event(), age_s=age_s)


def test_while_the_secret_changes_one_of_two_signatures_will_do(endpoint: Endpoint) -> None:
    digests = [signature_of(event(), secret, endpoint.now_s).split(",")[1] for secret in ("whsec_old", SECRET)]

    assert endpoint.news.take(event(), f"t={endpoint.now_s},{','.join(digests)}")


@pytest.mark.parametrize(
    "signature",
    ["", "t=", "v1=00", "t=x,v1=00", "t=1", "t=1,t=2,v1=00", ",,,", "t=1,v1=\udcff", "t=١,v1=0", "t=-1,v1=0"],
)
def test_what_is_no_signature_is_refused(endpoint: Endpoint, signature: str) -> None:
    assert not endpoint.news.take(event(), signature)


def test_the_older_scheme_is_refused(endpoint: Endpoint) -> None:
    assert not endpoint.news.take(event(), signature_of(event(), SECRET, endpoint.now_s).replace("v1=", "v0="))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"data": {"object": {}}}',
        b'{"data": {"object": {"metadata": null}}}',
        event(order_id=7),
        event(order_id="../x"),
        b"[" * 100_000,
    ],
)
def test_news_of_no_order_is_taken_in_and_moves_nothing(endpoint: Endpoint, body: bytes) -> None:
    assert (True, []) == (endpoint.take(body), endpoint.hurried)


def refund(status: str) -> bytes:
    about = {"object": "refund", "status": status, "metadata": {ORDER: ORDER_ID}}
    return json.dumps({"object": "event", "type": "refund.updated", "data": {"object": about}}).encode()


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_that_a_refund_has_failed_after_all_is_told_to_a_person(
    endpoint: Endpoint, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.take(refund(status))

    assert (1, [ORDER_ID]) == (endpoint.news.failed_refunds, endpoint.hurried)
    assert [f"order/{ORDER_ID}: Stripe says that its refund has failed: see to it by hand"] == caplog.messages


@pytest.mark.parametrize("body", [refund("pending"), refund("succeeded"), event("charge")])
def test_of_other_news_nobody_is_told(endpoint: Endpoint, body: bytes) -> None:
    endpoint.take(body)

    assert 0 == endpoint.news.failed_refunds


def test_that_a_refund_has_failed_is_believed_of_stripe_alone(endpoint: Endpoint) -> None:
    endpoint.take(refund("failed"), secret="whsec_other")

    assert 0 == endpoint.news.failed_refunds


async def fail() -> None:
    raise ConnectionError("no line")


async def opened(breaker: Breaker) -> str:
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await breaker.call(fail, ConnectionError)
    return breaker.state


@pytest.mark.asyncio
async def test_news_says_that_stripe_is_there(endpoint: Endpoint) -> None:
    states = [await opened(endpoint.breaker)]
    endpoint.take(event())

    assert ["open", "half-open"] == [*states, endpoint.breaker.state]


@pytest.mark.asyncio
async def test_what_is_not_from_stripe_says_nothing_of_it(endpoint: Endpoint) -> None:
    await opened(endpoint.breaker)
    endpoint.take(event(), secret="whsec_other")

    assert "open" == endpoint.breaker.state
