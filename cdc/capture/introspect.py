"""Reads the source's schema: tables, their columns, keys, indexes and triggers, and what they refer to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cdc.identifiers import is_reserved
from cdc.source import Statement
from schemas.definition import Column
from schemas.errors import SourceError
from schemas.values import InvalidText

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdc.source import Transaction

_STAMP: Final = (
    Statement("PRAGMA schema_version"),
    # The sums tell a database apart that was put in the place of another and happens to have its version.
    Statement("SELECT count(*), max(rowid), total(length(sql)) FROM sqlite_master"),
)
_MASTER_SQL: Final = "SELECT rowid, type, name, tbl_name, sql, rootpage FROM sqlite_master ORDER BY rowid"
_KINDS_SQL: Final = "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'"
_MODULES_SQL: Final = "SELECT name FROM pragma_module_list"
# Virtual tables have no root page; asking for the columns of one whose module is not loaded would fail.
_COLUMNS_SQL: Final = """
SELECT m.name, x.name, x.type, x.pk, x.hidden, x."notnull", x.dflt_value
FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS x
WHERE m.type = 'table' AND m.rootpage > 0 ORDER BY m.rowid, x.cid"""
_INDEXES_SQL: Final = """
SELECT m.name, i.name, i."unique", i.origin, i.partial, c.name, c.coll
FROM sqlite_master AS m JOIN pragma_index_list(m.name) AS i JOIN pragma_index_xinfo(i.name) AS c
WHERE m.type = 'table' AND m.rootpage > 0 AND c.key = 1 ORDER BY m.rowid, i.seq, c.seqno"""
_REFERENCES_SQL: Final = (
    'SELECT DISTINCT m.name, f."table" FROM sqlite_schema AS m JOIN pragma_foreign_key_list(m.name) AS f '
    "WHERE m.type = 'table'"
)

_HIDDEN_COLUMN: Final = 1
_GENERATED_COLUMNS: Final = (2, 3)

SHADOW: Final = "shadow"
PRESUMED_SHADOW: Final = "presumed shadow"
"""Kinds of table beside the ordinary: SQLite knows shadows of virtual tables only from a loaded module."""


class MasterRow(msgspec.Struct, frozen=True):
    """A row of sqlite_master: ``created`` orders them as they were created."""

    created: int
    kind: str
    name: str
    table: str
    sql: str | None
    rootpage: int


class IndexInfo(msgspec.Struct):
    """An index of a table; ``columns`` are (name, collation), name None for an expression.

    ``sql`` is empty for the index of a constraint.
    """

    name: str
    unique: bool
    primary: bool
    partial: bool
    columns: list[tuple[str | None, str]]
    sql: str


class ColumnInfo(msgspec.Struct, frozen=True):
    """A column of a table.

    ``primary`` is its place in the primary key from 1, 0 when it is not in it; ``default`` is SQL.
    """

    name: str
    affinity: str
    primary: int
    generated: bool
    not_null: bool
    default: str | None


class TableInfo(msgspec.Struct):
    """A table of the user's, as it stands in the schema; ``kind`` is table or shadow."""

    name: str
    sql: str
    kind: str
    without_rowid: bool
    columns: list[ColumnInfo]
    indexes: list[IndexInfo]
    triggers: list[MasterRow]


class Schema(msgspec.Struct, frozen=True):
    """The whole schema at one moment.

    ``own`` are the columns of our tables, by name; ``unnameable`` stands for names that are not UTF-8.
    """

    stamp: tuple[Any, ...]
    master: list[MasterRow]
    tables: dict[str, TableInfo]
    own: dict[str, list[str]]
    unnameable: list[str]

    @property
    def version(self) -> int:
        """The source's schema_version."""
        return self.stamp[0]


async def read_stamp(transaction: Transaction) -> tuple[Any, ...]:
    """Give values that differ when the schema does; the first is its version."""
    version, sums = await transaction.batch(_STAMP)
    return *version.rows[0], *sums.rows[0]


