"""Decides which tables are captured, by which key, and why others are not."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from cdc.capture.bounding import bounded
from cdc.capture.ddl import FORMAT
from cdc.capture.introspect import PRESUMED_SHADOW, SHADOW, columns_of
from cdc.capture.mask import masked
from cdc.capture.queries import select_all
from cdc.capture.table import KeyColumn, Selection, Skipped, Table
from cdc.capture.unique import conflicts_of
from cdc.identifiers import folded, is_reserved
from schemas.errors import SourceError, SourceUnavailableError, UsageError

if TYPE_CHECKING:
    from cdc.capture.introspect import IndexInfo, Schema, TableInfo
    from cdc.source import Transaction
    from cdc.table_settings import TableSettings

_BUILT_IN_COLLATIONS: Final = frozenset(("BINARY", "NOCASE", "RTRIM"))

_COLUMNS_MAX: Final = 1990
"""SQLite's results have at most 2000 columns; some are the log's."""


class Selected(msgspec.Struct, frozen=True):
    """The tables to capture by name, and those left out."""

    tables: dict[str, Table]
    skipped: tuple[Skipped, ...]


class _UnusableError(Exception):
    """A table has no usable key; the argument is the reason."""


def select_tables(schema: Schema, selection: Selection, *, strict: bool) -> Selected:
    """Apply a selection to a schema.

    Args:
        schema: the source's.
        selection: what was asked for.
        strict: refuse what cannot be done (when a command starts); otherwise leave it out (when the schema
            changed meanwhile).

    Raises:
        UsageError: a listed table does not exist or has no usable key, ``key_columns`` are wrong, or a
            table's settings do not fit it.
    """
    names = {folded(name) for name, info in schema.tables.items() if info.kind != SHADOW}
    keys = {folded(name): columns for name, columns in selection.key_columns.items()}
    settings = {folded(name): (name, value) for name, value in selection.settings.items()}
    listed = None if selection.tables is None else {folded(name) for name in selection.tables}
    optional = {folded(name) for name in selection.optional}
    if strict:
        for name in dict.fromkeys((*(selection.tables or ()), *selection.key_columns, *selection.settings)):
            if folded(name) not in optional:
                _check_exists(name, names)
    tables: dict[str, Table] = {}
    skipped: list[Skipped] = []
    for name in sorted(schema.tables):
        info = schema.tables[name]
        asked = listed is not None and folded(name) in listed
        if info.kind == SHADOW or (listed is not None and not asked):
            continue
        required = folded(name) not in optional
        try:
            table = _table(info, keys.get(folded(name)), asked=asked, may_override=not required)
        except _UnusableError as error:
            if strict and required and (asked or folded(name) in keys):
                raise UsageError(
                    f'table "{name}" cannot be captured: {error}', "see key_columns, or take it off the list"
                ) from None
            skipped.append(Skipped(name, str(error)))
        else:
            tables[name] = table
            if folded(name) in settings:
                configured, asked_for = settings[folded(name)]
                fitting = asked_for if required else _fitting(table, asked_for)
                tables[name] = masked(table, fitting, selection.hash_key, configured)
    skipped += [Skipped(name, "its name is not UTF-8") for name in schema.unnameable]
    return Selected(bounded(tables, optional if strict else None), tuple(skipped))


async def check_conditions(transaction: Transaction, selected: Selected) -> None:
    """Have the source say whether it understands each table's ``where``.

    Raises:
        UsageError: it does not.
    """
    for table in selected.tables.values():
        if table.where is not None:
            try:
                await transaction.execute(f"{select_all(table)} LIMIT 0")
            except SourceUnavailableError:
                raise
            except SourceError as error:
                raise UsageError(
                    f'the where of table "{table.name}" cannot be asked: {error.message}',
                    "correct it in the configuration",
                ) from None


async def leave_out_unreadable(transaction: Transaction, schema: Schema, selected: Selected) -> Selected:
    """Leave out the tables with a generated column that only the application's functions can compute."""
    tables = dict(selected.tables)
    skipped = list(selected.skipped)
    for name, table in selected.tables.items():
        if any(column.generated for column in schema.tables[name].columns):
            try:
                await transaction.execute(f"{select_all(table)} LIMIT 0")
            except SourceError as error:
                del tables[name]
                skipped.append(Skipped(name, f"it cannot be read from here: {error.message}"))
    return Selected(tables, tuple(sorted(skipped)))


