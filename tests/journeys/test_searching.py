"""The search of the real service: it follows what is listed, and nothing that happens to its process loses anything."""

import asyncio
import itertools
import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Person, Visitor
from tests.journeys.process import Service, running, wait_gone

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

FRESH_S_MAX: Final = 2.0  # what is promised
BACK_S_MAX: Final = 15.0

_unasked = itertools.count(1)


async def found(visitor: Visitor, q: str = "") -> tuple[str, set[str]]:
    """Ask what nobody has asked before; give where the answer is from, and the titles."""
    answer = await visitor.get(f"/products?q={q}&size=100&minPrice=0.{next(_unasked):06}")
    titles = {product["title"] for product in answer.expect(200)["products"]}
    return answer.headers["X-Data-Source"], titles


async def until_found(visitor: Visitor, titles: Iterable[str], *, within_s: float = BACK_S_MAX, q: str = "") -> str:
    """Look until the index finds these and no others; give where the answer is from."""
    wanted, seen = set(titles), ("", set[str]())
    try:
        async with asyncio.timeout(within_s):
            while seen != ("index", wanted):
                seen = await found(visitor, q)
    except TimeoutError:
        raise AssertionError(f"expected {wanted} of the index, saw {seen}") from None
    return seen[0]


async def until_resting(visitor: Visitor) -> None:
    """Wait until the index has ended because nobody asked."""
    async with asyncio.timeout(BACK_S_MAX):
        while (await visitor.get("/readyz")).expect(200)["parts"]["search"]["state"] != "resting":
            await asyncio.sleep(0.05)


async def index_of(service: Service) -> int:
    """Give the index process, waiting until there is one."""
    async with asyncio.timeout(BACK_S_MAX):
        while not (pids := service.index_processes()):
            await asyncio.sleep(0.05)
    (pid,) = pids
    return pid


async def test_what_is_listed_is_found_soon(visitor: Visitor, seller: Person) -> None:
    await seller.offers(title="First light")
    await until_found(visitor, {"First light"})
    await seller.offers(title="Second wind")

    assert "index" == await until_found(visitor, {"Second wind"}, within_s=FRESH_S_MAX, q="wind")


async def test_what_is_changed_or_withdrawn_is_found_otherwise_soon(visitor: Visitor, seller: Person) -> None:
    one, other = await seller.offers(title="First light"), await seller.offers(title="Second light")
    await until_found(visitor, {"First light", "Second light"}, q="light")
    (await seller.ask("PATCH", f"/products/{one['id']}", {"title": "Third dark"})).expect(200)
    await until_found(visitor, {"Second light"}, within_s=FRESH_S_MAX, q="light")
    (await seller.ask("DELETE", f"/products/{other['id']}")).expect(204)

    assert "index" == await until_found(visitor, {"Third dark"}, within_s=FRESH_S_MAX)


async def test_a_page_that_was_asked_for_before_shows_what_is_new(visitor: Visitor, seller: Person) -> None:
    await seller.offers(title="First light")
    await until_found(visitor, {"First light"})
    before = (await visitor.get("/products?q=light")).expect(200)["total"]
    await seller.offers(title="Second light")
    await until_found(visitor, {"First light", "Second light"})

    assert (1, 2) == (before, (await visitor.get("/products?q=light")).expect(200)["total"])


async def test_while_the_index_is_dead_the_database_answers(service: Service, visitor: Visitor, seller: Person) -> None:
    await seller.offers(title="First light")
    await until_found(visitor, {"First light"})
    pid = await index_of(service)
    os.kill(pid, signal.SIGKILL)
    await wait_gone(pid)
    await seller.offers(title="Second light")

    assert ("fallback", {"First light", "Second light"}) == await found(visitor, "light")
    assert "index" == await until_found(visitor, {"First light", "Second light"}, q="light")
    assert pid != await index_of(service)


async def test_an_index_that_is_killed_again_and_again_has_everything_in_the_end(
    service: Service, visitor: Visitor, seller: Person
) -> None:
    titles: list[str] = []
    for _ in range(3):
        pid = await index_of(service)
        for _ in range(15):
            titles.append(f"Light number {len(titles)}")
            await seller.offers(title=titles[-1])
            source, seen = await found(visitor)
            assert source == "index" or seen == set(titles)
        os.kill(pid, signal.SIGKILL)
        await wait_gone(pid)

    assert "index" == await until_found(visitor, titles)


