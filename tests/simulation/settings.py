"""What pollers are configured to publish: operators change it, and each life of a poller keeps its own."""

from __future__ import annotations

import functools
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
        return _digest(self)

    def shown(self, schema: Mapping[str, Table]) -> dict[str, Table]:
        """The tables as they are published."""
        return dict(_shown(self, tuple(schema.values())))

    def by_table(self) -> dict[str, TableSettings]:
        """What is said of single tables."""
        excluded = {table: TableSettings(exclude=(column,)) for table, column in self.exclude}
        return excluded | dict(self.bounds)


@functools.cache
def _digest(settings: Settings) -> int:
    return settings_digest(Selection(settings.tables, {}, settings.by_table()))


@functools.cache
def _shown(settings: Settings, tables: tuple[Table, ...]) -> dict[str, Table]:
    by_table = settings.by_table()
    shown = {
        table.name: masked(table, by_table[table.name], None, table.name) if table.name in by_table else table
        for table in sorted(tables, key=lambda table: table.name)
        if settings.tables is None or table.name in settings.tables
    }
    return bounded(shown, None) if settings.bounds else shown


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
