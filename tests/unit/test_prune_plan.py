"""Deciding how far the log is pruned, and when it is warned of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture import limits
from cdc.capture.leases import Lease
from cdc.capture.prune_plan import LogBounds, batch_rows, ceiling, log_warning, next_batch, plan_prune

NOW = 2_000_000_000_000
DAY_MS = 86_400_000


def lease(name: str, at: int, *, silent_ms: int = 0, life: tuple[int, int] = (1, 7)) -> Lease:
    return Lease("cache", name, *life, at, NOW - silent_ms)


def bounds(**changes: Any) -> LogBounds:
    values = {"pruned_to": 10, "oldest": 11, "newest": 100, "oldest_ms": NOW - 1000}
    return LogBounds(epoch=1, epoch_nonce=7, now_ms=NOW, **(values | changes))


def test_a_lease_keeps_its_own_row_and_all_behind_it():
    plan = plan_prune([lease("a", 60), lease("b", 50)], bounds(), None)
    assert (plan.to, plan.held_by, plan.lease) == (49, "lease", lease("b", 50))


def test_the_retention_keeps_what_is_younger():
    plan = plan_prune([lease("a", 60)], bounds(), 30)
    assert (plan.to, plan.held_by, plan.lease) == (29, "retention", None)


def test_the_newest_row_stays_without_any_reader():
    plan = plan_prune([], bounds(), None)
    assert (plan.to, plan.held_by) == (99, "newest row")
    assert plan_prune([lease("a", 100)], bounds(), None).to == 99


def test_a_reader_silent_for_seven_days_holds_nothing_any_more():
    assert plan_prune([lease("a", 50, silent_ms=7 * DAY_MS)], bounds(), None).to == 49
    assert plan_prune([lease("a", 50, silent_ms=7 * DAY_MS + 1)], bounds(), None).to == 99


def test_a_lease_that_a_wrong_clock_dated_far_ahead_does_not_hold_for_ever():
    assert plan_prune([lease("a", 50, silent_ms=-3600_000)], bounds(), None).to == 49
    assert plan_prune([lease("a", 50, silent_ms=-365 * DAY_MS)], bounds(), None).to == 99


@pytest.mark.parametrize("life", [(2, 7), (0, 7), (1, 8)])
def test_a_lease_of_another_life_of_the_log_holds_nothing(life: tuple[int, int]):
    # After a backup was restored its leases are those of then; their readers load anew.
    assert plan_prune([lease("a", 50, life=life)], bounds(), None).to == 99


def test_a_lease_below_what_is_gone_holds_all_the_rest():
    # Its reader may stand higher than it said last.
    assert plan_prune([lease("a", 5)], bounds(), None).to == 10


def test_an_empty_log_is_left_alone():
    empty = bounds(oldest=None, newest=None, oldest_ms=None)
    assert next_batch(plan_prune([], empty, None).to, empty, 20) is None


def test_batches_are_bounded():
    plan = plan_prune([], bounds(), None)
    assert next_batch(plan.to, bounds(), 20) == 30
    assert next_batch(plan.to, bounds(oldest=95), 20) == 99
    assert next_batch(plan.to, bounds(oldest=100), 20) is None


def test_batches_that_take_long_become_small_and_grow_again():
    rows = limits.PRUNE_ROWS_MAX
    for _ in range(10):
        rows = batch_rows(rows, 2 * limits.PRUNE_BATCH_SECONDS)
    assert rows == limits.PRUNE_ROWS_MIN
    assert batch_rows(rows, limits.PRUNE_BATCH_SECONDS / 2) == rows
    for _ in range(10):
        rows = batch_rows(rows, 0.0)
    assert rows == limits.PRUNE_ROWS_MAX


@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(-9, 9), st.integers(0, 2)), max_size=5),
    st.integers(0, 99),
    st.none() | st.integers(1, 120),
)
def test_no_plan_crosses_a_live_lease_or_takes_young_rows_or_the_newest(
    held: list[tuple[int, int, int]], pruned_to: int, young: int | None
):
    leases = [lease("x", at, silent_ms=days * DAY_MS, life=(epoch, 7)) for at, days, epoch in held]
    log = bounds(pruned_to=pruned_to, oldest=pruned_to + 1)
    plan = plan_prune(leases, log, young if young is None or young < ceiling(leases, log) else None)
    assert pruned_to <= plan.to < 100
    upto = next_batch(plan.to, log, limits.PRUNE_ROWS_MAX)
    if upto is not None:
        assert all(upto < at for at, days, epoch in held if abs(days) <= 7 and epoch == 1)
        assert young is None or young >= ceiling(leases, log) or upto < young


def test_a_long_log_is_warned_of_with_the_reader_that_holds_it():
    old = bounds(oldest_ms=NOW - 3 * DAY_MS)
    assert log_warning([lease("a", 99)], bounds(), 86_400) is None
    warning = log_warning([lease("b", 99), lease("far", 12, silent_ms=2 * DAY_MS)], old, 86_400)
    assert warning is not None
    assert "cache far holds 88" in warning
    assert "48.0 h" in warning
    assert "cdc prune" in (log_warning([lease("b", 99)], old, 86_400) or "")
    assert "cdc prune" in (log_warning([], bounds(newest=limits.LOG_ROWS_WARN + 20), 86_400) or "")
    assert log_warning([], bounds(oldest=100, oldest_ms=NOW - 9 * DAY_MS), 86_400) is None
