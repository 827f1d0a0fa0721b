"""Makes sense of ``keep`` and ``follow``: columns and tables as the source names them, or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cdc.config_values import join
from cdc.identifiers import folded
from cdc.table_settings import check_cycles
from schemas.definition import Follow
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cdc.capture.table import Table

_CORRECT = "correct it in the configuration"


def bounded(tables: Mapping[str, Table], optional: Collection[str] | None) -> dict[str, Table]:
    """Give the captured tables with the names that their settings mean.

    Args:
        tables: all captured tables.
        optional: folded names of those that may be followed though they are not captured: they have no rows
            to follow. None for all (when one was dropped meanwhile).

    Raises:
        UsageError: a setting does not fit; its path is named.
    """
    resolved = {name: _resolved(table, tables, optional) for name, table in tables.items()}
    check_cycles({name: table.settings.follow for name, table in resolved.items() if table.settings.follow})
    return resolved


def _resolved(table: Table, tables: Mapping[str, Table], optional: Collection[str] | None) -> Table:
    settings, path = table.settings, join("tables", table.name)
    if settings.keep_by is not None:
        settings = replace(settings, keep_by=_column(table, settings.keep_by, f"{path}.keep_by"))
    if settings.follow is not None:
        column = _column(table, settings.follow.column, f"{path}.follow.column")
        parents = _parents(settings.follow.tables, tables, f"{path}.follow.table", optional)
        settings = replace(settings, follow=Follow(parents, column))
    return table if settings is table.settings else replace(table, settings=settings)


def _column(table: Table, name: str, path: str) -> str:
    for column in table.columns:
        if folded(column.name) == folded(name):
            return column.name
    raise UsageError(f'{path} names "{name}", which table "{table.name}" does not have', _CORRECT)


def _parents(
    names: tuple[str, ...], tables: Mapping[str, Table], path: str, optional: Collection[str] | None
) -> tuple[str, ...]:
    captured = {folded(name): table for name, table in tables.items()}
    parents: list[str] = []
    for name in names:
        parent = captured.get(folded(name))
        if parent is None:
            if optional is not None and folded(name) not in optional:
                raise UsageError(f'{path} names "{name}", which is not captured', _CORRECT)
            parents.append(name)
            continue
        if len(parent.key) != 1:
            raise UsageError(
                f'{path} names "{name}", whose key has several columns',
                "follow a table with a key of one column",
            )
        parents.append(parent.name)
    return tuple(dict.fromkeys(parents))
