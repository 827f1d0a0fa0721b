"""Runs seeds: ``python -m tests.simulation --seeds 2000``, or one with its trace: ``--seed 17``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.simulation.checks import ViolationError
from tests.simulation.scenario import run_seed
from tests.simulation.seams import simulated
from tests.simulation.world import say


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="where to begin")
    parser.add_argument("--seed", type=int, help="one seed, with its whole trace")
    arguments = parser.parse_args()
    with simulated():
        if arguments.seed is not None:
            return _one(arguments.seed)
        return _many(arguments.first, arguments.seeds)


def _one(seed: int) -> int:
    try:
        run_seed(seed, trace=say)
    except ViolationError as error:
        say(f"seed {seed}: {error}")
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        return 1
    say(f"seed {seed} holds")
    return 0


def _many(first: int, count: int) -> int:
    failed: list[int] = []
    began = time.process_time()
    commits = loads = mints = steps = 0
    for seed in range(first, first + count):
        try:
            counts = run_seed(seed)
        except ViolationError as error:
            failed.append(seed)
            if len(failed) == 1:
                say(f"seed {seed}: {error}\n" + "\n".join(getattr(error, "__notes__", ())))
            else:
                say(f"seed {seed}: {error}")
            if len(failed) >= 20:
                break
        else:
            commits += counts.commits
            loads += counts.loads
            mints += counts.mints
            steps += counts.steps
    seconds = time.process_time() - began
    done = seed - first + 1
    say(
        f"{done - len(failed)}/{done} seeds hold; {commits} commits, {loads} reloads, {mints} new epochs, "
        f"{steps} steps; {seconds:.1f} s of CPU, {1000 * seconds / done:.1f} ms a seed"
    )
    if failed:
        say(f"replay with: make simulate SEED={failed[0]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
