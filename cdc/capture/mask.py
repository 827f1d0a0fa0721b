"""What of a table is published: columns left out or hashed, rows chosen by a condition.

Settings name columns of the source as it is now. Whatever does not fit is refused at any time, not only when
a command starts: a column that was renamed under its ``exclude`` must not be published under its new name.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from cdc.capture.condition import ConditionError, read_condition
from cdc.config_values import join
from cdc.identifiers import folded
from cdc.table_settings import TableSettings
from schemas.definition import Column
from schemas.errors import UsageError

if TYPE_CHECKING:
    from cdc.capture.table import Selection, Table
    from cdc.hash_key import HashKey

_PLAIN: Final = TableSettings()


def masked(table: Table, settings: TableSettings, hash_key: HashKey | None, configured: str) -> Table:
    """Apply its settings to a table that has all columns.

    Args:
        table: as it stands at the source.
        settings: what was asked for.
        hash_key: what columns are hashed with.
        configured: the table's name as the configuration has it.

    Raises:
        UsageError: a setting does not fit the table; its path is named.
    """
    if settings == _PLAIN:
        return table
    names = _Names(table, join("tables", configured))
    if settings.key_type != "tuple" and len(table.key) != 1:
        raise UsageError(
            f'{names.path}.key_type = "{settings.key_type}" needs a key of one column: "{table.name}" has '
            f"{len(table.key)}",
            "leave it out",
        )
    settings = replace(settings, index=names.resolve("index", settings.index))
    excluded = names.resolve("exclude", settings.exclude)
    hashed = names.resolve("hash", settings.hash)
    names.refuse_key("exclude", excluded)
    names.refuse_key("hash", hashed)
    needed = _needed(settings)
    for key, columns in (("exclude", excluded), ("hash", hashed)):
        for name in columns:
            # A look-up by a hash works; an order by it, or a parent found by it, does not.
            asked = needed.get(folded(name))
            if asked is not None and not (key == "hash" and asked == "index"):
                raise names.refused(key, f'"{name}", which {asked} needs')
    both = set(excluded) & set(hashed)
    if both:
        raise names.refused("hash", f'"{min(both)}", which exclude leaves out already')
    if hashed and hash_key is None:
        raise UsageError(f"{names.path}.hash needs source.hash_key", 'give it as "env:NAME" or "file:PATH"')
    where = None if settings.where is None else names.read_where(settings.where)
    columns = tuple(
        Column(column.name, "TEXT") if column.name in hashed else column
        for column in table.columns
        if column.name not in excluded
    )
    positions = {column.name: position for position, column in enumerate(columns)}
    return replace(
        table,
        columns=columns,
        key=tuple(replace(column, position=positions[column.name]) for column in table.key),
        settings=settings,
        hashed=tuple(sorted(positions[name] for name in hashed)),
        hash_key=hash_key if hashed else None,
        where=where,
        masked=_digest(settings, excluded, hashed, where, hash_key),
    )


def settings_digest(selection: Selection) -> int:
    """Tell selections apart by what they publish; 0 where that is every table, whole.

    Names are taken as SQL compares them; the schema has no part in it.
    """
    settings = {folded(name): _folded(value) for name, value in selection.settings.items() if value != _PLAIN}
    if selection.tables is None and not selection.key_columns and not settings:
        return 0
    hashed = any(value.hash for value in settings.values())
    parts = (
        None if selection.tables is None else sorted(map(folded, selection.tables)),
        sorted((folded(name), tuple(map(folded, key))) for name, key in selection.key_columns.items()),
        sorted(settings.items()),
        selection.hash_key.identity if hashed and selection.hash_key is not None else "",
    )
    return _digest_of(parts)


def _folded(settings: TableSettings) -> TableSettings:
    return replace(
        settings,
        exclude=tuple(sorted(map(folded, settings.exclude))),
        hash=tuple(sorted(map(folded, settings.hash))),
    )


def _needed(settings: TableSettings) -> dict[str, str]:
    """Give the columns that other settings need, with the setting."""
    needed = {folded(name): "index" for name in settings.index}
    if settings.keep_by is not None:
        needed[folded(settings.keep_by)] = "keep_by"
    if settings.follow is not None:
        needed[folded(settings.follow.column)] = "follow"
    return needed


class _Names:
    """The columns of a table, and where in the configuration its settings stand."""

    def __init__(self, table: Table, path: str) -> None:
        self.path = path
        self._table = table
        self._columns = {folded(column.name): column.name for column in table.columns}

    def refused(self, key: str, why: str) -> UsageError:
        return UsageError(f"{self.path}.{key} names {why}", "correct it in the configuration")

    def resolve(self, key: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """Give columns as the table names them."""
        for name in names:
            if folded(name) not in self._columns:
                raise self.refused(key, f'"{name}", which table "{self._table.name}" does not have')
        return tuple(sorted({self._columns[folded(name)] for name in names}))

    def refuse_key(self, key: str, names: tuple[str, ...]) -> None:
        for name in names:
            if name in self._table.key_names:
                raise self.refused(key, f'"{name}", which is part of the key')

    def read_where(self, text: str) -> str:
        try:
            return read_condition(text, self._table.name, self._columns.values())
        except ConditionError as error:
            raise UsageError(
                f"{self.path}.where is no condition on the row alone: {error}",
                "use only the row's columns, literals and plain functions of them",
            ) from None


def _digest(
    settings: TableSettings,
    excluded: tuple[str, ...],
    hashed: tuple[str, ...],
    where: str | None,
    hash_key: HashKey | None,
) -> int:
    """Tell apart whatever is published differently; the key only by a digest of it."""
    others = replace(settings, exclude=(), hash=(), where=None)
    key = hash_key.identity if hash_key is not None and hashed else ""
    return _digest_of((excluded, hashed, where, key, others))


def _digest_of(parts: object) -> int:
    """Give a digest as it is published: a positive number of 63 bits, never 0."""
    return int.from_bytes(hashlib.sha256(msgspec.msgpack.encode(parts)).digest()[:8]) >> 1 or 1
