"""`dist/marketd`, from an empty directory: it sells, keeps what it sold, and leaves nothing behind."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector

from marketd import __version__
from tests.binary.alone import BINARY, ROOT, home_of, kill, living, placed, program_of, run
from tests.journeys.people import Visitor
from tests.journeys.process import wait_gone
from tests.storage.pictures import picture
from tests.test_main import COMMANDS

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(BINARY is None, reason="needs dist/marketd: make test-binary"),
]

SIZE_MAX: Final = 60_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a directory with the binary in it and nothing else."""
    return placed(tmp_path / "edge").parent


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield session


async def test_it_is_small() -> None:
    assert BINARY is not None
    assert (ROOT / BINARY).stat().st_size <= SIZE_MAX


async def test_it_says_its_version(folder: Path) -> None:
    assert (0, f"marketd {__version__}\n", "") == await run(folder, "--version")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_every_command_explains_itself(folder: Path, command: list[str]) -> None:
    done = await run(folder, *command, "--help")

    assert (0, "", True) == (done.code, done.err, done.out.startswith("usage: marketd"))


# Serving.


async def test_what_is_in_the_sample_catalogue_can_be_bought(folder: Path, session: ClientSession) -> None:
    async with living(folder, "--sample") as service:
        visitor = Visitor(service, session)
        buyer = await visitor.joins("buyer")
        product = (await visitor.get("/products?size=1")).expect(200)["products"][0]
        order = await buyer.buys(product)
        file = await visitor.get(await buyer.link(order))

    assert ("completed", product["files"][0]["size"]) == (order["status"], len(file.body))


async def test_searches_are_answered_by_the_index(folder: Path, session: ClientSession) -> None:
    async with living(folder, "--sample") as service:
        visitor = Visitor(service, session)
        await visitor.finds(32)
        answer = await visitor.get("/products?q=icons")

    assert (True, "index") == (answer.expect(200)["total"] > 0, answer.headers["X-Data-Source"])


async def test_an_image_is_made_smaller_and_a_broken_one_refused(folder: Path, session: ClientSession) -> None:
    async with living(folder) as service:
        seller = await Visitor(service, session).joins("seller")
        headers = {"Content-Type": "image/png"}
        good = await seller.ask("POST", "/uploads?name=good.png", data=picture(), headers=headers)
        bad = await seller.ask("POST", "/uploads?name=bad.png", data=picture()[:200], headers=headers)

    assert (201, 400) == (good.status, bad.status)


async def test_pages_and_all_else_that_is_no_code_is_in_it(folder: Path, session: ClientSession) -> None:
    wanted = {path.relative_to(ROOT) for path in (ROOT / "marketd").rglob("*") if path.is_file()}
    async with living(folder) as service:
        home = home_of(service)
        lacking = [path for path in wanted if path.suffix not in {".py", ".pyc"} and not (home / path).is_file()]
        found = [(await Visitor(service, session).get(path)).status for path in ("/docs", "/problems/not-found")]

    assert ([], [200, 200]) == (lacking, found)


# The care of data.


async def test_every_errand_is_done_while_it_serves_and_after(folder: Path, session: ClientSession) -> None:
    async with living(folder, "--sample") as service:
        made = await run(folder, "admin", "create", "root@example.org", "--password-stdin", given="Passw0rd\n")
        done = [await run(folder, *words.split()) for words in ("verify --files", "backup store.tar", "keys rotate")]
        await service.stop()
    keys = await run(folder, "keys", "list")
    settings = await run(folder, "config")
    exported = [json.loads(line)["position"] for line in (await run(folder, "export")).out.splitlines()]
    rebuilt = await run(folder, "rebuild")
    restored = await run(folder, "restore", "store.tar", "--data", "again")
    async with living(folder, "--data", "again") as service:
        await Visitor(service, session).finds(32)

    assert (0, "made the administrator root@example.org\n") == (made.code, made.out), made
    assert [0, 0, 0] == [ended.code for ended in done], done
    assert [0, 0, 0, 0] == [ended.code for ended in (keys, settings, rebuilt, restored)]
    assert (2, True) == (len(keys.out.splitlines()), "[http]" in settings.out)
    assert list(range(1, max(exported) + 1)) == sorted(set(exported))


# What is left.


async def test_asked_to_stop_it_leaves_nothing(folder: Path) -> None:
    async with living(folder) as service:
        home, family = home_of(service), service.family()
        assert home.is_dir() and len(family) == 4  # launcher, service, nats-server, index
        code = await service.stop()
        for pid in family:
            await wait_gone(pid)

    assert (0, False) == (code, home.exists())


async def test_killed_it_takes_all_its_processes_along_and_the_next_start_its_folder(
    folder: Path, session: ClientSession
) -> None:
    async with living(folder) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        order = await buyer.buys(await seller.offers())
        home, family = home_of(service), service.family()
        service.kill()
        for pid in family:
            await wait_gone(pid)
    async with living(folder) as again:
        buyer.service = again
        seen = await buyer.sees(order["id"])

        assert ("completed", False, True) == (seen["status"], home.exists(), home_of(again).is_dir())


async def test_killed_itself_its_launcher_removes_the_folder(folder: Path) -> None:
    async with living(folder) as service:
        home = home_of(service)
        kill(program_of(service))
        code = await service.wait_ended()

    assert (True, False) == (code != 0, home.exists())


async def test_a_start_leaves_the_folder_of_another_that_lives(folder: Path, session: ClientSession) -> None:
    async with living(folder) as service:
        await run(folder, "--version")
        answer = await Visitor(service, session).get("/readyz")

        assert (200, True) == (answer.status, (home_of(service) / "nats-server").exists())
