"""The pulse tells how late the event loop is."""

import asyncio

import pytest

from marketd.pulse import BEAT_S, Pulse
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio


class LateClock(TestClock):
    """Wakes everybody a second after their time."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + 1)


@pytest.mark.parametrize(("clock", "late_s"), [(TestClock(), 0), (LateClock(), 1)])
async def test_a_beat_is_as_late_as_the_loop(clock: TestClock, late_s: float) -> None:
    pulse = Pulse(clock)
    running = asyncio.create_task(pulse.run())
    await clock.advance(BEAT_S + late_s)
    await settle()
    running.cancel()

    assert 1 == len(pulse.late)
    assert late_s == pytest.approx(pulse.late.total)
