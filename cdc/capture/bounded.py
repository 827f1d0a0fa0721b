"""Deciding which rows of bounded tables a group, or a load, has to carry. Pure: queries as data.

A reader holds the newest rows of a table with ``keep``, and of one that follows others the rows that belong
to rows it holds. Of n touched keys some may have left the newest rows; then as many rows that nobody touched
have come in. They are among the ranks keep-n+1..keep, which the group carries, as it does the rows that
follow what it carries. It may carry more than is needed; readers let go of what is too much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cdc.capture.table import Table  # noqa: TC001 -- msgspec resolves annotations at run time
from schemas.cells import cell_reader
from schemas.event import Op
from schemas.order import place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cdc.capture.encode import Change


class Whole(msgspec.Struct, frozen=True):
    """Every row of a table."""

    table: Table


class Newest(msgspec.Struct, frozen=True):
    """Rows by their rank from the newest: ``rows`` of them, those before ``skip`` left out."""

    table: Table
    rows: int
    skip: int = 0


class Touched(msgspec.Struct, frozen=True):
    """The keys of a table in a range of the log, whether or not there is a row; ``table_id`` is the log's."""

    table: Table
    table_id: int
    prev: int
    high: int


class TouchedNewest(msgspec.Struct, frozen=True):
    """Rows that were touched and are among the newest."""

    newest: Newest
    touched: Touched


class Following(msgspec.Struct, frozen=True):
    """Rows of a table that belong to rows of others."""

    table: Table
    column: str
    parents: tuple[Query, ...]


Query = Whole | Newest | Touched | TouchedNewest | Following
"""Which rows of one table; `Touched` stands for keys only."""


def table_of(query: Query) -> Table:
    """Give the table whose rows or keys a query is about."""
    return query.newest.table if isinstance(query, TouchedNewest) else query.table


def cached(table: Table, tables: Mapping[str, Table]) -> Query:
    """Say which rows of a table a reader holds."""
    settings = table.settings
    if settings.keep is not None:
        return Newest(table, settings.keep)
    if settings.follow is not None:
        parents = tuple(cached(tables[name], tables) for name in settings.follow.tables if name in tables)
        return Following(table, settings.follow.column, parents)
    return Whole(table)


def parents_first(tables: Mapping[str, Table]) -> list[Table]:
    """Give the tables that follow others, each behind those that it follows."""
    left = {name: table for name, table in tables.items() if table.settings.follow is not None}
    order: list[Table] = []
    while left:
        ready = {
            name: table
            for name, table in left.items()
            if table.settings.follow is not None and not set(table.settings.follow.tables) & left.keys()
        }
        # Cycles are refused before anything is read.
        ready = ready or left
        order += ready.values()
        left = {name: table for name, table in left.items() if name not in ready}
    return order


class Refill:
    """Counts, of the touched rows of one table with ``keep``, those that are not among its newest.

    Args:
        table: the table.
        limit: the place (`schemas.order.place`) of its oldest row that is kept; None: all rows are.
    """

    def __init__(self, table: Table, limit: bytes | None) -> None:
        self._table = table
        self._limit = limit
        self._touched = 0
        self._outside = 0
        self._cell = cell_reader(table.settings.keep_by or "")

    def see(self, page: list[Change]) -> None:
        """Take note of touched rows."""
        self._touched += len(page)
        for op, _, key, _, row, _, _ in page:
            gone = row is None or op == Op.DELETE
            if gone or (self._limit is not None and place(self._cell(row or b""), key) < self._limit):
                self._outside += 1

    def query(self) -> Newest | None:
        """Say which rows may have come in that nobody touched; None: none can have."""
        keep = self._table.settings.keep or 0
        rows = min(self._touched, keep)
        # Whatever is outside now may have been inside, and left room.
        return Newest(self._table, rows, keep - rows) if self._outside and rows else None


class Carried:
    """What a group carries so far, by table: what followers have to be carried with.

    Args:
        tables: all captured tables.
    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self._queries: dict[str, list[Query]] = {}
        self._whole: set[str] = set()

    def whole(self, table: Table) -> Query:
        """Note that a table is read anew, as far as readers hold it; say which rows."""
        self._whole.add(table.name)
        query = cached(table, self._tables)
        self._queries[table.name] = [query]
        return query

    def touched(self, touched: Touched, refill: Newest | None = None) -> None:
        """Note that a table's touched rows are carried, and those that take the place of others."""
        table = touched.table
        queries = self._queries.setdefault(table.name, [])
        if table.settings.keep is not None:
            queries.append(TouchedNewest(Newest(table, table.settings.keep), touched))
        else:
            queries.append(touched)
        if refill is not None:
            queries.append(refill)

    def followers(self) -> Iterator[Following]:
        """Say which rows follow what is carried, table by table, those that others follow first."""
        for table in parents_first(self._tables):
            follow = table.settings.follow
            if follow is None or table.name in self._whole:
                continue
            parents = [query for name in follow.tables for query in self._queries.get(name, ())]
            if parents:
                query = Following(table, follow.column, tuple(parents))
                self._queries.setdefault(table.name, []).append(query)
                yield query
