"""What the tests of the actors share."""

import pytest

pytest.register_assert_rewrite("tests.given", "tests.actors.totality")
