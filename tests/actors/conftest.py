"""What the tests of the actors share."""

import pytest

from tests.actors.watched import WatchedLog
from tests.clock import TestClock

pytest.register_assert_rewrite("tests.given", "tests.actors.totality")


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def log() -> WatchedLog:
    return WatchedLog()
