"""Reads and mints what the change log says of itself: epoch, nonces, where it ends, how long it is."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from cdc.capture.ddl import INSERT_CONTROL_ROW, NO_TABLE_ID, OP_EPOCH
from cdc.capture.errors import CaptureStaleError
from cdc.identifiers import LOG, META
from cdc.source import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdc.source import Row, Transaction
    from schemas.event import Head


class LogState(msgspec.Struct, frozen=True):
    """What the log says of itself in one read transaction.

    ``high`` is its highest change id, ``high_nonce`` that row's; ids up to ``pruned_to`` are gone.
    ``prev_nonce`` and ``exact_nonce`` are those of the rows asked for, None when there is no such row.
    """

    epoch: int
    epoch_nonce: int
    database_id: str
    high: int
    high_nonce: int
    pruned_to: int
    prev_nonce: int | None
    exact_nonce: int | None = None

    def continues(self, earlier: LogState) -> bool:
        """Whether this is the log that ended as ``earlier`` says; ``prev_nonce`` is that of its last row."""
        same_life = (self.epoch, self.epoch_nonce) == (earlier.epoch, earlier.epoch_nonce)
        return same_life and self.prev_nonce == earlier.high_nonce


class Backlog(msgspec.Struct, frozen=True):
    """The log's length and what of it a reader lacks.

    ``rows`` are those in the log, ``pending`` those above the reader's position; ``oldest_ms`` is when the
    first of these was written (Unix time by the source's clock), None where there is none.
    """

    rows: int
    pending: int
    oldest_ms: int | None


_STATE_SQL: Final = f"""
SELECT m.epoch, m.epoch_nonce, m.database_id, l.change_id, l.nonce, m.pruned_to,
       (SELECT nonce FROM {LOG} WHERE change_id = ?), (SELECT nonce FROM {LOG} WHERE change_id = ?)
FROM {META} AS m JOIN (SELECT change_id, nonce FROM {LOG} ORDER BY change_id DESC LIMIT 1) AS l"""

# Ids are dense: the ends tell the length, without a scan.
_BACKLOG_SQL: Final = f"""
SELECT (SELECT max(change_id) - min(change_id) + 1 FROM {LOG}),
       (SELECT max(0, max(change_id) - ?) FROM {LOG}),
       (SELECT ts FROM {LOG} WHERE change_id > ? ORDER BY change_id LIMIT 1)"""

_COUNT_SQL: Final = f"SELECT count(*) FROM {LOG} WHERE change_id > ? AND change_id <= ?"


async def read_state(transaction: Transaction, prev: int | None, exact: int | None = None) -> LogState:
    """Read the log's state, and the nonces of the rows ``prev`` and ``exact``.

    Raises:
        CaptureStaleError: the log is empty or its description is gone (`Capture.install` heals both).
    """
    return _state_of((await transaction.execute(_STATE_SQL, (prev, exact))).rows)


def _state_of(rows: list[Row]) -> LogState:
    if not rows:
        raise CaptureStaleError("the change log is empty", "run `cdc install`")
    return LogState(*rows[0])


def rows_of(head: Head) -> tuple[int, int | None]:
    """Say which rows of the log prove a head, for `read_state`: its own, and the newest that it holds."""
    return head.change_id, None if head.exact_nonce is None else head.exact_at


def has_exact_row(head: Head, state: LogState) -> bool:
    """Say whether the log, read with `rows_of`, still has the row that the head's rows may be as new as."""
    return head.exact_at <= state.high and head.exact_nonce in (None, state.exact_nonce)


async def read_backlog(transaction: Transaction, prev: int) -> Backlog:
    """Say how long the log is, and how far behind a reader at ``prev`` is."""
    return Backlog(*(await transaction.execute(_BACKLOG_SQL, (prev, prev))).rows[0])


async def has_rows(transaction: Transaction, rows: Iterable[tuple[int, int]]) -> bool:
    """Say whether all of these rows, given by change id and nonce, are in the log now.

    The log then holds the history that the last of them was written in, up to that row: no other one has its
    nonce, whatever was restored before or since.

    Raises:
        CaptureStaleError: the log is empty or its description is gone.
    """
    asked = list(rows)
    # All at once: it is the same moment everywhere.
    answers = await transaction.batch([Statement(_STATE_SQL, (change_id, None)) for change_id, _ in asked])
    states = [_state_of(answer.rows) for answer in answers]
    return all(state.prev_nonce == nonce for state, (_, nonce) in zip(states, asked, strict=True))


async def lacks_row(transaction: Transaction, head: Head) -> bool:
    """Say whether the log was restored to below ``head``, in the same life; what was pruned is not lost.

    Raises:
        CaptureStaleError: the log is empty or its description is gone.
    """
    state = await read_state(transaction, *rows_of(head))
    same_life = (state.epoch, state.epoch_nonce) == (head.epoch, head.epoch_nonce)
    there = state.prev_nonce == head.nonce and has_exact_row(head, state)
    return same_life and head.change_id > state.pruned_to and not there


async def mint(transaction: Transaction, epoch: int) -> None:
    """Begin an epoch in a write transaction; its first log row keeps the log from being empty."""
    await transaction.execute(f"UPDATE {META} SET epoch = ?, epoch_nonce = ?", (epoch, new_nonce()))
    await transaction.execute(INSERT_CONTROL_ROW, (NO_TABLE_ID, OP_EPOCH))


async def mint_unless_healthy(transaction: Transaction, above: int, seen: Head | None) -> bool:
    """Take the second look, under the write lock, and mint an epoch if it is still needed.

    Args:
        transaction: a write transaction.
        above: the highest epoch that any reader knows.
        seen: where the reader stands that found fault with the log; None to mint in any case.

    Returns:
        Whether one was minted: not when somebody else has done so meanwhile, or the log continues ``seen``.
    """
    state = await read_state(transaction, *(rows_of(seen) if seen else (None,)))
    if state.epoch > above:
        return False
    if seen is not None and await _continues(transaction, state, seen):
        return False
    await mint(transaction, max(state.epoch, above) + 1)
    return True


async def _continues(transaction: Transaction, state: LogState, seen: Head) -> bool:
    if (state.epoch, state.epoch_nonce) != (seen.epoch, seen.epoch_nonce):
        return False
    if seen.change_id <= state.pruned_to:
        # The reader is behind the log's beginning: it rebuilds itself, the log is not at fault.
        return True
    if state.prev_nonce != seen.nonce or not has_exact_row(seen, state):
        return False
    count = (await transaction.execute(_COUNT_SQL, (seen.change_id, state.high))).rows[0][0]
    return count == state.high - seen.change_id


def new_nonce() -> int:
    """Give a random 64-bit integer as SQLite stores them."""
    return secrets.randbits(64) - 2**63
