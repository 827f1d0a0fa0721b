"""The log's rows as they stand: for people who ask what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from cdc.identifiers import LOG
from schemas import encode_key, encode_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdc.source import Row

LOG_ROWS_SQL: Final = f"SELECT * FROM {LOG} WHERE change_id > ? ORDER BY change_id LIMIT ?"
"""The rows above an id, at most so many, unless below 0."""


class LogRow(msgspec.Struct, frozen=True):
    """A row of the log as it stands: ``table`` is None where it speaks of none, ``key`` is empty then."""

    change_id: int
    table: str | None
    op: str
    ts_ms: int
    nonce: int
    key: bytes
    key_values: bytes


class LogRowEncoder:
    """Turns parts of pages of `LOG_ROWS_SQL` into `LogRow`s.

    Args:
        names: of tables, by their id in the log.
        widths: the number of key columns of those that are captured, by the same.
    """

    def __init__(self, names: Mapping[int, str], widths: Mapping[int, int]) -> None:
        self._names = names
        self._widths = widths

    def __call__(self, rows: list[Row]) -> tuple[list[LogRow], int]:
        """Encode a part of a page; its size does not count."""
        return [self._row(row) for row in rows], 0

    def _row(self, row: Row) -> LogRow:
        change_id, table_id, op, ts_ms, nonce, *keys = row
        key = tuple(keys[: self._widths.get(table_id, 0)]) if op in "cud" else ()
        name = self._names.get(table_id)
        return LogRow(change_id, name, op, ts_ms, nonce, encode_key(key), encode_values(key))
