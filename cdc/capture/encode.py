"""Turns parts of pages into changes, on the source's thread: the hot path of reading a source."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from schemas import Op, RowEncoder, encode_key, encode_values
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdc.capture.table import Table
    from cdc.source import Row
    from schemas.values import Value

Change = tuple[str, str, bytes, bytes, bytes | None, int, int]
"""(op, table, key by `encode_key`, key by `encode_values`, row by `RowEncoder` or None, change id, ts_ms).

A tuple for speed. Ops: c, u, d, r, q (no row: it cannot be published), t (the row is the encoded
`TableDefinition`, None when the table leaves; the key is empty)."""

Page = list[Change]

_NO_VALUES = b"\xc0"


def truncation(table: str, definition: bytes | None, change_id: int, ts_ms: int) -> Change:
    """Say that a table is read anew from here, or leaves."""
    return (Op.TRUNCATE, table, b"", _NO_VALUES, definition, change_id, ts_ms)


class ReadEncoder:
    """Encodes the rows of `queries.select_all`: op r, or q where the key cannot be published.

    Args:
        table: whose rows they are.
        change_id: what they are stamped with.
        ts_ms: the same.
        refuse_duplicates: several rows with one key are an error; otherwise they become one op q.
    """

    def __init__(self, table: Table, change_id: int, ts_ms: int, *, refuse_duplicates: bool = False) -> None:
        self._table = table
        self._change_id = change_id
        self._ts_ms = ts_ms
        self._refuse_duplicates = refuse_duplicates
        self._key_of = _key_getter(table)
        self._encode_row = _row_encoder(tuple([column.name for column in table.columns])).encode
        self._previous: bytes | None = None

    def __call__(self, rows: list[Row]) -> tuple[list[Change], int]:
        """Encode a part of a page."""
        if self._table.hash_key is not None:
            rows = _hashed(rows, self._table.hashed, self._table.hash_key.digest)
        name, change_id, ts_ms = self._table.name, self._change_id, self._ts_ms
        key_of, encode_row = self._key_of, self._encode_row
        keys = list(map(key_of, rows))
        changes: list[Change] = [
            (Op.READ, name, encode_key(key), encode_values(key), encode_row(row), change_id, ts_ms)
            for key, row in zip(keys, rows, strict=True)
        ]
        if not self._table.rowid_alias:
            for index, key in enumerate(keys):
                if None in key:
                    changes[index] = _quarantined(changes[index])
        if not self._table.unique:
            self._check_duplicates(changes)
        return changes, _size_bytes(changes)

    def _check_duplicates(self, changes: list[Change]) -> None:
        for index, change in enumerate(changes):
            if change[2] == self._previous and change[0] != Op.QUARANTINED:
                if self._refuse_duplicates:
                    names = ", ".join(self._table.key_names)
                    raise UsageError(
                        f'table "{self._table.name}" has several rows with the same ({names})',
                        "give key_columns that tell its rows apart",
                    )
                changes[index] = _quarantined(change)
            self._previous = change[2]


class TouchedEncoder:
    """Encodes the rows of `queries.select_touched`: ops c, u, d, q.

    A row joins the log's key with the stored row that SQL takes for the same; compared as bytes they can
    differ. The stored key's state is then an upsert of it, and the log's key is gone.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._width = len(table.columns)
        self._end = self._width + len(table.key)
        self._stored_key_of = _key_getter(table)
        self._encode_row = _row_encoder(tuple([column.name for column in table.columns])).encode
        # The log's group that the row before was of; only several rows of one key have the same twice.
        self._previous: bytes | None = None
        # The upsert of the stored key of the row before, and where it stands in this part.
        self._upserted: bytes | None = None
        self._upsert_at = 0

    def __call__(self, rows: list[Row]) -> tuple[list[Change], int]:
        """Encode a part of a page."""
        if self._table.hash_key is not None:
            rows = _hashed(rows, self._table.hashed, self._table.hash_key.digest)
        changes: list[Change] = []
        self._upserted = None
        if self._table.unique:
            self._encode_sound(rows, changes)
        else:
            for row in rows:
                self._encode_any(row, changes)
        return changes, _size_bytes(changes)

    def _encode_sound(self, rows: list[Row], changes: list[Change]) -> None:
        """Encode rows whose stored key is the log's; leave the few others to `_encode_any`."""
        name, width, end, exact = self._table.name, self._width, self._end, self._table.exact
        stored_key_of, encode_row, append = self._stored_key_of, self._encode_row, changes.append
        for row in rows:
            key = row[width:end]
            stored = stored_key_of(row)
            # Equal values have the same bytes, but for numbers: 1 and 1.0, 0.0 and -0.0.
            if stored == key and None not in key and (exact or float not in map(type, key + stored)):
                encoded = encode_key(key)
                if encoded != self._upserted:
                    append(
                        (
                            Op.UPDATE if row[end + 2] else Op.CREATE,
                            name,
                            encoded,
                            encode_values(key),
                            encode_row(row[:width]),
                            row[end],
                            row[end + 1],
                        )
                    )
                    continue
            self._encode_any(row, changes)

    def _encode_any(self, row: Row, changes: list[Change]) -> None:
        key = row[self._width : self._end]
        newest, ts_ms, updated, null_key_there = row[self._end :]
        if None in key:
            op = Op.QUARANTINED if null_key_there else Op.DELETE
            changes += [self._without_row(op, same, newest, ts_ms) for same in _same_in_groups(key)]
            return
        encoded = encode_key(key)
        if not self._table.unique and encoded == self._previous:
            changes.append(self._without_row(Op.QUARANTINED, key, newest, ts_ms))
            return
        self._previous = encoded
        stored = self._stored_key_of(row)
        there = None if None in stored else encode_key(stored)
        if there is not None:
            op = Op.UPDATE if updated or encoded != there else Op.CREATE
            self._upsert(changes, op, there, stored, row, own=encoded == there)
        if encoded == there and 0 not in key:
            return
        deletes = [self._without_row(Op.DELETE, gone, newest, ts_ms) for gone in _same_in_groups(key)]
        changes += [change for change in deletes if change[2] != there]

    def _without_row(self, op: str, key: tuple[Any, ...], change_id: int, ts_ms: int) -> Change:
        return (op, self._table.name, encode_key(key), encode_values(key), None, change_id, ts_ms)

    def _upsert(
        self, changes: list[Change], op: str, key: bytes, values: tuple[Any, ...], row: Row, *, own: bool
    ) -> None:
        """Say what is stored; once, when several keys of the log led to the same row.

        They stand next to each other; where a part of a page ends between them, the same is said twice.
        """
        newest, ts_ms = row[self._end : self._end + 2]
        if changes and changes[-1][2] == key:
            self._upserted, self._upsert_at = key, len(changes) - 1
        if key == self._upserted:
            before = changes[self._upsert_at]
            op = op if own else before[0]
            changes[self._upsert_at] = (op, *before[1:5], max(before[5], newest), max(before[6], ts_ms))
            return
        self._upserted, self._upsert_at = key, len(changes)
        image = self._encode_row(row[: self._width])
        changes.append((op, self._table.name, key, encode_values(values), image, newest, ts_ms))