async def read_schema(transaction: Transaction) -> Schema:
    """Read the schema as the transaction sees it."""
    stamp = await read_stamp(transaction)
    master_rows, kinds, columns, indexes = [
        result.rows
        for result in await transaction.batch(
            [Statement(sql) for sql in (_MASTER_SQL, _KINDS_SQL, _COLUMNS_SQL, _INDEXES_SQL)]
        )
    ]
    master = [MasterRow(*row) for row in master_rows if not _is_unnameable(row)]
    kind_of = {name: (kind, bool(wr), bool(strict)) for name, kind, wr, strict in kinds}
    tables: dict[str, TableInfo] = {}
    own: dict[str, list[str]] = {}
    for row in master:
        if row.kind == "table" and row.rootpage:
            if is_reserved(row.name):
                own[row.name] = []
            else:
                kind, without_rowid, _ = kind_of[row.name]
                tables[row.name] = TableInfo(row.name, row.sql or "", kind, without_rowid, [], [], [])
    if any(row.kind == "table" and not row.rootpage for row in master):
        # Asked for where it matters: the Turso engine has no such list.
        modules = (await transaction.execute(_MODULES_SQL)).rows
        _presume_shadows(master, tables, {name for (name,) in modules})
    for table, name, declared, primary, hidden, not_null, default in columns:
        if table in own:
            own[table].append(name)
        elif table in tables and hidden != _HIDDEN_COLUMN:
            affinity = affinity_of(declared, strict=kind_of[table][2])
            info = ColumnInfo(name, affinity, primary, hidden in _GENERATED_COLUMNS, bool(not_null), default)
            tables[table].columns.append(info)
    _add_indexes(tables, indexes, {row.name: row.sql or "" for row in master if row.kind == "index"})
    for row in master:
        if row.kind == "trigger" and row.table in tables:
            tables[row.table].triggers.append(row)
    unnameable = [ascii(row[2]) for row in master_rows if _is_unnameable(row) and row[1] == "table"]
    return Schema(stamp, master, tables, own, unnameable)


async def read_references(transaction: Transaction, tables: Iterable[str]) -> list[tuple[str, str]]:
    """Give (table, the table that a foreign key of it refers to), where both are of ``tables``."""
    try:
        rows = (await transaction.execute(_REFERENCES_SQL)).rows
    except SourceError:
        # The Turso engine has no such table-valued function.
        return []
    names = {name.lower(): name for name in tables}
    pairs = {(names.get(child.lower()), names.get(parent.lower())) for child, parent in rows}
    return sorted((child, parent) for child, parent in pairs if child is not None and parent is not None)


def affinity_of(declared: str, *, strict: bool) -> str:
    """Give a column's affinity from its declared type (https://sqlite.org/datatype3.html, section 3.1)."""
    kind = declared.upper()
    if strict and kind == "ANY":
        return "BLOB"
    if "INT" in kind:
        return "INTEGER"
    if "CHAR" in kind or "CLOB" in kind or "TEXT" in kind:
        return "TEXT"
    if "BLOB" in kind or not kind:
        return "BLOB"
    if "REAL" in kind or "FLOA" in kind or "DOUB" in kind:
        return "REAL"
    return "NUMERIC"


def columns_of(info: TableInfo) -> tuple[Column, ...]:
    """Give the columns as readers see them."""
    return tuple(Column(column.name, column.affinity) for column in info.columns)


def _add_indexes(tables: dict[str, TableInfo], rows: list[tuple[Any, ...]], sql: dict[str, str]) -> None:
    for table, name, unique, origin, partial, column, collation in rows:
        if table not in tables:
            continue
        indexes = tables[table].indexes
        if not indexes or indexes[-1].name != name:
            indexes.append(
                IndexInfo(name, bool(unique), origin == "pk", bool(partial), [], sql.get(name, ""))
            )
        indexes[-1].columns.append((column, collation))


def _is_unnameable(row: tuple[Any, ...]) -> bool:
    _, _, name, table, sql, _ = row
    return any(isinstance(text, InvalidText) for text in (name, table, sql))


def _presume_shadows(master: list[MasterRow], tables: dict[str, TableInfo], modules: set[str]) -> None:
    """Recognise shadow tables of virtual tables whose module is not loaded here, by their names."""
    for row in master:
        if row.kind != "table" or row.rootpage or _module_of(row.sql or "") in modules:
            continue
        for info in tables.values():
            if info.name.startswith(row.name + "_") and info.kind == "table":
                info.kind = PRESUMED_SHADOW


def _module_of(sql: str) -> str:
    """Find the module's name in CREATE VIRTUAL TABLE ... USING module(...)."""
    found = _USING.search(sql)
    return found[1].lower() if found else ""


_USING = re.compile(r"\bUSING\s+[\"`\[']?(\w+)", re.IGNORECASE)
