"""The queries by which a captured table is read: whole, by one key, by the keys in a range of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.capture.identifiers import LOG, quoted
from schemas.values import InvalidText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc.capture.table import KeyColumn, Table
    from schemas.values import Value


def select_all(table: Table) -> str:
    """Give all rows in the order of the key's index."""
    return f"SELECT {_columns(table)} FROM {quoted(table.name)} AS t ORDER BY {_order(table)}"


def select_by_key(table: Table, key: Sequence[Value]) -> str:
    """Give the rows that SQL takes for equal to a key; the parameters are its values."""
    conditions = " AND ".join(
        f"{_compared(column)} {'IS' if value is None else '='} {_parameter(value)}"
        for column, value in zip(table.key, key, strict=True)
    )
    return f"SELECT {_columns(table)} FROM {quoted(table.name)} AS t WHERE {conditions}"


def select_touched(table: Table) -> str:
    """Give the current rows of keys touched in a range of the log; parameters: prev, high, the table's id.

    A result row is the table's columns (all NULL where there is no row), then the log's key, the highest
    change id of that key, its time, and 0 where the first touch in the range was an insert.

    The log's keys are grouped by type too: 1 and 1.0 are one group otherwise. Groups come sorted by key. The
    table's column stands on the left of each comparison, so that its affinity, collation and index are used.
    """
    numbers = range(1, len(table.key) + 1)
    keys = ", ".join(f"k{number}" for number in numbers)
    groups = ", ".join(
        _group(column, number, table) for number, column in zip(numbers, table.key, strict=True)
    )
    matches = " AND ".join(
        f"{_compared(column)} = l.k{number}" for number, column in zip(numbers, table.key, strict=True)
    )
    touched = (
        f"SELECT {keys}, max(change_id) AS newest, max(ts) AS ts, "
        f"min(change_id * 2 + (op <> 'c')) & 1 AS first FROM {LOG} "
        f"WHERE change_id > ? AND change_id <= ? AND tbl = ? GROUP BY {groups}"
    )
    log_columns = ", ".join(f"l.k{number}" for number in numbers)
    return (
        f"SELECT {_columns(table)}, {log_columns}, l.newest, l.ts, l.first "
        f"FROM ({touched}) AS l LEFT JOIN {quoted(table.name)} AS t ON {matches}"
    )


def _columns(table: Table) -> str:
    return ", ".join(f"t.{quoted(column.name)}" for column in table.columns)


def _order(table: Table) -> str:
    return ", ".join(_compared(column) for column in table.key)


def _compared(column: KeyColumn) -> str:
    # The index's collation, which need not be the column's.
    return f"t.{quoted(column.name)} COLLATE {column.collation}"


def _group(column: KeyColumn, number: int, table: Table) -> str:
    # Elsewhere no two values of different types are equal.
    if table.rowid_alias or column.affinity == "TEXT":
        return f"k{number}"
    return f"k{number}, typeof(k{number})"


def _parameter(value: Value) -> str:
    # The plus takes away the cast's affinity, which would otherwise be applied to the column.
    return "+CAST(? AS TEXT)" if isinstance(value, InvalidText) else "?"
