"""What holds for all tests."""

import pytest

# Whoosh leaves a file open when it stumbles over it; when it is closed, and so in which test that is told, is chance.
STUMBLED = (
    r"ignore:Exception ignored in. <_io.FileIO name='[^']*/search/_?MAIN_:pytest.PytestUnraisableExceptionWarning"
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", STUMBLED)
