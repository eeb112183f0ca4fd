"""
A soak: the real service at half of what it carries, for a long time; does anything grow, slow down or fail?

    python -m bench.soak [--minutes 30] [--rate VISITS-A-SECOND] [--into FOLDER]

The load is open: visits begin by chance (exponential gaps, a fixed seed), however those before them fare. A visit is
two searches, ten products looked at, one bought and fetched (visiting.py); meanwhile a seller changes a price each
second. Every ten seconds is a sample. At the end there is a verdict, and soak.md, soak.svg and soak.json in the folder
(docs, where not given); exit code 1 if something grew, slowed down or failed.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.history import write_accounts, write_products
from bench.load import Connection, request
from bench.machine import described
from bench.processes import Running, cpu_s, memory_mib, processor_s, service
from bench.searching import wait_indexed
from bench.shop import PASSWORD, Person
from bench.soaked import LOAD, SAMPLE_S, Finding, Sample, graph, line, page, verdict
from bench.visiting import SEED, SESSION_S, Heard, Session, Visitors, revise
from marketd.config.folder import LOCK

DOCS: Final = Path(__file__).parent.parent / "docs"
BUYERS: Final = 5_000  # each comes back every minute or two; more would take longer to sign in than it is worth
PRODUCTS: Final = 5_000
REVISED: Final = 50
REVISED_EVERY_S: Final = 1.0
SIGNING_IN: Final = 8
# nats-server takes some 300 bytes of memory for each event that it keeps, and they grow until the oldest go: here soon,
# as in a shop that has been running for months.
KEPT_BYTES: Final = 32 * 1024 * 1024
WARM_UP_S: Final = 10.0
CAPACITY_S: Final = 20.0
CAPACITY_VISITORS: Final = 32
HALF: Final = 0.5


async def main(minutes: float, rate: float | None, into: Path) -> bool:
    """Soak, write down what came of it, and say whether all was well."""
    with tempfile.TemporaryDirectory(prefix="marketd-soak-") as folder:
        async with _shop(Path(folder)) as (running, visitors):
            _tell("warming up")
            await _closed(visitors, WARM_UP_S)
            carried = None if rate else await _closed(visitors, CAPACITY_S)
            rate = rate or (carried or 0) * HALF
            _tell(f"{rate:.1f} visits a second for {minutes:g} minutes")
            visitors.swap()
            samples = await _soaked(running, visitors, rate, minutes * 60)
    findings = verdict(samples)
    about = {"machine": described(), "taken": f"{datetime.now(UTC):%Y-%m-%d}", "visits_per_s": rate, "carried": carried}
    _write(into, about, samples, findings)
    for finding in findings:
        _tell(f"{'ok ' if finding.is_good else 'BAD'} {finding.what}: {finding.measured} (wanted: {finding.wanted})")
    return all(finding.is_good for finding in findings)


@asynccontextmanager
async def _shop(folder: Path) -> AsyncIterator[tuple[Running, Visitors]]:
    """Run the service with products in it, and buyers who are signed in."""
    data = folder / "data"
    data.mkdir()
    (data / LOCK).touch()
    words = await write_products(data, PRODUCTS)
    emails = [f"buyer{number}@bench.example" for number in range(len(await write_accounts(data, BUYERS)))]
    async with service(data, MARKETD_EVENTS__KEEP_BYTES_MAX=str(KEPT_BYTES)) as running:
        _tell("reading the catalogue, signing in")
        await wait_indexed(running, PRODUCTS)
        products = await _catalogue(running)
        visitors = Visitors(running.host, running.port, await _sessions(running, emails), products, words)
        seller = await Person.join(running.host, running.port, "seller", "seller")
        own = [await seller.list_product(f"Revised now and then {number}") for number in range(REVISED)]
        revising = asyncio.create_task(revise(seller, own, REVISED_EVERY_S))
        try:
            yield running, visitors
        finally:
            revising.cancel()
            await asyncio.wait([revising])
            visitors.close()


async def _catalogue(running: Running) -> list[str]:
    """Give the ids of all products, in no order that means anything."""
    connection, found = await Connection.open(running.host, running.port), list[str]()
    for number in range(1, PRODUCTS // 100 + 1):
        answer = await connection.send(request("GET", f"/products?sort=newest&size=100&page={number}"))
        found += [product["id"] for product in json.loads(answer.body)["products"]]
    connection.close()
    random.Random(SEED).shuffle(found)
    return found


async def _sessions(running: Running, emails: list[str]) -> list[Session]:
    waiting, sessions, chance = iter(emails), list[Session](), random.Random(SEED)

    async def sign_in() -> None:
        connection = await Connection.open(running.host, running.port)
        for email in waiting:
            sessions.append(await Session.begin(connection, email, PASSWORD, chance.uniform(0, SESSION_S)))
        connection.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(SIGNING_IN):
            tasks.create_task(sign_in())
    return sessions


async def _closed(visitors: Visitors, seconds: float) -> float:
    """Let each of some visitors come again as soon as they have left; give how many visits a second that makes."""
    begun, made = time.perf_counter(), 0

    async def repeat() -> None:
        nonlocal made
        while time.perf_counter() < begun + seconds:
            await visitors.visit()
            made += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CAPACITY_VISITORS):
            tasks.create_task(repeat())
    return made / (time.perf_counter() - begun)


async def _soaked(running: Running, visitors: Visitors, rate: float, seconds: float) -> list[Sample]:
    """Let visits begin at this rate for so long, and take the samples."""
    begun, samples, used_s = time.perf_counter(), list[Sample](), _used_s(running)
    async with asyncio.TaskGroup() as tasks:
        coming = tasks.create_task(_coming(visitors, rate))
        for number in range(1, int(seconds / SAMPLE_S) + 1):
            await asyncio.sleep(begun + number * SAMPLE_S - time.perf_counter())
            before_s, used_s = used_s, _used_s(running)
            cores = {part: (used_s[part] - before_s.get(part, 0)) / SAMPLE_S for part in used_s}
            sample = await _sampled(running, visitors.swap(), time.perf_counter() - begun, cores)
            samples.append(sample)
            _tell(line(sample))
            if not sample.memory_mib.get("service"):
                break  # it has ended; the verdict says so
        coming.cancel()
    return samples


async def _coming(visitors: Visitors, rate: float) -> None:
    chance, due_s = random.Random(SEED), time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        while True:
            due_s += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            visitors.heard.late_ms = max(visitors.heard.late_ms, (time.perf_counter() - due_s) * 1000)
            tasks.create_task(visitors.visit())


def _used_s(running: Running) -> dict[str, float]:
    return {**cpu_s(running.pid), LOAD: processor_s(os.getpid())}


async def _sampled(running: Running, heard: Heard, passed_s: float, cores: dict[str, float]) -> Sample:
    position, behind = await _log(running, heard.errors)
    return Sample(
        minute=passed_s / 60,
        memory_mib=memory_mib(running.pid),
        cores=cores,
        purchases_per_s=len(heard.purchases_ms) / SAMPLE_S,
        purchase_p50_ms=_share(heard.purchases_ms, 0.5),
        purchase_p99_ms=_share(heard.purchases_ms, 0.99),
        read_p50_ms=_share(heard.reads_ms, 0.5),
        read_p99_ms=_share(heard.reads_ms, 0.99),
        search_p99_ms=_share(heard.searches_ms, 0.99),
        late_ms=heard.late_ms,
        position=position,
        behind=behind,
        errors=dict(heard.errors),
    )


async def _log(running: Running, errors: Counter[str]) -> tuple[int, int]:
    """Ask where the log is, and how far behind it the read models are."""
    try:
        connection = await Connection.open(running.host, running.port)
        parts = json.loads((await connection.send(request("GET", "/readyz"))).body)["parts"]
        connection.close()
    except OSError:
        errors["GET /readyz: nobody there"] += 1
        return 0, 0
    return parts["log"]["head"], parts["readModels"]["behind"]


def _write(into: Path, about: dict[str, object], samples: list[Sample], findings: list[Finding]) -> None:
    into.mkdir(parents=True, exist_ok=True)
    (into / "soak.svg").write_text(graph(samples), encoding="utf-8")
    (into / "soak.md").write_text(page(about, samples, findings), encoding="utf-8")
    lines = ",\n".join(json.dumps(_rounded(sample._asdict())) for sample in samples)
    kept = f'{{"about": {json.dumps(about)}, "samples": [\n{lines}\n]}}\n'
    (into / "soak.json").write_text(kept, encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def _share(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)] if values else 0.0


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run the service at half load for a long time, and look at it.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, help="visits a second; half of what is carried where not given")
    parser.add_argument("--into", type=Path, default=DOCS, help="the folder for soak.md, soak.svg and soak.json")
    asked = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        sys.exit(0 if loop.run(main(asked.minutes, asked.rate, asked.into)) else 1)
