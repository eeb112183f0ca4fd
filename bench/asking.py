"""Asking somebody by subject: our port over NATS and within the process, beside nats-py's own request and reply."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.figures import CONNECTIONS, ROUNDS, Figure, made, spread
from marketd.actors import product
from marketd.actors.money import Money
from marketd.bus.nats import NatsBus
from marketd.bus.port import Answer, Envelope
from marketd.bus.server import NatsServer
from marketd.clock import SystemClock, new_id
from marketd.config.codecs import message_codec

ROUND_S: Final = 2.0
SUBJECT: Final = "market.cmd.7.product.bench"
RAW_SUBJECT: Final = "bench.raw"
ASKED: Final = product.Describe()
ANSWERED: Final = Answer(product.Quoted(new_id(SystemClock()), "Something to sell", Money(1999, "USD")), 42)
WAIT_MS: Final = 10_000

Ask = Callable[[], Awaitable[object]]


async def asking(folder: Path) -> list[Figure]:
    """The same question by three ways, in turns, 32 at once; who asks and who answers share a process each time."""
    clock, codec = SystemClock(), message_codec()
    async with (
        NatsServer(store=made(folder / "nats"), clock=clock) as server,
        NatsBus(server.url, codec, clock, user=server.user, password=server.password, in_process=False) as over_nats,
        NatsBus(server.url, codec, clock, user=server.user, password=server.password) as within,
    ):
        await over_nats.serve(SUBJECT, _answer)
        await within.serve(f"{SUBJECT}-within", _answer)
        raw = await _raw(server, codec.pack(_envelope(clock)), codec.pack_answer(ANSWERED))
        ways: dict[str, Ask] = {
            "raw": lambda: raw.request(RAW_SUBJECT, packed, timeout=WAIT_MS / 1000),
            "over NATS": lambda: over_nats.ask(SUBJECT, _envelope(clock)),
            "within": lambda: within.ask(f"{SUBJECT}-within", _envelope(clock)),
        }
        packed = codec.pack(_envelope(clock))
        rates = {way: list[float]() for way in ways}
        for number in range(ROUNDS + 1):
            for way, ask in ways.items():
                rate = await _repeated(ask)
                if number:  # the first is the warm-up
                    rates[way].append(rate)
        await raw.close()
    bare, ours = rates["raw"], rates["over NATS"]
    ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    against = f"raw nats-py request and reply of the same {len(packed)} bytes: {median(bare):,.0f}/s"
    return [
        Figure("ask, over NATS", median(ours), "asks/s", spread(ours), against, ""),
        Figure("ask, as a ratio", median(ratios), "of raw nats-py", spread(ratios), against, ""),
        Figure(
            "ask, within the process",
            median(rates["within"]),
            "asks/s",
            spread(rates["within"]),
            "where `nats.in_process` is on",
            "",
        ),
    ]


async def _answer(subject: str, envelope: Envelope) -> Answer:
    return ANSWERED


async def _raw(server: NatsServer, packed: bytes, reply: bytes) -> Client:
    """Connect a client that serves and asks, and knows nothing of envelopes."""
    client = await nats.connect(server.url, user=server.user, password=server.password)

    async def respond(message: Msg) -> None:
        await message.respond(reply)

    await client.subscribe(RAW_SUBJECT, cb=respond)
    await client.request(RAW_SUBJECT, packed)
    return client


def _envelope(clock: SystemClock) -> Envelope:
    command_id = new_id(clock)
    return Envelope(command_id, ASKED, command_id, clock.now_ms() + WAIT_MS, principal="bench")


async def _repeated(ask: Ask) -> float:
    """Let 32 ask one time after the other; give how many are answered a second."""
    begun, answered = time.perf_counter(), 0

    async def repeat() -> None:
        nonlocal answered
        while time.perf_counter() < begun + ROUND_S:
            await ask()
            answered += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(repeat())
    return answered / (time.perf_counter() - begun)