@pytest.mark.parametrize("what", ["gone", "garbage"])
async def test_an_index_that_was_damaged_while_nobody_looked_is_made_again(
    what: str, tmp_path: Path, session: ClientSession
) -> None:
    folder = tmp_path / "data" / "search"
    async with running(tmp_path / "data") as service:
        seller = await Visitor(service, session).joins("seller")
        for title in ("First light", "Second light"):
            await seller.offers(title=title)
        await until_found(seller, {"First light", "Second light"})
    if what == "gone":
        shutil.rmtree(folder)
    else:
        for path in folder.iterdir():
            if path.name != "stamp.json":
                path.write_bytes(b"garbage" * 999)
    async with running(tmp_path / "data") as service:
        assert "index" == await until_found(seller.at(service), {"First light", "Second light"}, q="light")


async def test_without_the_read_models_the_index_has_nothing_else_to_say(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running(tmp_path / "data") as service:
        seller = await Visitor(service, session).joins("seller")
        await seller.offers(title="First light")
        await until_found(seller, {"First light"})
    for file in (tmp_path / "data").glob("read.db*"):
        file.unlink()
    async with running(tmp_path / "data") as service:
        assert "index" == await until_found(seller.at(service), {"First light"}, q="light")


async def test_half_an_index_does_not_answer(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data") as service:
        seller = await Visitor(service, session).joins("seller")
        titles = {f"Light number {n}" for n in range(20)}
        for title in titles:
            await seller.offers(title=title)
        await until_found(seller, titles)
    shutil.rmtree(tmp_path / "data" / "search")
    async with running(tmp_path / "data") as service:
        seen = [await found(seller.at(service)) for _ in range(10)]
        await until_found(seller.at(service), titles)

    assert [titles] * 10 == [found_then for _, found_then in seen]


async def test_a_kill_of_the_service_takes_the_index_along(service: Service) -> None:
    pid = await index_of(service)
    service.kill()
    await service.wait_ended()
    await wait_gone(pid)

    assert [] == service.index_processes()


async def test_a_service_that_stops_leaves_no_process(service: Service) -> None:
    pid = await index_of(service)
    code = await service.stop()
    await wait_gone(pid)

    assert (0, []) == (code, service.nats_servers())


async def test_after_a_kill_of_the_service_the_index_goes_on(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data") as service:
        seller = await Visitor(service, session).joins("seller")
        await seller.offers(title="First light")
        await until_found(seller, {"First light"})
        await seller.offers(title="Second light")
        service.kill()
        await service.wait_ended()
    async with running(tmp_path / "data") as service:
        assert "index" == await until_found(seller.at(service), {"First light", "Second light"}, q="light")
        assert "made again" not in service.log


async def test_an_index_that_nobody_asks_rests_and_knows_all_when_it_is_asked(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running(tmp_path / "data", settings={"MARKETD_SEARCH__REST_S": "0.5"}) as service:
        seller = await Visitor(service, session).joins("seller")
        one = await seller.offers(title="First light")
        await until_found(seller, {"First light"})
        await until_resting(seller)
        pids = service.index_processes()
        await seller.offers(title="Second light")
        (await seller.ask("PATCH", f"/products/{one['id']}", {"title": "Third dark"})).expect(200)

        assert ([], ("index", {"Second light"})) == (pids, await found(seller, "light"))


async def test_the_first_search_after_the_ready_line_is_answered_from_the_index(
    tmp_path: Path, session: ClientSession
) -> None:
    patient = {"MARKETD_SEARCH__WAIT_S_MAX": "10"}  # where many tests are run it comes up slowly
    async with running(tmp_path / "data") as service:
        seller = await Visitor(service, session).joins("seller")
        await seller.offers(title="First light")
    async with running(tmp_path / "data", settings=patient) as service:
        assert ("index", {"First light"}) == await found(Visitor(service, session), "light")


async def test_who_wants_no_index_has_none(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings={"MARKETD_SEARCH__ENABLED": "false"}) as service:
        seller = await Visitor(service, session).joins("seller")
        await seller.offers(title="First light")

        assert ("fallback", {"First light"}) == await found(seller, "light")
        assert [] == service.index_processes()
