"""Child processes wait for the processor rather than the service does."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from marketd.children import AUTOGROUP, SESSION_NICENESS, subordinate

pytestmark = [pytest.mark.asyncio, pytest.mark.skipif(sys.platform != "linux", reason="there is none but Linux's")]


async def what_a_child_sees(path: str) -> str:
    command = [sys.executable, "-c", f"print(open({path!r}).read())"]
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, start_new_session=True, preexec_fn=subordinate()
    )
    return (await child.communicate())[0].decode()


async def test_a_child_makes_nobody_give_way() -> None:
    policy = [line for line in (await what_a_child_sees("/proc/self/sched")).splitlines() if line.startswith("policy")]

    assert [str(os.SCHED_BATCH)] == [line.split()[-1] for line in policy]


@pytest.mark.skipif(not Path(AUTOGROUP).exists(), reason="the kernel does not share out by sessions")
async def test_the_session_of_a_child_is_nice(tmp_path: Path) -> None:
    assert f"nice {SESSION_NICENESS.decode()}" in await what_a_child_sees(AUTOGROUP)
