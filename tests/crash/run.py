"""Rounds, one after the other: something befalls the service, and what is there afterwards is held against the laws."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from tests.crash.faults import FAULTS, Round
from tests.crash.laws import breaches
from tests.crash.machine import Machine
from tests.crash.people import Town
from tests.crash.seen import Seen, look, wait_rest
from tests.journeys.people import PASSWORD, Person, Visitor
from tests.journeys.process import marketd

ROUNDS_MAX: Final = 10  # on one data directory
ANSWER_S_MAX: Final = 60.0
ADMIN: Final = "operator@example.org"
# How often each befalls the service, where a run is not about one alone.
WEIGHTS: Final = {
    "kill": 6,
    "kill-start": 4,
    "kill-backup": 2,
    "kill-nats": 2,
    "kill-index": 1,
    "stop": 1,
    "stop-nats": 1,
    "unwritable": 2,
    "clock": 2,
}


@dataclass
class Tally:
    """What was done, by fault, and what was found."""

    by_fault: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    found: list[str] = field(default_factory=list)


class Run:
    """Some rounds on one data directory. What is chance in a round follows from the seed, the number and the fault."""

    def __init__(self, folder: Path, seed: int, *, stop_s: float, tell: Callable[[str], None]) -> None:
        self._seed, self._stop_s, self._tell = seed, stop_s, tell
        self.machine = Machine(folder, random.Random(seed))
        self.seen = Seen()

    async def rounds(self, faults: Sequence[str], tally: Tally) -> int:
        """Let these befall it, one a round, until something is found; give the number of rounds."""
        async with ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(ANSWER_S_MAX)) as session:
            self.town = Town(session)
            try:
                await self.town.settle(await self.machine.start())
                made = await marketd(
                    *("admin", "create", ADMIN, "--data", str(self.machine.data), "--password-stdin"),
                    given=f"{PASSWORD}\n",
                )
                assert made.code == 0, made
                for number, fault in enumerate(faults, 1):
                    try:
                        found = await self._round(number, fault, session, tally)
                    except Exception as error:  # whatever it is, the service did not do what it should
                        found = [f"the round did not end: {_told(error)}", *self.machine.defects]
                    if found:
                        tally.found += [f"seed {self._seed}, round {number} ({fault}): {what}" for what in found]
                        return number
                await self.machine.stop()
                tally.found += [f"seed {self._seed}, at the end: {what}" for what in self.machine.defects]
                return len(faults)
            finally:
                await self.machine.bury()

    async def _round(self, number: int, fault: str, session: ClientSession, tally: Tally) -> list[str]:
        machine, told = self.machine, self.town.told
        machine.chance = chance = random.Random(f"{self._seed} {number} {fault}")
        counts, before = tally.by_fault[fault], (machine.kills, machine.starts, told.answers.total(), len(told.orders))
        await FAULTS[fault](Round(machine, self.town, chance, self._stop_s))
        found = await self._compare(session, chance)
        after = (machine.kills, machine.starts, told.answers.total(), len(told.orders))
        did = Counter(dict(zip(("kills", "starts", "requests", "orders"), after, strict=True)))
        did -= Counter(dict(zip(("kills", "starts", "requests", "orders"), before, strict=True)))
        counts.update({**did, "rounds": 1, "found": len(found), **self._compared()})
        self._tell(f"{fault:12} {did['requests']:5} requests {did['orders']:4} orders  {len(found)} found")
        if machine.has_clock:
            await machine.stop()
            machine.set_clock(0)
            await machine.start()
        await self.town.move(machine.service)
        return found

    async def _compare(self, session: ClientSession, chance: random.Random) -> list[str]:
        """Wait for rest, send again what was sent under a key, and look."""
        service = self.machine.service
        visitor = Visitor(service, session)
        await wait_rest(visitor)
        await self.town.repeat(chance)
        admin = await visitor.signs_in(ADMIN, PASSWORD)
        people: list[Person] = list(self.town.people.values())
        self.seen = seen = await look(visitor, people, admin, self.town.told, self.machine.data, PASSWORD)
        found = breaches(self.town.told, seen) + self.machine.defects
        self.town.know(seen.names, {name: product["description"] for name, product in seen.products.items()})
        return found

    def _compared(self) -> dict[str, int]:
        seen, told = self.seen, self.town.told
        return {
            "compared orders": len(seen.orders),
            "compared charges": len(seen.charges) + len(seen.paid_back),
            "compared products": len(seen.products),
            "compared repeats": len(told.repeats),
            "owned": sum(map(len, seen.libraries.values())),
        }


def _told(error: BaseException) -> str:
    """Tell an error in one line, and those within it."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(map(_told, error.exceptions))
    return f"{type(error).__name__}: {error}"


def drawn(seed: int, count: int, faults: Sequence[str]) -> list[str]:
    """Draw what befalls the service in the rounds of a seed."""
    weights = [WEIGHTS.get(fault, 1) for fault in faults]
    return random.Random(f"faults of {seed}").choices(faults, weights, k=count)


def table(tally: Tally) -> str:
    """Tell what was done and compared."""
    columns = ("rounds", "kills", "starts", "requests", "orders", "found")
    compared = ("compared orders", "compared charges", "compared products", "compared repeats", "owned")
    total = Counter[str]()
    lines = [f"{'':12}" + "".join(f"{column:>10}" for column in columns)]
    for fault, counts in tally.by_fault.items():
        lines.append(f"{fault:12}" + "".join(f"{counts[column]:10}" for column in columns))
        total.update(counts)
    lines.append(f"{'all':12}" + "".join(f"{total[column]:10}" for column in columns))
    lines.append("; ".join(f"{total[name]} {name}" for name in compared))
    return "\n".join(lines)
