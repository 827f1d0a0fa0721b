"""What pollers are configured to publish: operators change it, and each life of a poller keeps its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cdc.capture.mask import masked, settings_digest
from cdc.capture.table import Selection
from cdc.table_settings import TableSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdc.capture.table import Table


class Settings(NamedTuple):
    """One configuration: tables that are published (None: all), and columns that are not."""

    tables: tuple[str, ...] | None = None
    exclude: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> int:
        """What stands in events and checkpoints."""
        return settings_digest(Selection(self.tables, {}, self._by_table()))

    def shown(self, schema: Mapping[str, Table]) -> dict[str, Table]:
        """The tables as they are published."""
        by_table = self._by_table()
        return {
            name: masked(table, by_table[name], None, name) if name in by_table else table
            for name, table in sorted(schema.items())
            if self.tables is None or name in self.tables
        }

    def _by_table(self) -> dict[str, TableSettings]:
        return {table: TableSettings(exclude=(column,)) for table, column in self.exclude}


SETTINGS = (
    Settings(),
    Settings(exclude=(("a", "c1"),)),
    Settings(exclude=(("a", "c2"), ("b", "c1"))),
    Settings(tables=("a",)),
)
BY_DIGEST = {one.digest: one for one in SETTINGS}


def project(row: tuple[Any, ...], whole: Table, shown: Table) -> tuple[Any, ...]:
    """A row's published cells."""
    if shown is whole or len(shown.columns) == len(whole.columns):
        return row
    names = {column.name for column in shown.columns}
    return tuple(cell for cell, column in zip(row, whole.columns, strict=True) if column.name in names)
