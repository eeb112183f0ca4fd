"""A stage with somebody who has a browser."""

import pytest

from tests.http.pages.browsers import Browser
from tests.http.stage import Stage


@pytest.fixture
def browser(stage: Stage) -> Browser:
    """Give a browser that is signed in nowhere."""
    return Browser(stage)
