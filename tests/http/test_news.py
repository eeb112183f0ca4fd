"""What the payment processor posts to us."""

from dataclasses import dataclass, field

import pytest

from marketd.http.keys import STRIPE_NEWS
from tests.http.stage import LIMITS_HERE, Stage

pytestmark = pytest.mark.asyncio

PATH = "/webhooks/stripe"


@dataclass
class FakeNews:
    """Knows one signature."""

    taken: list[tuple[bytes, str]] = field(default_factory=list)

    def take(self, body: bytes, signature: str) -> bool:
        self.taken.append((body, signature))
        return signature == "t=1,v1=good"


@pytest.fixture
def news(stage: Stage) -> FakeNews:
    news = FakeNews()
    app = stage.client.app
    assert app is not None
    app._state[STRIPE_NEWS] = news  # which is frozen by now
    return news


async def test_the_body_is_taken_in_as_it_is(stage: Stage, news: FakeNews) -> None:
    headers = {"Stripe-Signature": "t=1,v1=good", "Content-Type": "application/json"}
    answer = await stage.call("POST", PATH, data=b'{ "a":1}', headers=headers)

    assert (204, b"", [(b'{ "a":1}', "t=1,v1=good")]) == (answer.status, answer.body, news.taken)


@pytest.mark.parametrize("headers", [{}, {"Stripe-Signature": "t=1,v1=bad"}])
async def test_what_is_not_signed_is_refused(stage: Stage, news: FakeNews, headers: dict[str, str]) -> None:
    assert 400 == (await stage.call("POST", PATH, data=b"{}", headers=headers)).status


async def test_what_is_too_large_is_not_even_looked_at(stage: Stage, news: FakeNews) -> None:
    answer = await stage.call("POST", PATH, data=b" " * (LIMITS_HERE.body_bytes_max + 1))

    assert (413, []) == (answer.status, news.taken)


async def test_without_a_secret_there_is_no_endpoint(stage: Stage) -> None:
    assert 404 == (await stage.call("POST", PATH, data=b"{}")).status


async def test_it_takes_no_part_of_the_service_to_take_news_in(stage: Stage, news: FakeNews) -> None:
    await stage.call("POST", PATH, data=b"{}", headers={"Stripe-Signature": "t=1,v1=good"})

    assert [] == stage.bus.asked
