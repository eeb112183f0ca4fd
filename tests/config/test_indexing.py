"""The index process ends when it is told to, or the service is gone, and once is enough."""

import subprocess
import sys

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
