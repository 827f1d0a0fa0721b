"""Random settings of what is published, and what readers must hold by them: told without the shipped code."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from cdc.table_settings import TableSettings
from schemas import InvalidText, encode_key, text_from_bytes
from tests.support.random_sql import quoted

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from tests.support.random_sql import RandomTable

HASH_SECRET = "the key of a workload"

_CONDITIONS = (
    "{0} IS NOT NULL",
    "typeof({0}) <> 'text'",
    "{0} > 1 OR {1} IS NULL",
    "{0} COLLATE NOCASE IN ('a', 1, NULL)",
    "length({0}) < 2 AND NOT {1} = 'a'",
    "{0} BETWEEN 0 AND 3",
    "CASE WHEN {0} THEN {1} ELSE 1 END",
    "ifnull(date({0}) > '2000-01-01', 1)",
)

Rows = dict[bytes, dict[str, Any]]


class Expected(NamedTuple):
    """What a reader must hold of one table: rows by key, and keys that hold NULL."""

    rows: Rows
    nulls: set[bytes]


class Published(NamedTuple):
    """One configuration."""

    tables: tuple[str, ...] | None
    settings: dict[str, TableSettings]


def random_settings(rnd: Random, tables: list[RandomTable]) -> Published:
    """Configure something that fits the tables as they are."""
    names = [table.name for table in tables]
    listed = tuple(rnd.sample(names, rnd.randint(1, len(names)))) if names and rnd.random() < 0.2 else None
    settings: dict[str, TableSettings] = {}
    for table in tables:
        if (listed is None or table.name in listed) and rnd.random() < 0.6:
            others = [column for column in table.columns if column not in table.key]
            masked = rnd.sample(others, rnd.randint(0, len(others)))
            cut = rnd.randint(0, len(masked))
            condition = rnd.choice(_CONDITIONS).format(
                quoted(rnd.choice(table.columns)), quoted(rnd.choice(table.columns))
            )
            settings[table.name] = TableSettings(
                exclude=tuple(masked[:cut]),
                hash=tuple(masked[cut:]),
                where=condition if rnd.random() < 0.5 else None,
            )
    return Published(listed, settings)


def expected(path: Path, tables: list[RandomTable], published: Published) -> dict[str, Expected]:
    """Read the database afresh, and tell what of it is published."""
    db = sqlite3.connect(path)
    db.text_factory = text_from_bytes
    try:
        return {
            table.name: _expected(db, table, published.settings.get(table.name, TableSettings()))
            for table in tables
            if published.tables is None or table.name in published.tables
        }
    finally:
        db.close()


def _expected(db: sqlite3.Connection, table: RandomTable, settings: TableSettings) -> Expected:
    where = f" WHERE {settings.where}" if settings.where else ""
    cursor = db.execute(f"SELECT * FROM {quoted(table.name)}{where}")
    names = [column[0] for column in cursor.description]
    rows: Rows = {}
    nulls: set[bytes] = set()
    for values in cursor:
        row = dict(zip(names, values, strict=True))
        key = encode_key([row[name] for name in table.key])
        if any(row[name] is None for name in table.key):
            nulls.add(key)
            continue
        assert key not in rows
        for name in settings.hash:
            row[name] = hashed(row[name])
        rows[key] = {name: value for name, value in row.items() if name not in settings.exclude}
    return Expected(rows, nulls)


def hashed(value: Any) -> str | None:
    """HMAC-SHA-256 of a value as a key holds it, written from its documentation alone."""
    if value is None:
        return None
    if isinstance(value, int):
        message = b"\x02" + struct.pack(">Q", value + 2**63)
    elif isinstance(value, float):
        (bits,) = struct.unpack(">Q", struct.pack(">d", value))
        message = b"\x03" + struct.pack(">Q", bits ^ (2**64 - 1 if bits >> 63 else 2**63))
    else:
        data = (
            value.data
            if isinstance(value, InvalidText)
            else value.encode()
            if isinstance(value, str)
            else value
        )
        tag = b"\x05" if isinstance(value, bytes) else b"\x04"
        message = tag + data.replace(b"\0", b"\0\xff") + b"\0"
    return hmac.new(HASH_SECRET.encode(), message, hashlib.sha256).hexdigest()
