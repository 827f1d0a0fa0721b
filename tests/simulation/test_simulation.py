"""The shipped poller and nodes under every fault at once, driven by one seed; the wrong versions it finds."""

from __future__ import annotations

import gc
import itertools
import sys
from typing import TYPE_CHECKING

import pytest

from tests.simulation.checks import ViolationError
from tests.simulation.found import FOUND_AT
from tests.simulation.hunt import hunt
from tests.simulation.mutants import MUTANTS
from tests.simulation.scenario import run_seed
from tests.simulation.seams import simulated

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = 2000
_BLOCK = 500


@pytest.fixture(autouse=True)
def killed_processes_are_buried() -> Iterator[None]:
    """A process that was killed left coroutines in the middle of a line; Python complains when they go."""
    yield
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = hook


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, _BLOCK))
def test_every_commit_of_every_node_shows_the_source_and_all_arrive_when_faults_end(first: int) -> None:
    with simulated():
        for seed in range(first, first + _BLOCK):
            try:
                run_seed(seed)
            except ViolationError as error:
                notes = "\n".join(getattr(error, "__notes__", ()))
                pytest.fail(f"{notes}\n{error}\nreplay with: make simulate SEED={seed}", pytrace=False)


@pytest.mark.parametrize("seed", [1, 17, 42])
def test_a_seed_replays_exactly(seed: int) -> None:
    traces: list[list[str]] = [[], []]
    with simulated():
        for trace in traces:
            run_seed(seed, trace.append)
    differing = [pair for pair in itertools.zip_longest(*traces) if pair[0] != pair[1]]
    assert not differing
    assert len(traces[0]) > 20


def test_every_mutant_has_a_seed_that_finds_it() -> None:
    assert set(FOUND_AT) == set(MUTANTS)
    assert max(FOUND_AT.values()) < SEEDS


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_version_is_found(name: str) -> None:
    # It holds without the mistake, or the test of the first 2,000 seeds fails.
    with simulated():
        assert hunt(name, [FOUND_AT[name]]) is not None, f"no longer seen: {MUTANTS[name].__doc__}"
