"""
The whole service under a seeded scheduler: whatever is lost, late, doubled or dies, no law is broken.

More of them: `make simulate SEEDS=100000 SEED=1000`.
"""

import pytest

from tests.simulation.run import first_broken, told

SEEDS = 500
BATCH = 50


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_law_is_broken(first: int) -> None:
    broken = first_broken(range(first, first + BATCH))

    assert broken is None, told(broken)
