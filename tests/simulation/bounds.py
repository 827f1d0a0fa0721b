"""Bounded tables at the simulated source: their queries answered, and what nodes have to hold.

The two are written apart from each other and from the shipped code: queries by their kind, as SQL would
answer them, and what nodes hold by the rule that users are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cdc.capture.bounded import Following, Newest, Touched, TouchedNewest, Whole
from cdc.capture.table import Table  # noqa: TC001 -- msgspec resolves annotations at run time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdc.capture.bounded import Query
    from tests.simulation.source import Contents, Rows


class Limit(msgspec.Struct, frozen=True):
    """Asks for the value and the key of the oldest row that is kept."""

    table: Table


def answer(contents: Contents, query: Query | Limit) -> list[tuple[Any, ...]]:
    """The rows of a query, all columns."""
    if isinstance(query, Limit):
        keep, name = query.table.settings.keep or 0, query.table.settings.keep_by or ""
        oldest = _ranked(contents, query.table)[keep - 1 : keep]
        rows = contents.tables[query.table.name]
        return [(rows[key][_at(contents, query.table, name)], key) for key in oldest]
    table = query.newest.table if isinstance(query, TouchedNewest) else query.table
    rows = contents.tables[table.name]
    return [rows[key] for key in sorted(_keys(contents, query) & rows.keys())]


def _keys(contents: Contents, query: Query) -> set[int]:
    match query:
        case Whole():
            return set(contents.tables[query.table.name])
        case Newest():
            return set(_ranked(contents, query.table)[query.skip :][: query.rows])
        case Touched():
            rows = (row for row in contents.log if query.prev < row.change_id <= query.high)
            return {row.k1 for row in rows if row.tbl == query.table_id and row.k1 is not None}
        case TouchedNewest():
            return _keys(contents, query.newest) & _keys(contents, query.touched)
        case Following():
            parents = set().union(*(_keys(contents, parent) for parent in query.parents))
            at = _at(contents, query.table, query.column)
            return {key for key, row in contents.tables[query.table.name].items() if row[at] in parents}


def _ranked(contents: Contents, table: Table) -> list[int]:
    at = _at(contents, table, table.settings.keep_by or "")
    rows = contents.tables[table.name]
    return sorted(rows, key=lambda key: (rows[key][at], key), reverse=True)


def _at(contents: Contents, table: Table, column: str) -> int:
    return [one.name for one in contents.schema[table.name].columns].index(column)


def held(contents: Contents, published: Mapping[str, Table], name: str) -> Rows:
    """The rows of a table that a node at this moment has to hold."""
    rows, table = contents.tables[name], published[name]
    names = [column.name for column in contents.schema[name].columns]
    if table.settings.keep is not None:
        by = names.index(table.settings.keep_by or "")
        newest = sorted(((row[by], key) for key, row in rows.items()), reverse=True)
        return {key: rows[key] for _, key in newest[: table.settings.keep]}
    if table.settings.follow is not None:
        of = names.index(table.settings.follow.column)
        parents = [held(contents, published, one) for one in table.settings.follow.tables if one in published]
        return {key: row for key, row in rows.items() if any(row[of] in parent for parent in parents)}
    return rows
