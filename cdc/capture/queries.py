"""The queries by which a captured table is read: whole, by one key, by the keys in a range of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.identifiers import LOG, quoted
from schemas.values import InvalidText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc.capture.table import KeyColumn, Table
    from schemas.values import Value


def select_all(table: Table) -> str:
    """Give all rows in the order of the key's index."""
    where = f" WHERE {table.where}" if table.where else ""
    return f"SELECT {_columns(table)} FROM {quoted(table.name)} AS t{where} ORDER BY {_order(table)}"


def select_some(table: Table, condition: str) -> str:
    """Give the first of the rows under a condition, in the order of the key's index; parameter: how many."""
    conditions = " AND ".join(filter(None, (condition, table.where)))
    where = f" WHERE {conditions}" if conditions else ""
    return f"SELECT {_columns(table)} FROM {_indexed(table)}{where} ORDER BY {_order(table)} LIMIT ?"


def steps_after(table: Table, key: Sequence[Value] | None) -> list[tuple[str, tuple[Value, ...]]]:
    """Give conditions on the rows that follow a key, with their parameters; taken one after the other.

    Each is one range of the key's index, which a single condition on several columns would not be where NULL
    is among them. Where keys are not unique the first begins with the key itself: it may have more rows.
    """
    if key is None:
        return [("", ())]
    steps: list[tuple[str, tuple[Value, ...]]] = []
    for length in range(len(table.key), 0, -1):
        parts = [
            f"{_compared(column)} IS {_parameter(value)}"
            for column, value in zip(table.key[: length - 1], key, strict=False)
        ]
        args = tuple(key[: length - 1])
        last, value = table.key[length - 1], key[length - 1]
        again = length == len(table.key) and not table.unique
        if value is not None:
            parts.append(f"{_compared(last)} {'>=' if again else '>'} {_parameter(value)}")
            args = (*args, value)
        elif not again:
            parts.append(f"{_compared(last)} IS NOT NULL")
        steps.append((" AND ".join(parts), args))
    return steps


def select_by_key(table: Table, key: Sequence[Value]) -> str:
    """Give the rows that SQL takes for equal to a key; the parameters are its values."""
    conditions = " AND ".join(
        f"{_compared(column)} {'IS' if value is None else '='} {_parameter(value)}"
        for column, value in zip(table.key, key, strict=True)
    )
    where = f" AND {table.where}" if table.where else ""
    return f"SELECT {_columns(table)} FROM {_indexed(table)} WHERE {conditions}{where}"


def select_touched(table: Table, *, ranged: bool = False) -> str:
    """Give the current rows of keys touched in a range of the log; parameters: prev, high, the table's id.

    A result row is the table's columns (all NULL where there is no row, or none that ``where`` holds for),
    then the log's key, the highest change id of that key, its time, 0 where the first touch in the range was
    an insert, and, for a key that holds NULL (which joins nothing), whether there are rows with it.

    Groups come in the order of the key's index, keys that SQL takes for the same next to each other.

    Args:
        table: whose rows.
        ranged: join a rowid by a range of one, see `scans`.
    """
    numbers = range(1, len(table.key) + 1)
    keys = ", ".join(f"k{number}" for number in numbers)
    touched = (
        f"SELECT {keys}, max(change_id) AS newest, max(ts) AS ts, "
        f"min((change_id << 1) + (op <> 'c')) & 1 AS updated FROM {LOG} "
        f"WHERE change_id > ? AND change_id <= ? AND tbl = ? GROUP BY {_groups(table)}"
    )
    log_keys = ", ".join(f"l.k{number}" for number in numbers)
    return (
        f"SELECT {_columns(table)}, {log_keys}, l.newest, l.ts, l.updated, {_null_key_there(table)} "
        f"FROM ({touched}) AS l LEFT JOIN {_indexed(table)} ON {_matches(table, ranged=ranged)}"
    )


def explained(table: Table) -> str:
    """Ask for the plan of `select_touched`, with its parameters."""
    return f"EXPLAIN QUERY PLAN {select_touched(table)}"


def scans(plan: Sequence[Sequence[object]]) -> bool:
    """Say whether a plan reads the whole table for every key of the log.

    SQLite does so by rowid when ANALYZE found the table with a single row, however long ago; then a range is
    taken for cheaper. By another index, INDEXED BY keeps it from doing so.
    """
    return any(str(line[3]).startswith("SCAN t") for line in plan)


def _columns(table: Table) -> str:
    return ", ".join(f"t.{quoted(column.name)}" for column in table.columns)


def _order(table: Table) -> str:
    return ", ".join(_compared(column) for column in table.key)


def _compared(column: KeyColumn) -> str:
    if column.native:
        return f"t.{quoted(column.name)}"
    # The index's collation, which need not be the column's.
    return f"t.{quoted(column.name)} COLLATE {column.collation}"


def _groups(table: Table) -> str:
    """Group the log's keys by what their bytes are, not by what SQL takes for the same.

    The one exception, 0.0 and -0.0, is dealt with where the groups are encoded.
    """
    keys = [f"k{number} COLLATE {column.collation}" for number, column in enumerate(table.key, 1)]
    if table.rowid_alias:
        return ", ".join(keys)
    for number, column in enumerate(table.key, 1):
        if column.collation != "BINARY":
            keys.append(f"k{number} COLLATE BINARY")
        # In a column of TEXT affinity no two values of different types are equal.
        if column.affinity != "TEXT":
            keys.append(f"typeof(k{number})")
    return ", ".join(keys)


def _indexed(table: Table) -> str:
    # Statistics of a table that was small once would have SQLite read all of it for every key.
    by_index = f" INDEXED BY {quoted(table.index)}" if table.index else ""
    return f"{quoted(table.name)} AS t{by_index}"


def _matches(table: Table, *, ranged: bool) -> str:
    """Join by the table's column on the left: its affinity, collation and index are used then."""
    where = [table.where] if table.where else []
    if ranged:
        return " AND ".join([f"t.{quoted(table.key[0].name)} BETWEEN l.k1 AND l.k1", *where])
    matches = [f"{_compared(column)} = l.k{number}" for number, column in enumerate(table.key, 1)] + where
    # Where nothing keeps keys apart, several rows may equal the log's key to SQL; only some have its bytes.
    return " AND ".join(matches if table.unique else matches + _same_bytes(table))


def _same_bytes(table: Table) -> list[str]:
    conditions: list[str] = []
    for number, column in enumerate(table.key, 1):
        conditions.append(f"t.{quoted(column.name)} COLLATE BINARY IS l.k{number}")
        conditions.append(f"typeof(t.{quoted(column.name)}) = typeof(l.k{number})")
    return conditions


def _null_key_there(table: Table) -> str:
    if table.rowid_alias:
        return "0"
    numbered = list(enumerate(table.key, 1))
    holds_null = " OR ".join(f"l.k{number} IS NULL" for number, _ in numbered)
    same = " AND ".join(
        [f"{_compared(column)} IS l.k{number}" for number, column in numbered]
        + _same_bytes(table)
        + ([table.where] if table.where else [])
    )
    return f"CASE WHEN {holds_null} THEN EXISTS (SELECT 1 FROM {_indexed(table)} WHERE {same}) END"


def _parameter(value: Value) -> str:
    # The plus takes away the cast's affinity, which would otherwise be applied to the column.
    return "+CAST(? AS TEXT)" if isinstance(value, InvalidText) else "?"
