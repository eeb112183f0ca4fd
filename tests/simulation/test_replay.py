"""A seed is a run: whoever lives through it again sees the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import told
from tests.simulation.world import World

ROOT = Path(__file__).parents[2]
SEEDS = range(3)


def lived(seed: int) -> World:
    world = World(seed)
    world.run()
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_gives_the_same_run_again(seed: int) -> None:
    assert lived(seed).digest() == lived(seed).digest()


def test_another_seed_gives_another_run() -> None:
    assert len(SEEDS) == len({lived(seed).digest() for seed in SEEDS})


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_gives_the_same_run_in_a_process_of_its_own(hash_seed: str) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--digest", "--seeds", str(len(SEEDS))]
    ours = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True, check=True, timeout=50)

    assert [lived(seed).digest() for seed in SEEDS] == done.stdout.split()


def test_a_run_says_how_to_live_through_it_again() -> None:
    assert told(lived(3)).endswith("make simulate SEEDS=1 SEED=3")
