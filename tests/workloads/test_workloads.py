"""Random workloads of every kind: the cache equals the database after every poll."""

from __future__ import annotations

import logging

import pytest
import structlog

from tests.workloads.workload import run_workload

SEEDS = 2_000
_PART = 250


@pytest.mark.parametrize("first", range(0, SEEDS, _PART))
def test_a_cache_equals_the_database_after_every_poll(first: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        for seed in range(first, first + _PART):
            try:
                run_workload(seed)
            except Exception as error:
                error.add_note(f"see its SQL: python -m tests.workloads --seed {seed}")
                raise
    finally:
        structlog.reset_defaults()
