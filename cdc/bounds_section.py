"""``keep``, ``keep_by`` and ``follow`` of ``[tables.NAME]``: which rows of a table are cached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from cdc import config_values as values
from cdc.identifiers import folded
from cdc.table_settings import check_cycles
from schemas.definition import Follow
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdc.table_settings import TableSettings

KEEP_MAX = 1_000_000_000
"""Rows of one table that can be asked for; more are a mistake."""

_FORM = '{ table = "TABLE", column = "COLUMN" }, where table may also be a list of tables'


def read_keep(value: object, path: str) -> int:
    """Read how many rows are cached."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= KEEP_MAX:
        raise values.wrong(path, f"a number of rows, 1 to {KEEP_MAX}")
    return value


def read_follow(value: object, path: str) -> Follow:
    """Read which rows of other tables a table's rows belong to."""
    if not isinstance(value, dict):
        raise values.wrong(path, _FORM)
    read = values.section(value, path, {"table": _tables, "column": values.text})
    for key in ("table", "column"):
        if key not in read:
            raise UsageError(f"{path}.{key} is missing", f"allowed: {_FORM}")
    return Follow(read["table"], read["column"])


def refuse_bad_bounds(settings: Mapping[str, TableSettings], listed: tuple[str, ...] | None) -> None:
    """Refuse what contradicts itself, whatever the source has.

    Args:
        settings: by table, as it was configured.
        listed: the tables that are captured; None for every ordinary one.

    Raises:
        UsageError: something does.
    """
    captured = None if listed is None else {folded(name) for name in listed}
    for name, one in settings.items():
        path = values.join("tables", name)
        if one.keep is not None and one.keep_by is None:
            raise UsageError(
                f"{path}.keep needs {path}.keep_by", "name the column that says which rows are newest"
            )
        if one.keep_by is not None and one.keep is None:
            raise UsageError(f"{path}.keep_by needs {path}.keep", "say how many rows are kept")
        if one.keep is not None and one.follow is not None:
            raise UsageError(
                f"{path} has keep and follow, which contradict each other", "leave one of them out"
            )
        for parent in () if one.follow is None else one.follow.tables:
            if captured is not None and folded(parent) not in captured:
                raise UsageError(
                    f'{path}.follow.table names "{parent}", which source.tables leaves out', "add it there"
                )
    check_cycles(
        {
            folded(name): replace(one.follow, tables=tuple(map(folded, one.follow.tables)))
            for name, one in settings.items()
            if one.follow is not None
        }
    )


def _tables(value: object, path: str) -> tuple[str, ...]:
    return values.names([value] if isinstance(value, str) else value, path)
