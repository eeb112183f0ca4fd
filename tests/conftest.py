"""What holds for all tests."""

import signal

import pytest

# Whoosh leaves a file open when it stumbles over it; when it is closed, and so in which test that is told, is chance.
STUMBLED = (
    r"ignore:Exception ignored in. <_io.FileIO name='[^']*/search/_?MAIN_:pytest.PytestUnraisableExceptionWarning"
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", STUMBLED)


@pytest.fixture(scope="session", autouse=True)
def heard_signals() -> None:
    """Have the processes that tests start hear SIGINT and SIGHUP, also where we were started in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # which they would inherit; a handler becomes their default
            signal.signal(number, lambda *_: None)
