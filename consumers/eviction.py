"""Deciding which rows of bounded tables leave the cache after a group. Pure: rows through a Protocol.

A table with ``keep`` has its newest rows, one with ``follow`` those that belong to a cached row.
What is too much leaves at the end of a group and in its transaction, never before: within a group the row
that makes room may come after the one that needs it. Rows beyond the limits that stay a little longer are
harmless, since every touched row is carried; rows that leave too early would be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers import limits
from consumers.indexes import Index, heads, keys_with, put_indexed
from schemas.cells import cell_reader
from schemas.errors import CacheCorruptError
from schemas.keys import encode_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from consumers.changes import Touched
    from consumers.indexes import Rows
    from schemas.definition import Follow, TableDefinition


class Bounds:
    """Which tables are bounded, and by which others.

    Args:
        definitions: all tables of the cache.
        indexes: their indexes.
    """

    def __init__(
        self, definitions: Mapping[str, TableDefinition], indexes: Mapping[str, tuple[Index, ...]]
    ) -> None:
        self.indexes = indexes
        self.keeps = {name: one for name, one in definitions.items() if one.keep is not None and one.keep_by}
        self.follows = {name: one.follow for name, one in definitions.items() if one.follow is not None}
        self.followers: dict[str, list[str]] = {}
        """By table: those that follow it."""
        for name, follow in self.follows.items():
            for parent in follow.tables:
                self.followers.setdefault(parent, []).append(name)
        self.order = _parents_first(self.follows)

    def __bool__(self) -> bool:
        return bool(self.keeps or self.follows)

    def order_of(self, table: str) -> Index:
        """The index that says which rows of a table are the newest."""
        return next(index for index in self.indexes[table] if index.ordered)

    def parent_of(self, table: str) -> Index:
        """The index that finds a table's rows by what they follow."""
        column = self.follows[table].column
        return next(index for index in self.indexes[table] if not index.ordered and index.column == column)


class Eviction:
    """What a transaction has touched so far, and what leaves because of it.

    Memory is bounded: where more was touched than is remembered, all rows are looked at.
    """

    def __init__(self) -> None:
        self._touched: set[str] = set()
        self._told: Touched | None = None
        self._lost: dict[str, set[bytes]] = {}
        """By parent table: keys of rows that may be gone."""
        self._placed: dict[str, set[bytes]] = {}
        """By follower table: the parents' keys of rows that were written."""
        self._sweep: set[str] = set()
        """Followers of which every row is looked at."""

    def truncated(self, table: str, bounds: Bounds) -> None:
        """Every row of a table is gone; those that come again are put."""
        self._touched.add(table)
        self._sweep.update(bounds.followers.get(table, ()))

    def put(self, table: str, ops: Iterable[tuple[bytes, bytes | None, int]], bounds: Bounds) -> None:
        """Rows of a table were written or deleted."""
        self._touched.add(table)
        if table in bounds.followers:
            self._lose(table, (key for key, row, _ in ops if row is None), bounds)
        if table in bounds.follows and table not in self._sweep:
            cell = cell_reader(bounds.follows[table].column)
            placed = self._placed.setdefault(table, set())
            placed.update(encode_key((cell(row),)) for _, row, _ in ops if row is not None)
            if len(placed) > limits.EVICTION_KEYS_MAX:
                self._look_at_all(table)

    def everything(self, bounds: Bounds) -> None:
        """Nothing is known of what was written: every bounded table is looked at."""
        self._touched.update(bounds.keeps)
        self._sweep.update(bounds.follows)

    def evict(self, rows: Rows, bounds: Bounds, touched: Touched | None = None) -> int:
        """Deletes what is too much, and tells ``touched`` its keys; returns how many rows.

        Raises:
            CacheCorruptError: an index does not agree with its table.
        """
        self._told = touched
        evicted = 0
        for table in sorted(self._touched & bounds.keeps.keys()):
            for keys in _surplus(rows, bounds, table):
                evicted += self._delete(rows, bounds, table, keys)
        for table in bounds.order:
            index = bounds.parent_of(table)
            for parents in self._suspects(rows, bounds, table):
                for head in _orphaned(rows, bounds.follows[table].tables, parents):
                    while keys := keys_with(rows, index, head):
                        evicted += self._delete(rows, bounds, table, keys)
        return evicted

    def _delete(self, rows: Rows, bounds: Bounds, table: str, keys: list[bytes]) -> int:
        before = rows.count(table)
        put_indexed(rows, table, [(key, None, 0) for key in keys], bounds.indexes[table])
        if rows.count(table) != before - len(keys):
            raise CacheCorruptError(
                f"an index of table {table} is not of the rows there are", "run: cdc rebuild"
            )
        if table in bounds.followers:
            self._lose(table, keys, bounds)
        if self._told is not None:
            self._told.add_keys(table, keys)
        return len(keys)

    def _lose(self, table: str, keys: Iterable[bytes], bounds: Bounds) -> None:
        lost = self._lost.setdefault(table, set())
        lost.update(keys)
        if len(lost) > limits.EVICTION_KEYS_MAX:
            lost.clear()
            for follower in bounds.followers[table]:
                self._look_at_all(follower)

    def _look_at_all(self, follower: str) -> None:
        self._sweep.add(follower)
        self._placed.pop(follower, None)

    def _suspects(self, rows: Rows, bounds: Bounds, table: str) -> Iterator[list[bytes]]:
        """Keys of parents, in pages, whose followers in this table may have to go."""
        if table in self._sweep:
            yield from heads(rows, bounds.parent_of(table))
            return
        suspects = set(self._placed.get(table, ()))
        for parent in bounds.follows[table].tables:
            suspects |= self._lost.get(parent, set())
        ordered = sorted(suspects)
        for at in range(0, len(ordered), limits.EVICTION_PAGE_KEYS):
            yield ordered[at : at + limits.EVICTION_PAGE_KEYS]


def _surplus(rows: Rows, bounds: Bounds, table: str) -> Iterator[list[bytes]]:
    """The keys of the oldest rows beyond those that are kept, in pages that are deleted one by one."""
    keep = bounds.keeps[table].keep or 0
    order = bounds.order_of(table).name
    while (surplus := rows.count(table) - keep) > 0:
        oldest = rows.scan(order, None, min(surplus, limits.EVICTION_PAGE_KEYS))
        if not oldest:
            raise CacheCorruptError(
                f"an index of table {table} lacks rows that there are", "run: cdc rebuild"
            )
        yield [key for _, key, _ in oldest]


def _orphaned(rows: Rows, parents: tuple[str, ...], keys: list[bytes]) -> list[bytes]:
    """Those of the keys of which no table has a row."""
    left = keys
    for parent in parents:
        if left:
            left = [key for key, row in zip(left, rows.get_many(parent, left), strict=True) if row is None]
    return left


def _parents_first(follows: Mapping[str, Follow]) -> list[str]:
    order: list[str] = []
    left = sorted(follows)
    while left:
        ready = [name for name in left if not set(follows[name].tables) & set(left)]
        # A cycle cannot be configured; should one come anyway, its tables come in any order.
        ready = ready or left
        order += ready
        left = [name for name in left if name not in ready]
    return order
