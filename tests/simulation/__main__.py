"""Runs seeds: ``python -m tests.simulation --seeds 2000``, or one with its trace: ``--seed 17``."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.checks import ViolationError
from tests.simulation.scenario import run_seed
from tests.simulation.seams import simulated
from tests.simulation.world import Counts, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FAILURES_MAX = 20
"""After so many the seeds that are left tell nothing new, unless somebody wants them all."""

BLOCK_SEEDS = 250
"""What a process is given at a time."""

PROGRESS_SEEDS = 10_000


class Failure(NamedTuple):
    """A seed that does not hold, with its last steps."""

    seed: int
    what: str
    steps: str


class Block(NamedTuple):
    """What came of some seeds."""

    seeds: int
    counts: Counts
    failures: list[Failure]
    cpu_seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="where to begin")
    parser.add_argument("--seed", type=int, help="one seed, with its whole trace")
    parser.add_argument("--processes", type=int, default=1, help="how many run seeds at the same time")
    parser.add_argument(
        "--keep-going", action="store_true", help=f"go on after {FAILURES_MAX} seeds that do not hold"
    )
    arguments = parser.parse_args()
    if arguments.seed is not None:
        with simulated():
            return _one(arguments.seed)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    failures_max = None if arguments.keep_going else FAILURES_MAX
    with _blocks(seeds, arguments.processes) as blocks:
        return _many(blocks, failures_max)


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


def _many(blocks: Iterable[Block], failures_max: int | None) -> int:
    failed: list[int] = []
    done, seconds, counts = 0, 0.0, Counts()
    for block in blocks:
        for failure in block.failures:
            say(f"seed {failure.seed}: {failure.what}" + ("" if failed else f"\n{failure.steps}"))
            failed.append(failure.seed)
        if done // PROGRESS_SEEDS < (done + block.seeds) // PROGRESS_SEEDS:
            say(f"{done + block.seeds} seeds, {len(failed)} of them do not hold")
        done += block.seeds
        seconds += block.cpu_seconds
        counts = counts.plus(block.counts)
        if failures_max is not None and len(failed) >= failures_max:
            break
    say(
        f"{done - len(failed)}/{done} seeds hold; {counts.commits} commits, {counts.loads} reloads, "
        f"{counts.mints} new epochs, {counts.steps} steps; "
        f"{seconds:.1f} s of CPU, {1000 * seconds / max(1, done):.1f} ms a seed"
    )
    if failed:
        say(f"replay with: make simulate SEED={failed[0]}")
    return 1 if failed else 0


@contextmanager
def _blocks(seeds: range, processes: int) -> Iterator[Iterator[Block]]:
    """The seeds' blocks as they are done: of one seed each in this process, or larger ones in others."""
    with simulated():
        if processes == 1:
            yield map(_run, ((seed,) for seed in seeds))
            return
        # What is forked has the simulated parts in their places, and what is frozen is shared.
        with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
            starts = range(0, len(seeds), BLOCK_SEEDS)
            blocks = [pool.submit(_run, seeds[at : at + BLOCK_SEEDS]) for at in starts]
            try:
                yield (block.result() for block in as_completed(blocks))
            finally:
                pool.shutdown(cancel_futures=True)


def _run(seeds: Sequence[int]) -> Block:
    began = time.process_time()
    counts, failures = Counts(), list[Failure]()
    for seed in seeds:
        try:
            counts = counts.plus(run_seed(seed))
        except ViolationError as error:
            failures.append(Failure(seed, str(error), "\n".join(getattr(error, "__notes__", ()))))
    return Block(len(seeds), counts, failures, time.process_time() - began)


if __name__ == "__main__":
    sys.exit(main())
