"""The processors that all keep the port's promises, each with a look into the books of whoever moves the money."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

from marketd.actors.payments.processor import CIRCUIT, PaymentProcessor
from marketd.actors.payments.sandbox import SandboxProcessor
from marketd.actors.payments.stripe import StripeProcessor
from marketd.bus.breaker import Breaker
from marketd.clock import Clock
from tests.actors.payments.stripe_server import KEY, StripeServer

WAIT_S: Final = 5.0
START_S_MAX: Final = 20.0

# localstripe as it comes listens on every address of the machine, keeps its state in a file that all runs share, and
# has no search.
SERVING: Final = """
import socket
from aiohttp import web
from localstripe.resources import PaymentIntent, store
from localstripe.server import app
store.dump_to_disk = lambda: None
@web.middleware
async def searching(request, handler):
    if request.path != "/v1/payment_intents/search":
        return await handler(request)
    name, value = request.query["query"].removeprefix("metadata['").removesuffix("'").split("']:'")
    found = [intent for intent in store.values() if isinstance(intent, PaymentIntent)]
    found = [intent._export() for intent in found if intent.metadata.get(name) == value]
    return web.json_response({"object": "search_result", "data": found, "has_more": False})
app.middlewares.append(searching)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
web.run_app(app, sock=listener, print=None)
"""

Books = Callable[[], Awaitable[tuple[int, int]]]


@dataclass
class Party:
    """A processor that can be opened again and again; `books` gives how often money was taken, and given back."""

    open: Callable[[], AbstractAsyncContextManager[PaymentProcessor]]
    breaker: Breaker
    books: Books
    bad_card: str = "pm_card_chargeDeclined"


def stripe_at(url: str, path: Path, clock: Clock, breaker: Breaker, *, wait_s: float = WAIT_S) -> StripeProcessor:
    return StripeProcessor(path, clock, breaker, secret_key=KEY, url=url, wait_s_max=wait_s)


def breaker_of(clock: Clock) -> Breaker:
    return Breaker(CIRCUIT, clock, failures_max=5, open_s=30)


@asynccontextmanager
async def sandbox(path: Path, clock: Clock) -> AsyncIterator[Party]:
    breaker = breaker_of(clock)

    async def books() -> tuple[int, int]:
        with closing(sqlite3.connect(path / "sandbox.db")) as db:
            taken = db.execute("SELECT count(*) FROM charges WHERE outcome = 'captured'").fetchone()
            given = db.execute(
                "SELECT count(*) FROM refunds JOIN charges USING (order_id) WHERE charges.outcome = 'captured'"
            ).fetchone()
        return int(taken[0]), int(given[0])

    yield Party(lambda: SandboxProcessor(path / "sandbox.db", clock, breaker), breaker, books)


@asynccontextmanager
async def stripe(path: Path, clock: Clock) -> AsyncIterator[Party]:
    breaker = breaker_of(clock)

    async with StripeServer() as server:

        async def books() -> tuple[int, int]:
            return len(server.captured), len(server.refunds)

        yield Party(lambda: stripe_at(server.url, path / "stripe.db", clock, breaker), breaker, books)


@asynccontextmanager
async def localstripe(path: Path, clock: Clock) -> AsyncIterator[Party]:
    """It knows no keys and fewer cards, and refunds the same payment twice if it is asked to."""
    breaker = breaker_of(clock)
    async with local_stripe() as url:

        async def books() -> tuple[int, int]:
            def count() -> tuple[int, int]:
                intents, refunds = (_listed(f"{url}/v1/{kind}?limit=100") for kind in ("payment_intents", "refunds"))
                return sum(intent["status"] == "succeeded" for intent in intents), len(refunds)

            return await asyncio.to_thread(count)

        opening = lambda: stripe_at(url, path / "stripe.db", clock, breaker)  # noqa: E731
        yield Party(opening, breaker, books, bad_card="pm_card_chargeCustomerFail")


@asynccontextmanager
async def local_stripe() -> AsyncIterator[str]:
    """Run localstripe as a process of its own; give its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVING), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout
        async with asyncio.timeout(START_S_MAX):
            port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # asyncio has no public way to close the pipes


def _listed(url: str) -> list[dict[str, Any]]:
    with urlopen(Request(url, headers={"Authorization": f"Bearer {KEY}"}), timeout=WAIT_S) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]
    return found


PARTIES: Final = {"sandbox": sandbox, "stripe": stripe, "localstripe": localstripe}
