"""
`python -m tests.simulation --seeds 10000 --first 1`: live through so many runs, and say which broke a law.

A seed that broke one is lived through again the same with `--seeds 1 --first <seed>`, which tells all that happened.
"""

import argparse
import logging
import sys
import time

from tests.simulation.run import told
from tests.simulation.world import World


def main() -> int:
    """Give back 1 if any law was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--digest", action="store_true", help="only name each run by what happened in it")
    asked = parser.parse_args()
    if asked.seeds > 1 or asked.digest:
        logging.getLogger("marketd").propagate = False
    began_s, failed = time.perf_counter(), 0
    for seed in range(asked.first, asked.first + asked.seeds):
        world = World(seed)
        world.run()
        if asked.digest:
            print(world.digest())
        elif world.broken or asked.seeds == 1:
            failed += world.broken is not None
            print(told(world, whole=asked.seeds == 1), flush=True)
    taken_s = time.perf_counter() - began_s
    if not asked.digest:
        print(f"{asked.seeds} seeds, {failed} broke a law; {asked.seeds / taken_s * 60:.0f} seeds a minute")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
