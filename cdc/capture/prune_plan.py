"""Deciding how far the log is pruned. Pure: no I/O, no clock.

Only a prefix goes, never the row a reader stands on (its nonce proves that the log is the one it knows),
never the newest row (ids are given on from it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cdc.capture import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc.capture.leases import Lease


class LogBounds(msgspec.Struct, frozen=True):
    """Where the log begins and ends, in one read transaction; times in Unix ms by the source's clock.

    ``oldest`` and ``newest`` are change ids, None where the log is empty; ``oldest_ms`` is when the
    oldest row was written.
    """

    epoch: int
    epoch_nonce: int
    pruned_to: int
    oldest: int | None
    newest: int | None
    oldest_ms: int | None
    now_ms: int

    @property
    def rows(self) -> int:
        """The log's length: its ids are dense."""
        return 0 if self.oldest is None or self.newest is None else self.newest - self.oldest + 1


class PrunePlan(msgspec.Struct, frozen=True):
    """Rows up to ``to`` go. ``held_by`` says what keeps the next one: `NEWEST`, `RETENTION` or `LEASE`."""

    to: int
    held_by: str
    lease: Lease | None = None


NEWEST = "newest row"
RETENTION = "retention"
LEASE = "lease"


def holds(lease: Lease, bounds: LogBounds) -> bool:
    """Say whether a lease holds rows: live, and of this life of the log.

    One below what is gone already holds all the rest: its reader may stand higher than it last said.
    """
    this_life = (lease.epoch, lease.epoch_nonce) == (bounds.epoch, bounds.epoch_nonce)
    return this_life and lease.is_live(bounds.now_ms)


def lowest_lease(leases: Sequence[Lease], bounds: LogBounds) -> Lease | None:
    """Give the lease that holds most of the log."""
    return min((one for one in leases if holds(one, bounds)), key=lambda one: one.change_id, default=None)


def ceiling(leases: Sequence[Lease], bounds: LogBounds) -> int:
    """Give the first id that stays whatever its age: the lowest lease, else the newest row."""
    lease = lowest_lease(leases, bounds)
    newest = bounds.newest or 0
    return newest if lease is None else min(newest, lease.change_id)


def plan_prune(leases: Sequence[Lease], bounds: LogBounds, first_young: int | None) -> PrunePlan:
    """Say which prefix of the log nobody needs.

    Args:
        leases: of all readers.
        bounds: where the log begins and ends.
        first_young: the first id that is younger than the retention; None where none is below `ceiling`.
    """
    stays, lease = ceiling(leases, bounds), lowest_lease(leases, bounds)
    if first_young is not None and first_young < stays:
        return PrunePlan(max(bounds.pruned_to, first_young - 1), RETENTION)
    to = max(bounds.pruned_to, stays - 1)
    if lease is not None and lease.change_id < (bounds.newest or 0):
        return PrunePlan(to, LEASE, lease)
    return PrunePlan(to, NEWEST)


def next_batch(to: int, bounds: LogBounds, rows: int) -> int | None:
    """Give the id up to which the next batch of ``rows`` goes; None where nothing up to ``to`` is left."""
    if bounds.oldest is None or bounds.oldest > to:
        return None
    return min(to, bounds.oldest + rows - 1)


def batch_rows(rows: int, seconds: float) -> int:
    """Say how many rows the next batch has, after one of ``rows`` that took so long."""
    if seconds > limits.PRUNE_BATCH_SECONDS:
        rows = max(limits.PRUNE_ROWS_MIN, rows // 2)
    elif seconds < limits.PRUNE_BATCH_SECONDS / 4:
        rows *= 2
    return min(limits.PRUNE_ROWS_MAX, rows)


def log_warning(leases: Sequence[Lease], bounds: LogBounds, retention_s: float) -> str | None:
    """Say that a log has grown too long or too old, and whose lease holds it; None where all is well."""
    age_s = 0.0 if bounds.oldest_ms is None else (bounds.now_ms - bounds.oldest_ms) / 1000
    too_old = age_s > max(limits.LOG_AGE_FACTOR * retention_s, limits.LOG_AGE_SECONDS_MIN)
    if bounds.rows <= 1 or not (too_old or bounds.rows > limits.LOG_ROWS_WARN):
        return None
    size = f"the change log has {bounds.rows:,} rows, the oldest of {age_s / 3600:.1f} h ago"
    lease = lowest_lease(leases, bounds)
    held = 0 if lease is None else (bounds.newest or 0) - lease.change_id
    if lease is None or held * 2 < bounds.rows:
        return f"{size}; nobody prunes it: run `cdc prune`, or keep `cdc poll` or `cdc run` running"
    silent_s = max(0.0, (bounds.now_ms - lease.renewed_ms) / 1000)
    days = limits.LEASE_SECONDS_MAX / 86_400
    return (
        f"{size}; {lease.kind} {lease.name} holds {held:,} of them, silent for {silent_s / 3600:.1f} h: "
        f"start it, or wait until its lease ends after {days:g} days of silence"
    )
