"""The one path of rows into a cache file: a write transaction that keeps indexes and bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.eviction import Bounds, Eviction
from consumers.indexes import all_indexes, build, put_indexed
from consumers.meta import Meta, definition_meta

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consumers import _redb
    from consumers.batch import Batch, Ops
    from consumers.changes import Touched
    from schemas.definition import TableDefinition


class Layout:
    """What follows from the tables' definitions: indexes and bounds. Never changed."""

    def __init__(self, definitions: Mapping[str, TableDefinition]) -> None:
        self.definitions = definitions
        self.indexes = all_indexes(definitions)
        self.bounds = Bounds(definitions, self.indexes)

    def is_plain(self, tables: Iterable[str]) -> bool:
        """Whether rows of these tables are just written: nothing else in the file depends on them."""
        bounds = self.bounds
        return not self.indexes or not any(
            name in self.indexes or name in bounds.followers for name in tables
        )


class Writing:
    """An open transaction: rows with their index entries, and what leaves at its end.

    Args:
        transaction: the open one; committing and aborting it stays with the caller.
        layout: of the file as it was committed last.
    """

    def __init__(self, transaction: _redb.WriteTransaction, layout: Layout) -> None:
        self.transaction = transaction
        self.layout = layout
        self._eviction = Eviction()

    def put(self, batch: Batch) -> None:
        """Writes a batch: tables that are read anew first, then rows."""
        if batch.truncated:
            self._truncate(batch.truncated)
        self._put_rows(batch.ops)

    def evict(self, touched: Touched | None = None, *, everything: bool = False) -> int:
        """Deletes what the bounds leave no room for, at the end of whole groups; returns how many rows.

        Args:
            touched: is told of their keys.
            everything: look at all rows, not only at what this transaction touched.
        """
        bounds = self.layout.bounds
        if not bounds:
            return 0
        if everything:
            self._eviction.everything(bounds)
        return self._eviction.evict(self.transaction, bounds, touched)

    def loaded(self, definitions: Iterable[TableDefinition]) -> None:
        """Makes the indexes of tables whose rows were written without, then lets go what is too much."""
        self.layout = Layout({definition.name: definition for definition in definitions})
        for indexes in self.layout.indexes.values():
            for index in indexes:
                build(self.transaction, index)
        self.evict(everything=True)

    def _truncate(self, truncated: Mapping[str, TableDefinition | None]) -> None:
        meta: Meta = {}
        before, definitions = self.layout, dict(self.layout.definitions)
        for table, definition in truncated.items():
            for index in before.indexes.get(table, ()):
                self.transaction.drop_table(index.name)
            if definition is None:
                self.transaction.drop_table(table)
                definitions.pop(table, None)
            else:
                self.transaction.truncate(table, definition.key_type)
                definitions[table] = definition
            meta |= definition_meta(table, definition)
        self.transaction.set_meta(meta)
        self.layout = Layout(dict(sorted(definitions.items())))
        for table in truncated:
            self._eviction.truncated(table, self.layout.bounds)

    def _put_rows(self, ops: Ops) -> None:
        layout = self.layout
        if layout.is_plain(ops):
            self.transaction.put(ops)
            return
        for table, operations in ops.items():
            indexes = layout.indexes.get(table)
            if indexes:
                put_indexed(self.transaction, table, operations, indexes)
            else:
                self.transaction.put({table: operations})
            if layout.bounds:
                self._eviction.put(table, operations, layout.bounds)
