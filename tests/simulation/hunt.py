"""Hunts every mutant: ``python -m tests.simulation.hunt`` prints the first seed that finds each."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from tests.simulation.checks import ViolationError
from tests.simulation.mutants import MUTANTS, mutated
from tests.simulation.scenario import run_seed
from tests.simulation.seams import simulated
from tests.simulation.world import say

if TYPE_CHECKING:
    from collections.abc import Iterable

SEEDS_MAX = 2000


def hunt(name: str, seeds: Iterable[int]) -> tuple[int, str] | None:
    """The first seed that finds the mutant, and how it shows; None where none of them does."""
    with mutated(name):
        for seed in seeds:
            try:
                run_seed(seed)
            except ViolationError as error:
                if isinstance(error.__cause__, (AttributeError, NameError, TypeError, AssertionError)):
                    # The mutant or the simulation is wrong, which finds nothing.
                    raise error.__cause__ from None
                return seed, str(error)
    return None


def main() -> int:
    names = [one for one in sys.argv[1:] if not one.isdigit()] or list(MUTANTS)
    seeds_max = next((int(one) for one in sys.argv[1:] if one.isdigit()), SEEDS_MAX)
    missed = 0
    with simulated():
        for name in names:
            began = time.process_time()
            found = hunt(name, range(seeds_max))
            seconds = time.process_time() - began
            if found is None:
                missed += 1
                say(f"| {name} | NOT FOUND in {seeds_max} | {seconds:.0f} s |")
            else:
                say(f"| {name} | {found[0]} | {found[1][:140]} |")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