def _fitting(table: Table, settings: TableSettings) -> TableSettings:
    """Take away the native text keys that a preset asked for, where keys are numbers or several columns."""
    textual = len(table.key) == 1 and table.key[0].affinity in ("TEXT", "BLOB")
    return settings if textual else replace(settings, key_type="tuple")


def _check_exists(name: str, names: set[str]) -> None:
    if is_reserved(name):
        raise UsageError(f'table "{name}" belongs to the database engine or to cdc', "take it off the list")
    if folded(name) not in names:
        raise UsageError(
            f'the source has no ordinary table "{name}"', "list tables that exist (views are not captured)"
        )


def _table(
    info: TableInfo, key_columns: tuple[str, ...] | None, *, asked: bool, may_override: bool = False
) -> Table:
    if not info.name:
        raise _UnusableError("its name is empty, and no table of a cache can have such a name")
    if info.kind == PRESUMED_SHADOW and not asked:
        raise _UnusableError("it looks like a part of a virtual table whose module is not loaded here")
    if not all(isinstance(column.name, str) for column in info.columns):
        raise _UnusableError("a column's name is not UTF-8")
    primary = sorted((column.primary, column.name) for column in info.columns if column.primary)
    declared = tuple(name for _, name in primary)
    if (
        key_columns is not None
        and declared
        and not may_override
        and tuple(map(folded, key_columns)) != tuple(map(folded, declared))
    ):
        raise _UnusableError("key_columns may not override its primary key")
    names = declared or _named_columns(info, key_columns)
    index = _index_over(info, names, primary=bool(declared))
    collations = dict(index.columns) if index else {}
    positions = {column.name: position for position, column in enumerate(info.columns)}
    rowid_alias = bool(declared) and index is None
    key: list[KeyColumn] = []
    for name in names:
        collation = collations.get(name, "BINARY")
        if collation.upper() not in _BUILT_IN_COLLATIONS:
            raise _UnusableError(f'its key is compared by "{collation}", which only the application knows')
        column = info.columns[positions[name]]
        native = rowid_alias or (collation.upper() == "BINARY" and "COLLATE" not in info.sql.upper())
        key.append(KeyColumn(name, positions[name], column.affinity, collation.upper(), native))
    if len(info.columns) + len(key) > _COLUMNS_MAX:
        raise _UnusableError("it has too many columns to be joined with the log")
    return Table(
        name=info.name,
        columns=columns_of(info),
        key=tuple(key),
        unique=bool(declared) or (index is not None and index.unique),
        rowid_alias=rowid_alias,
        index=index.name if index else None,
        conflicts=conflicts_of(info, exact_key=index is None or all(column.exact for column in key)),
        fingerprint=_fingerprint(info, names),
    )


def _named_columns(info: TableInfo, key_columns: tuple[str, ...] | None) -> tuple[str, ...]:
    if not key_columns:
        raise _UnusableError("it has no primary key")
    names = {folded(column.name): column.name for column in info.columns}
    missing = [name for name in key_columns if folded(name) not in names]
    if missing:
        raise _UnusableError(f'key_columns names "{missing[0]}", which it does not have')
    return tuple(names[folded(name)] for name in key_columns)


def _index_over(info: TableInfo, names: tuple[str, ...], *, primary: bool) -> IndexInfo | None:
    """Find the index that finds rows by the key: the primary key's own, else a unique one, else any."""
    if primary:
        return next((index for index in info.indexes if index.primary), None)
    wanted = set(names)
    fitting = [
        index
        for index in info.indexes
        if not index.partial and {column for column, _ in index.columns[: len(wanted)]} == wanted
    ]
    unique = [index for index in fitting if index.unique and len(index.columns) == len(wanted)]
    # An index that starts with the key columns but has more is not unique over them.
    return next(iter(unique), None) or next((index for index in fitting if not index.unique), None)


def _fingerprint(info: TableInfo, key: tuple[str, ...]) -> str:
    """Digest what the triggers depend on (DESIGN section 2: other triggers and UNIQUE indexes too)."""
    parts = [
        FORMAT,
        info.sql,
        [[index.name, index.columns, index.sql] for index in info.indexes if index.unique],
        [trigger.sql for trigger in info.triggers if not is_reserved(trigger.name)],
        key,
    ]
    return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()[:32]
