"""The queries of `cdc.capture.bounded` as SQL.

The order of rows is that of `schemas.order.place`, the highest first: SQLite's of the values, and where they
are equal that of the encoded keys, in which all INTEGERs come before all REALs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from cdc.capture.bounded import Following, Newest, Touched, TouchedNewest, Whole, table_of
from cdc.identifiers import LOG, quoted

if TYPE_CHECKING:
    from cdc.capture.bounded import Query
    from cdc.capture.table import KeyColumn, Table

Sql = tuple[str, tuple[int, ...]]
"""A query and its parameters."""


def rows_of(query: Query) -> Sql:
    """Give the rows of a query: all published columns, in the order of the key's index."""
    table = table_of(query)
    columns = [f"t.{quoted(column.name)}" for column in table.columns]
    key_order = ", ".join(f"t.{quoted(column.name)} COLLATE {column.collation}" for column in table.key)
    match query:
        case Newest():
            return _sorted_by_key(query, columns)
        case Following():
            conditions, args = _conditions(query)
        case Whole():
            conditions, args = _published(table), ()
        case _:
            raise TypeError("rows are asked for by their rank, by what they follow, or all of them")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {', '.join(columns)} FROM {_from(table)}{where} ORDER BY {key_order}", args


def limit_of(table: Table) -> Sql:
    """Give the value and the key of the oldest row that is kept; no row where all are."""
    keep = table.settings.keep or 0
    columns = [_keep_by(table), *(f"t.{quoted(column.name)}" for column in table.key)]
    return _ranked(table, columns), (1, keep - 1)


def _sorted_by_key(query: Newest, columns: list[str]) -> Sql:
    table = query.table
    named = [f"{column} AS c{number}" for number, column in enumerate(columns)]
    names = ", ".join(f"c{number}" for number in range(len(columns)))
    key_order = ", ".join(f"c{column.position} COLLATE {column.collation}" for column in table.key)
    return f"SELECT {names} FROM ({_ranked(table, named)}) ORDER BY {key_order}", (query.rows, query.skip)


def _ranked(table: Table, columns: list[str]) -> str:
    # A row whose key holds NULL cannot be published, and takes nobody's place.
    conditions = _published(table)
    if not table.rowid_alias:
        # The plus keeps SQLite from walking the key's index for it, which finds nearly every row.
        conditions += [f"+t.{quoted(column.name)} IS NOT NULL" for column in table.key]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = [f"{_keep_by(table)} COLLATE BINARY DESC"]
    for column in table.key:
        order += _key_order(table, column)
    return (
        f"SELECT {', '.join(columns)} FROM {_from(table)}{where} ORDER BY {', '.join(order)} LIMIT ? OFFSET ?"
    )


def _key_order(table: Table, column: KeyColumn) -> list[str]:
    name = f"t.{quoted(column.name)}"
    if table.rowid_alias:
        return [f"{name} DESC"]
    if column.affinity == "TEXT":
        # No number is stored under it.
        return [f"{name} COLLATE BINARY DESC"]
    classes = f"CASE typeof({name}) WHEN 'integer' THEN 1 WHEN 'real' THEN 2 WHEN 'text' THEN 3 ELSE 4 END"
    return [f"{classes} DESC", f"{name} COLLATE BINARY DESC"]


def _keys_of(query: Query) -> Sql:
    """Give the keys of a query as one column k, of a table whose key is one column."""
    match query:
        case Newest(table=table):
            return _ranked(table, [f"{_key(table)} AS k"]), (query.rows, query.skip)
        case Touched():
            sql = f"SELECT k1 AS k FROM {LOG} WHERE change_id > ? AND change_id <= ? AND tbl = ?"
            return sql, (query.prev, query.high, query.table_id)
        case TouchedNewest():
            newest, newest_args = _keys_of(query.newest)
            touched, touched_args = _keys_of(query.touched)
            sql = f"SELECT k FROM ({newest}) WHERE k COLLATE BINARY IN ({touched})"
            return sql, (*newest_args, *touched_args)
        case Whole(table=table):
            conditions, args = _published(table), ()
        case Following(table=table):
            conditions, args = _conditions(query)
        case _:
            assert_never(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {_key(table)} AS k FROM {_from(table)}{where}", args


def _conditions(query: Following) -> tuple[list[str], tuple[int, ...]]:
    """Give the conditions that rows of a table belong to any of the parents."""
    column = next(column for column in query.table.columns if column.name == query.column)
    name = f"t.{quoted(column.name)} COLLATE BINARY"
    choices: list[str] = []
    args: tuple[int, ...] = ()
    for parent in query.parents:
        keys, keys_args = _keys_of(parent)
        table = table_of(parent)
        choice = f"{name} IN ({keys})"
        args += keys_args
        if column.affinity == "BLOB" or column.affinity != table.key[0].affinity:
            # SQL takes 1, 1.0 and, between columns of different types, '1' for equal; readers do not.
            choice = f"{choice} AND ({name}, typeof({name})) IN (SELECT k, typeof(k) FROM ({keys}))"
            args += keys_args
        choices.append(f"({choice})")
    return [*_published(query.table), f"({' OR '.join(choices) or '0'})"], args


def _published(table: Table) -> list[str]:
    return [table.where] if table.where else []


def _from(table: Table) -> str:
    return f"{quoted(table.name)} AS t"


def _keep_by(table: Table) -> str:
    return f"t.{quoted(table.settings.keep_by or '')}"


def _key(table: Table) -> str:
    return f"t.{quoted(table.key[0].name)}"
