"""The index process ends when it is told to, or the service is gone, and once is enough; and says why it has failed."""

import subprocess
import sys

import msgspec

from marketd.storage.index_process import IndexNeeds

ENDING = """
import asyncio, os, signal
from marketd.config.indexing import _wait_told_to_end

async def end():
    asyncio.get_running_loop().call_soon({first})
    await _wait_told_to_end()
    os.kill(os.getpid(), signal.SIGTERM)

asyncio.run(end())
os.kill(os.getpid(), signal.SIGTERM)
print("alive")
"""

FAILING = """
import sys
from marketd.bus.nats import CarrierLost
from marketd.config import indexing

async def fail(needs):
    raise CarrierLost(f"no connection to NATS at {needs.url}: it is not there")

indexing._serve = fail
sys.exit(indexing.main())
"""


def ended(first: str, *, is_service_there: bool) -> tuple[int, str, str]:
    """Run it; say how it ended, and what it wrote."""
    with subprocess.Popen(
        [sys.executable, "-c", ENDING.format(first=first)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        if not is_service_there:
            process.stdin.close()
        process.wait(20)
        return process.returncode, process.stdout.read(), process.stderr.read()


def test_who_is_told_by_a_signal_minds_no_other() -> None:
    kill = "lambda: os.kill(os.getpid(), signal.SIGTERM)"

    assert (0, "alive\n", "") == ended(kill, is_service_there=True)


def test_who_is_told_by_the_end_of_the_service_minds_no_signal() -> None:
    assert (0, "alive\n", "") == ended("lambda: None", is_service_there=False)


def test_who_fails_does_not_tell_the_password_in_an_address() -> None:
    needs = IndexNeeds("", "", "nats://ann:hunter2@host:4222", None, None, "info")
    line = msgspec.json.encode(needs).decode() + "\n"
    done = subprocess.run(
        [sys.executable, "-c", FAILING], input=line, capture_output=True, text=True, check=False, timeout=20
    )

    said = "marketd index: no connection to NATS at nats://********@host:4222: it is not there\n"
    assert (1, "", said) == (done.returncode, done.stdout, done.stderr)
