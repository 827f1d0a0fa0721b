"""Turns parts of pages into changes, on the source's thread: the hot path of reading a source."""

from __future__ import annotations

from itertools import product
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from schemas.codec import RowEncoder, encode_values
from schemas.errors import UsageError
from schemas.event import Op
from schemas.keys import encode_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdc.capture.table import Table
    from cdc.source import Row

Change = tuple[str, str, bytes, bytes, bytes | None, int, int]
"""(op, table, key by `encode_key`, key by `encode_values`, row by `RowEncoder` or None, change id, ts_ms).

A tuple for speed. Ops: c, u, d, r, q (no row: it cannot be published), t (the row is the encoded
`TableDefinition`, None when the table leaves; the key is empty)."""

_KEY_OF_NONE = b"\xc0"


def truncation(table: str, definition: bytes | None, change_id: int, ts_ms: int) -> Change:
    """Say that a table is read anew from here, or leaves."""
    return (Op.TRUNCATE, table, b"", _KEY_OF_NONE, definition, change_id, ts_ms)


def encode_reads(table: Table, change_id: int, ts_ms: int) -> Any:
    """Make the encoder of `select_all`'s rows: op r, or q where the key holds NULL."""
    name = table.name
    key_of = _key_getter(table)
    encode_row = RowEncoder([column.name for column in table.columns]).encode
    previous: list[bytes] = [b""]

    def encode(rows: list[Row]) -> tuple[list[Change], int]:
        changes: list[Change] = []
        for row in rows:
            key = key_of(row)
            if None in key:
                changes.append(
                    (Op.QUARANTINED, name, encode_key(key), encode_values(key), None, change_id, ts_ms)
                )
            else:
                changes.append(
                    (Op.READ, name, encode_key(key), encode_values(key), encode_row(row), change_id, ts_ms)
                )
        if not table.unique:
            _refuse_duplicates(table, changes, previous)
        return changes, _size(changes)

    return encode


def encode_touched(table: Table) -> Any:
    """Make the encoder of `select_touched`'s rows: ops c, u, d, q."""
    width = len(table.columns)
    end = width + len(table.key)
    name = table.name
    stored_key_of = _key_getter(table)
    encode_row = RowEncoder([column.name for column in table.columns]).encode
    exact = table.rowid_alias or all(column.affinity == "TEXT" for column in table.key)
    previous: list[bytes] = [b""]

    def encode(rows: list[Row]) -> tuple[list[Change], int]:
        changes: list[Change] = []
        for row in rows:
            stored = stored_key_of(row)
            key = row[width:end]
            newest, ts_ms, first = row[end:]
            if stored == key and None not in key and (exact or float not in map(type, stored + key)):
                changes.append(
                    (
                        Op.UPDATE if first else Op.CREATE,
                        name,
                        encode_key(key),
                        encode_values(key),
                        encode_row(row[:width]),
                        newest,
                        ts_ms,
                    )
                )
                continue
            if None in key:
                changes.append(
                    (Op.QUARANTINED, name, encode_key(key), encode_values(key), None, newest, ts_ms)
                )
                continue
            there = None if None in stored else encode_key(stored)
            for gone in _same_in_groups(key):
                encoded = encode_key(gone)
                if encoded != there:
                    changes.append((Op.DELETE, name, encoded, encode_values(gone), None, newest, ts_ms))
            if there is not None:
                op = Op.UPDATE if first or encode_key(key) != there else Op.CREATE
                changes.append(
                    (op, name, there, encode_values(stored), encode_row(row[:width]), newest, ts_ms)
                )
        if not table.unique:
            changes = _quarantine_duplicates(changes, previous)
        return changes, _size(changes)

    return encode


def _same_in_groups(key: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Give every key that the log's GROUP BY takes for this one: 0.0 and -0.0 are one group."""
    return list(product(*[(0.0, -0.0) if type(value) is float and value == 0 else (value,) for value in key]))


def _refuse_duplicates(table: Table, changes: list[Change], previous: list[bytes]) -> None:
    for change in changes:
        if change[2] == previous[0]:
            raise UsageError(
                f'table "{table.name}" has several rows with one key in ({", ".join(table.key_names)})',
                "give key_columns that tell its rows apart",
            )
        previous[0] = change[2]


def _quarantine_duplicates(changes: list[Change], previous: list[bytes]) -> list[Change]:
    """Turn all but the first row of a key into op q, which removes what the first one set."""
    kept: list[Change] = []
    for change in changes:
        if change[2] == previous[0] and change[0] != Op.DELETE:
            kept.append((Op.QUARANTINED, change[1], change[2], change[3], None, change[5], change[6]))
        else:
            kept.append(change)
        previous[0] = change[2]
    return kept


def _key_getter(table: Table) -> Callable[[Row], tuple[Any, ...]]:
    positions = [column.position for column in table.key]
    if len(positions) == 1:
        (position,) = positions
        return lambda row: (row[position],)
    return itemgetter(*positions)


def _size(changes: list[Change]) -> int:
    return sum([len(change[4] or b"") for change in changes])
