"""Prunes the log: batch by batch, each a short write transaction that looks at the leases once more."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import msgspec

from cdc.capture import limits
from cdc.capture.ddl import NOW_MS
from cdc.capture.errors import CaptureStaleError
from cdc.capture.leases import Lease, lease_ms_max, read_leases
from cdc.capture.prune_plan import LogBounds, PrunePlan, batch_rows, ceiling, next_batch, plan_prune
from cdc.identifiers import LEASES, LOG, META
from cdc.source import Statement

if TYPE_CHECKING:
    from cdc.source import Client, Transaction


class Keeping(msgspec.Struct, frozen=True):
    """What the log holds and for whom, in one read transaction."""

    leases: list[Lease]
    bounds: LogBounds


class Pruned(msgspec.Struct, frozen=True):
    """What pruning did: rows deleted, where the log stands now, and what keeps the rest.

    ``done`` is False where the batches of one go were used up.
    """

    rows: int
    keeping: Keeping
    plan: PrunePlan
    done: bool


BOUNDS_SQL: Final = f"""
SELECT m.epoch, m.epoch_nonce, m.pruned_to, (SELECT min(change_id) FROM {LOG}),
       (SELECT max(change_id) FROM {LOG}), (SELECT ts FROM {LOG} ORDER BY change_id LIMIT 1), {NOW_MS}
FROM {META} AS m"""

# A scan, but only of what is about to go. A time far ahead was written by a clock that was wrong.
YOUNG_SQL: Final = f"""
SELECT change_id FROM {LOG} WHERE change_id < ? AND ts > ? AND ts <= ? ORDER BY change_id LIMIT 1"""

# The plan was made in another transaction: whatever a reader wrote since then counts.
ADVANCE_SQL: Final = f"""
UPDATE {META} SET pruned_to = ?
WHERE epoch = ? AND epoch_nonce = ? AND pruned_to < ? AND (SELECT max(change_id) FROM {LOG}) > ?
  AND NOT EXISTS (
    SELECT 1 FROM {LEASES} AS s
    WHERE s.epoch = {META}.epoch AND s.epoch_nonce = {META}.epoch_nonce
      AND s.change_id <= ?
      AND s.renewed_ms BETWEEN {NOW_MS} - ? AND {NOW_MS} + ?)"""

DELETE_SQL: Final = f"""
DELETE FROM {LOG}
WHERE change_id <= ? AND change_id <= (SELECT min(m.pruned_to, l.high - 1) FROM {META} AS m,
  (SELECT max(change_id) AS high FROM {LOG}) AS l)"""

EXPIRE_SQL: Final = f"DELETE FROM {LEASES} WHERE NOT renewed_ms BETWEEN {NOW_MS} - ? AND {NOW_MS} + ?"


async def read_keeping(transaction: Transaction) -> Keeping:
    """Read who holds what of the log.

    Raises:
        CaptureStaleError: what describes the log is gone (`Capture.install` heals it).
    """
    leases = await read_leases(transaction)
    rows = (await transaction.execute(BOUNDS_SQL)).rows
    if not rows:
        raise CaptureStaleError("what describes the change log is gone", "run `cdc install`")
    return Keeping(leases, LogBounds(*rows[0]))


async def prune(client: Client, keep_s: float, *, batches_max: int | None = None) -> Pruned:
    """Delete the rows that no reader needs and that are older than ``keep_s``.

    Safe to stop at any line, and to run twice at once: each batch moves ``pruned_to`` and deletes in one
    transaction, which does nothing if a lease has come to stand below meanwhile.

    Args:
        client: the source.
        keep_s: the retention.
        batches_max: how many batches (see `prune_plan.batch_rows`) at most; None: to the end.
    """
    rows = batches = vain = 0
    seconds = 0.0
    size = min(limits.PRUNE_ROWS_FIRST, limits.PRUNE_ROWS_MAX)
    end: int | None = None
    while True:
        keeping, plan = await look(client, keep_s)
        # What becomes old meanwhile is the next one's: under writes without end this would never end.
        end = plan.to if end is None else min(plan.to, end)
        upto = next_batch(end, keeping.bounds, size)
        if upto is None or batches == batches_max or vain == limits.PRUNE_VAIN_MAX:
            return Pruned(rows, keeping, plan, done=upto is None)
        if batches:
            # The application's turn.
            await asyncio.sleep(max(limits.PRUNE_PAUSE_SECONDS, seconds))
        began = time.monotonic()
        deleted = await _prune_to(client, keeping, upto)
        seconds = time.monotonic() - began
        size = batch_rows(size, seconds)
        rows += deleted
        batches += 1
        # None: a lease came in between, or another pruner was faster. The next look knows.
        vain = 0 if deleted else vain + 1


async def look(client: Client, keep_s: float) -> tuple[Keeping, PrunePlan]:
    """Read what the log holds, and decide what of it may go."""
    async with client.reading() as transaction:
        keeping = await read_keeping(transaction)
        bounds = keeping.bounds
        stays = ceiling(keeping.leases, bounds)
        young_ms = bounds.now_ms - int(keep_s * 1000)
        far_ms = bounds.now_ms + int(limits.LOG_FUTURE_SECONDS_MAX * 1000)
        young = (await transaction.execute(YOUNG_SQL, (stays, young_ms, far_ms))).rows
        return keeping, plan_prune(keeping.leases, bounds, young[0][0] if young else None)


async def _prune_to(client: Client, keeping: Keeping, upto: int) -> int:
    bounds, live_ms = keeping.bounds, lease_ms_max()
    statements = [
        Statement(ADVANCE_SQL, (upto, bounds.epoch, bounds.epoch_nonce, upto, upto, upto, live_ms, live_ms)),
        Statement(DELETE_SQL, (upto,)),
    ]
    if any(not lease.is_live(bounds.now_ms) for lease in keeping.leases):
        statements.append(Statement(EXPIRE_SQL, (live_ms, live_ms)))
    return (await client.batch(statements))[1].rows_affected
