"""Every limit of the log's upkeep, and of reading in short transactions, with its unit, in one place."""

from __future__ import annotations

UPKEEP_SECONDS = 10.0
"""How often, at most, a poller writes to the source for itself: its lease, a heartbeat row, pruning."""

LEASE_IDLE_SECONDS = 600.0
"""How often a lease is renewed by a reader that stays where it is."""

LEASE_SECONDS_MAX = 7 * 86_400.0
"""Silence after which a reader is no longer reckoned with: its lease holds no rows any more."""

LEASE_TRIES_MAX = 3
"""How often a lease is written before one load: more means that something else takes it away each time."""

HEARTBEAT_ROW_SECONDS = 30.0
"""How long a poller sees no change before it logs a row of its own, to see that it comes through."""

PRUNE_SECONDS = 60.0
"""How often `poll` and `run` prune."""

PRUNE_ROWS_MIN = 250
PRUNE_ROWS_FIRST = 500
PRUNE_ROWS_MAX = 2000
"""Rows deleted in one write transaction; how many depends on how long they take."""

PRUNE_BATCH_SECONDS = 0.015
"""How long such a transaction should last at most: the application waits for it."""

PRUNE_PAUSE_SECONDS = 0.03
"""The least pause between two of those, for the application: longer than SQLite's between two tries.

(sqlite3_busy_timeout waits 25 ms at most until it has waited for 103.)
"""

PRUNE_BATCHES_MAX = 400
"""Batches in one go of `poll` and `run`; the next go follows soon."""

PRUNE_VAIN_MAX = 10
"""Batches in a row that found nothing to delete, after which pruning leaves it for now."""

LOG_FUTURE_SECONDS_MAX = 86_400.0
"""A log row from further ahead was written by a clock that was wrong, and does not count as young."""

LOG_ROWS_WARN = 10_000_000
"""A longer log is warned of."""

LOG_AGE_FACTOR = 2.0
LOG_AGE_SECONDS_MIN = 3600.0
"""A log whose oldest row is older than that many retentions, and than that, is warned of."""

LOG_WARNING_SECONDS = 3600.0
"""How often the log's length is warned of."""

MOMENT_SECONDS = 0.02
"""How long a read transaction lasts before the next piece is read in another one.

In rollback-journal mode a commit of the application waits for it, and may wait twice as long: SQLite tries
again after pauses that grow. No piece is begun in its second half.
"""

SERVER_MOMENT_SECONDS = 2.0
"""The same at a server, where a read holds up nobody and each question takes a trip over the network.

A group is the exact state of one moment only if all of it is read in one: that takes some ten trips.
"""

MOVED_MAX = 30
"""How often in a row others may change a piece while it is read, before the source counts as locked."""

MOVED_SAME_MAX = 15
"""How often the same piece is read then, before a smaller one is: each time more of it comes at once."""

PIECE_ROWS_MIN = 50
PIECE_ROWS_FIRST = 500
PIECE_ROWS_MAX = 5_000
"""Rows, or rows of the log, that are read in one piece; how many depends on how long they take.

Fewer than the least only where they are large.
"""

PIECE_BYTES_MAX = 8 * 2**20
"""A piece is cut short beyond this size: it is held in memory until its transaction has ended."""

SURVEY_ROWS = 20_000
"""Rows of the log that are counted in one go."""

CATCH_UP_ROUNDS_MAX = 50
"""How often changes that were made during a load are read, before a load is begun anew."""

CATCH_UP_GROWTHS_MAX = 5
"""How often there may be more of them than the time before."""
