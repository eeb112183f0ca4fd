"""
What the document of the API says is tried out on the real service, by Schemathesis: right and wrong requests made of
its schemas, examples and links, and every answer held against it.

`make fuzz` does the same with more examples, other ones each time; a failure says its seed.
"""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from aiohttp import ClientSession

from tests.journeys.people import PASSWORD, Person, Visitor
from tests.journeys.process import Service, marketd, running

HERE: Final = Path(__file__).parent
EXAMPLES: Final = os.environ.get("MARKETD_FUZZ_EXAMPLES", "5")
SEED: Final = os.environ.get("MARKETD_FUZZ_SEED", "1")

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(300 + 30 * int(EXAMPLES))]
# Nobody who tries things out is to be held up for it.
PATIENT: Final = {
    "MARKETD_AUTH__FAILURES_MAX": "1000",
    "MARKETD_AUTH__RESET_ANSWER_S": "0.01",
    "MARKETD_HTTP__WAIT_S_MAX": "1",
    "MARKETD_LIMITS__ENABLED": "false",
    "MARKETD_WEBHOOKS__ENDPOINTS_MAX": "1000",
}


class Trial(NamedTuple):
    """Who tries out what: all, or what has these tags."""

    role: str
    phases: str
    tags: tuple[str, ...] = ()


TRIALS: Final = (
    Trial("seller", "examples,coverage,fuzzing,stateful"),
    Trial("buyer", "examples,fuzzing,stateful", ("orders", "reviews", "library", "mobile", "storefront", "downloads")),
    Trial("admin", "examples,coverage,fuzzing,stateful", ("operations",)),
)


async def signed_in(service: Service, visitor: Visitor, role: str) -> Person:
    if role != "admin":
        return await visitor.joins(role)
    made = ("admin", "create", "root@example.org", "--data", str(service.data), "--password-stdin")
    assert 0 == (await marketd(*made, given=PASSWORD)).code
    return await visitor.signs_in("root@example.org", PASSWORD)


async def things(visitor: Visitor, person: Person, role: str) -> dict[str, str]:
    """Have something there: a product, one's own for a seller; an order for it; an upload; a webhook."""
    seller = person if role == "seller" else await visitor.joins("seller")
    buyer = person if role == "buyer" else await visitor.joins("buyer")
    upload = await seller.uploads(b"the work")
    product = await seller.offers()
    order = await buyer.buys(product)
    hook = (await seller.post("/webhooks", {"url": "https://books.example/", "events": ["*"]})).expect(201)
    another = await visitor.joins("buyer")
    return {
        "products": product["id"],
        "orders": order["id"],
        "webhooks": hook["id"],
        "upload": upload["url"],
        "size": str(upload["size"]),
        "another": another.token,
    }


async def tried_out(service: Service, person: Person, trial: Trial, known: dict[str, str]) -> tuple[int, str]:
    """Run Schemathesis, and give its exit code and what it says."""
    options = ["--checks", "all", "--max-examples", EXAMPLES, "--seed", SEED, "--phases", trial.phases]
    options += ["--continue-on-failure", "--warnings", "off", "--no-color", "--request-timeout", "20"]
    for tag in trial.tags:
        options += ["--include-tag", tag]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")),
        *("run", f"{service.url}/openapi.json", *options),
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.journeys.preconditions",
            "MARKETD_TOKEN": person.token,
            "MARKETD_TOKEN_OF_ANOTHER": known["another"],
            "MARKETD_TRIED_WITH": json.dumps(known),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.role)
async def test_the_service_does_what_its_document_says(
    tmp_path: Path, session: ClientSession, trial: Trial, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path / "data", settings=PATIENT) as service:
        visitor = Visitor(service, session)
        person = await signed_in(service, visitor, trial.role)
        known = await things(visitor, person, trial.role)

        code, said = await tried_out(service, person, trial, known)
        (await person.get("/auth/me")).expect(200)  # who was signed out meanwhile would have tried nothing

    with capsys.disabled():
        print(f"\n{trial.role}:", *re.findall(r"\d+ generated.*|Seed: \d+", said), sep=" ")
    assert 0 == code, said
