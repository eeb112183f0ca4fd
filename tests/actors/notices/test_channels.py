"""The breakers before push services: one for each, no more than are remembered, and all of them shown as one."""

import pytest

from marketd.actors.notices.channels import SERVICES_MAX, PushServices
from marketd.actors.notices.port import NoticeFailed
from marketd.bus.breaker import Breaker
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio


@pytest.fixture
def services(clock: TestClock) -> PushServices:
    return PushServices(lambda name: Breaker(name, clock, failures_max=2, open_s=30))


async def fail(breaker: Breaker) -> None:
    async def failing() -> None:
        raise NoticeFailed("503")

    with pytest.raises(NoticeFailed):
        await breaker.call(failing, NoticeFailed)


async def test_endpoints_of_one_service_share_a_breaker(services: PushServices) -> None:
    assert services.breaker_of("https://a.example/1") is services.breaker_of("https://a.example/2")


async def test_another_port_is_another_service(services: PushServices) -> None:
    assert services.breaker_of("https://a.example/1") is not services.breaker_of("https://a.example:8443/1")


async def test_before_any_was_used_all_is_well(services: PushServices) -> None:
    circuit = services.statistics()

    assert ("push", "closed", 0, None) == (circuit.name, circuit.state, circuit.calls, circuit.last_error)


async def test_they_are_shown_as_one(services: PushServices) -> None:
    dead, well = services.breaker_of("https://dead.example/1"), services.breaker_of("https://well.example/1")
    await fail(dead)
    await fail(dead)
    circuit = services.statistics()

    assert ("open", "closed") == (dead.state, well.state)
    assert ("closed", 2, 2, 1, "NoticeFailed: 503") == (
        circuit.state,
        circuit.calls,
        circuit.failures,
        circuit.opened,
        circuit.last_error,
    )


async def test_where_none_lets_anybody_through_it_is_open(services: PushServices, clock: TestClock) -> None:
    await fail(services.breaker_of("https://dead.example/1"))
    await fail(services.breaker_of("https://dead.example/1"))
    states = [services.state]
    await clock.advance(31)

    assert ["open", "half-open"] == [*states, services.state]


async def test_no_more_services_are_remembered_than_allowed(services: PushServices) -> None:
    first = services.breaker_of("https://first.example/1")
    used = services.breaker_of("https://used.example/1")
    for number in range(SERVICES_MAX - 1):
        services.breaker_of(f"https://s{number}.example/1")
        services.breaker_of("https://used.example/1")

    assert (True, False) == (
        services.breaker_of("https://used.example/1") is used,
        services.breaker_of("https://first.example/1") is first,
    )
