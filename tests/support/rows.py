"""A cache's rows against the database's own answer, types included, without any code of the product.

Values are compared in the JSON form that CONTRACT.md describes, as texts: 1 and 1.0 differ.
"""

from __future__ import annotations

import base64
import json
import math
import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

Tables = dict[str, dict[str, str]]
"""By table: each row's key and the row itself, both as JSON texts."""


class _NotUtf8(bytes):
    """The bytes of a TEXT that is not UTF-8."""

    __slots__ = ()


def source_rows(path: Path, keys: Mapping[str, Sequence[str]]) -> Tables:
    """Read whole tables of a database in one read transaction.

    Args:
        path: the database file.
        keys: the tables, and the columns of each one's key.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = _text
    try:
        connection.execute("BEGIN")
        tables: Tables = {}
        for table, key in keys.items():
            cursor = connection.execute(f'SELECT * FROM "{table}"')
            names = [column[0] for column in cursor.description]
            tables[table] = {
                _key([row[names.index(name)] for name in key]): canonical(dict(zip(names, row, strict=True)))
                for row in cursor
            }
        return tables
    finally:
        connection.close()


def dumped_rows(lines: Iterable[Any]) -> Tables:
    """Arrange the documents that `cdc dump` printed; tables must come by name, and each key once."""
    tables: Tables = {}
    for line in lines:
        assert set(line) == {"table", "key", "row"}
        if line["table"] not in tables:
            assert line["table"] > max(tables, default=""), "tables are not in the order of their names"
            tables[line["table"]] = {}
        rows = tables[line["table"]]
        key = json.dumps(line["key"])
        assert key not in rows, f"key {key} of {line['table']} comes twice"
        rows[key] = json.dumps(line["row"], sort_keys=True)
    return tables


def assert_same_rows(cache: Tables, source: Tables, what: str) -> None:
    """Compare a dump with the database; only a few of the rows that differ are shown."""
    for table, rows in source.items():
        cached = cache.get(table, {})
        differing = sorted(key for key in rows.keys() | cached.keys() if rows.get(key) != cached.get(key))
        shown = [(key, rows.get(key), cached.get(key)) for key in differing[:5]]
        assert not differing, (
            f"{what}, table {table}: {len(differing)} rows differ, (key, source, cache): {shown}"
        )
    assert cache.keys() <= source.keys(), f"{what}: tables that the source lacks"


def canonical(row: Mapping[str, Any]) -> str:
    """A row as a JSON text that tells every type."""
    return json.dumps({name: _json_value(value) for name, value in row.items()}, sort_keys=True)


def _key(values: Sequence[Any]) -> str:
    return json.dumps([_json_value(value) for value in values])


def _json_value(value: Any) -> Any:
    if isinstance(value, _NotUtf8):
        return {"$text": base64.b64encode(value).decode()}
    if isinstance(value, bytes):
        return {"$blob": base64.b64encode(value).decode()}
    if isinstance(value, float) and math.isinf(value):
        return {"$real": "inf" if value > 0 else "-inf"}
    return value


def _text(data: bytes) -> str | _NotUtf8:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _NotUtf8(data)