def _hashed(rows: list[Row], positions: tuple[int, ...], digest: Callable[[Value], str | None]) -> list[Row]:
    """Replace the values of hashed columns; those of the log stand behind the table's own."""
    hashed: list[Row] = []
    for row in rows:
        cells = list(row)
        for position in positions:
            cells[position] = digest(cells[position])
        hashed.append(tuple(cells))
    return hashed


def _quarantined(change: Change) -> Change:
    return (Op.QUARANTINED, *change[1:4], None, *change[5:])


def _same_in_groups(key: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Give every key that the log's GROUP BY takes for this one: 0.0 and -0.0 are one group."""
    if float not in map(type, key):
        return [key]
    return list(product(*[(0.0, -0.0) if type(value) is float and value == 0 else (value,) for value in key]))


# To make one takes as long as to encode dozens of rows, which is more than an ordinary poll finds.
@lru_cache(maxsize=256)
def _row_encoder(columns: tuple[str, ...]) -> RowEncoder:
    return RowEncoder(columns)


def _key_getter(table: Table) -> Callable[[Row], tuple[Any, ...]]:
    positions = [column.position for column in table.key]
    if len(positions) == 1:
        (position,) = positions
        return itemgetter(slice(position, position + 1))
    return itemgetter(*positions)


def _size_bytes(changes: list[Change]) -> int:
    return sum([len(change[4] or b"") for change in changes])
