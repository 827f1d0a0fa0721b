"""What pollers are configured to publish: operators change it, and each life of a poller keeps its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cdc.capture.bounding import bounded
from cdc.capture.mask import masked, settings_digest
from cdc.capture.table import Selection
from cdc.table_settings import TableSettings
from schemas.definition import Follow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdc.capture.table import Table


class Settings(NamedTuple):
    """One configuration: tables that are published (None: all), columns that are not, what nodes hold."""

    tables: tuple[str, ...] | None = None
    exclude: tuple[tuple[str, str], ...] = ()
    bounds: tuple[tuple[str, TableSettings], ...] = ()

    @property
    def digest(self) -> int:
        """What stands in events and checkpoints."""
        return settings_digest(Selection(self.tables, {}, self._by_table()))

    def shown(self, schema: Mapping[str, Table]) -> dict[str, Table]:
        """The tables as they are published."""
        by_table = self._by_table()
        shown = {
            name: masked(table, by_table[name], None, name) if name in by_table else table
            for name, table in sorted(schema.items())
            if self.tables is None or name in self.tables
        }
        return bounded(shown, None) if self.bounds else shown

    def _by_table(self) -> dict[str, TableSettings]:
        excluded = {table: TableSettings(exclude=(column,)) for table, column in self.exclude}
        return excluded | dict(self.bounds)


SETTINGS = (
    Settings(),
    Settings(exclude=(("a", "c1"),)),
    Settings(exclude=(("a", "c2"), ("b", "c1"))),
    Settings(tables=("a",)),
)
_FOLLOWING = ("a", TableSettings(follow=Follow(("b",), "c2")))
BOUNDED = (
    Settings(bounds=(("b", TableSettings(keep=2, keep_by="c1")), _FOLLOWING)),
    Settings(bounds=(("b", TableSettings(keep=3, keep_by="c1")), _FOLLOWING)),
    Settings(bounds=(("b", TableSettings(keep=1, keep_by="c2")), _FOLLOWING)),
    Settings(bounds=(_FOLLOWING,)),
)
"""Those by which nodes hold a part of the rows."""

BY_DIGEST = {one.digest: one for one in (*SETTINGS, *BOUNDED)}


def project(row: tuple[Any, ...], whole: Table, shown: Table) -> tuple[Any, ...]:
    """A row's published cells."""
    if shown is whole or len(shown.columns) == len(whole.columns):
        return row
    names = {column.name for column in shown.columns}
    return tuple(cell for cell, column in zip(row, whole.columns, strict=True) if column.name in names)
