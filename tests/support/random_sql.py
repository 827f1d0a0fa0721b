"""Seeded random tables and writes, with the values and keys that SQLite treats in unexpected ways."""

from __future__ import annotations

import sqlite3
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

KEY_COLUMNS = [
    "INTEGER",
    "INT",
    "TEXT",
    "TEXT COLLATE NOCASE",
    "TEXT COLLATE RTRIM",
    "REAL",
    "NUMERIC",
    "BLOB",
    "",
    "COLLATE NOCASE",
]
OTHER_COLUMNS = ["", "TEXT", "TEXT COLLATE NOCASE"]
CONSTRAINTS = [
    " UNIQUE",
    " UNIQUE ON CONFLICT REPLACE",
    " NOT NULL ON CONFLICT REPLACE DEFAULT 1",
    " NOT NULL ON CONFLICT REPLACE DEFAULT 'a' UNIQUE",
]
UNIQUE_TERMS = [
    "{0}",
    "{0} COLLATE NOCASE",
    "{0} DESC",
    "lower({0}) -- in any case)\n",
    "ifnull({0}, 'it''s, (nothing') /* , */ COLLATE NOCASE",
    "{0} || '' ASC",
    "typeof({0})||length({0})",
    "{0} % 3",
]
UNIQUE_CONDITIONS = ["", "", "WHERE {0} IS NOT NULL", "where typeof({0}) >= 'r' AND 1.5 < 2", "WHERE {0} > 1"]
STRICT_KEYS = ["INTEGER", "INT", "TEXT", "TEXT COLLATE NOCASE", "REAL", "BLOB", "ANY"]
NAMES = [
    "plain",
    "with space",
    'quo"te',
    "sel'ect",
    "select",
    "Grün",
    "表",
    "[bracket]",
    "a.b",
    "_cdc",
    "t_cdc_log",
    "new",
    "rowid_",
    "k1",
    "--c",
    "semi;colon",
]
CHANGES = ["{} + 1", "lower({})", "upper({})", "-{}", "{} * 1.0", "CAST({} AS INTEGER)"]
COLUMN_NAMES = ["id", "K", 'q"c', "two words", "key", "k1", "tbl", "op", "order", "ö", "old", "x'y", "nonce"]


class RandomTable(NamedTuple):
    name: str
    key: list[str]
    columns: list[str]
    indexable: list[str]
    """Columns for UNIQUE indexes."""
    statements: list[str]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def create(db: sqlite3.Connection, table: RandomTable) -> None:
    for statement in table.statements:
        db.execute(statement)


def random_table(rnd: Random, name: str) -> RandomTable:
    """Make a table of any kind that capture takes, with or without UNIQUE constraints and indexes."""
    names = rnd.sample(COLUMN_NAMES, rnd.randint(2, 6))
    shape = rnd.choice(["rowid", "rowid", "without rowid", "strict", "integer"])
    key = rnd.sample(names, 1 if shape == "integer" else rnd.choice([1, 1, 2, min(3, len(names))]))
    kinds = STRICT_KEYS if shape == "strict" else KEY_COLUMNS
    definitions: list[str] = []
    plain: list[str] = []
    for column in names:
        kind = rnd.choice(kinds if column in key or shape == "strict" else OTHER_COLUMNS)
        if shape == "integer" and column in key:
            kind = "INTEGER"
        elif column not in key and rnd.random() < 0.25:
            kind += rnd.choice(CONSTRAINTS)
        if column not in key:
            plain.append(column)
        definitions.append(f"{quoted(column)} {kind}")
    if shape != "strict" and plain and rnd.random() < 0.3:
        base = quoted(plain[0])
        stored = rnd.choice(["VIRTUAL", "STORED", "STORED UNIQUE"])
        definitions.append(
            f"generated GENERATED ALWAYS AS (typeof({base}) || ifnull(length({base}), 0)) {stored}"
        )
    constraint = ", ".join(
        quoted(column) + rnd.choice(["", "", " DESC", " COLLATE NOCASE"] if shape == "rowid" else [""])
        for column in key
    )
    definitions.append(f"PRIMARY KEY ({constraint}) {rnd.choice(['', '', 'ON CONFLICT REPLACE'])}")
    suffix = {"without rowid": " WITHOUT ROWID", "strict": " STRICT"}.get(shape, "")
    statements = [f"CREATE TABLE {quoted(name)} ({', '.join(definitions)}){suffix}"]
    table = RandomTable(name, key, names, names, statements)
    if rnd.random() < 0.4:
        statements.append(random_unique_index(rnd, table))
    return table


def random_unique_index(rnd: Random, table: RandomTable) -> str:
    """Make a UNIQUE index of any kind, written as oddly as people may."""
    terms: list[str] = []
    columns = table.indexable
    for column in rnd.sample(columns, rnd.randint(1, min(2, len(columns)))):
        bracketed = f"[{column}]" if "]" not in column else quoted(column)
        terms.append(rnd.choice(UNIQUE_TERMS).format(rnd.choice([quoted(column), bracketed])))
    where = rnd.choice(UNIQUE_CONDITIONS).format(quoted(rnd.choice(columns)))
    number = rnd.randrange(10**9)
    return f"CREATE UNIQUE INDEX unique_{number} ON {quoted(table.name)} ({', '.join(terms)}) {where}"


_VALUES: list[Callable[[Random], Any]] = [
    lambda rnd: rnd.randint(0, 4),
    lambda rnd: rnd.randint(0, 4),
    lambda rnd: float(rnd.randint(0, 4)),
    lambda rnd: rnd.choice([0.0, -0.0, 0.5, float("inf"), -(2.0**63), 2.0**53, 1e300]),
    lambda rnd: rnd.choice([2**53, 2**53 + 1, -(2**63), 2**63 - 1]),
    lambda rnd: rnd.choice(
        ["a", "A", "b", "B", "ab", "aB", "a ", "a  ", "", "1", "1.0", "a\0b", "é", "É", "𝄞"]
    ),
    lambda rnd: rnd.choice(["a", "A", "b", "B"]),
    lambda rnd: rnd.choice([b"", b"a", b"\0", b"\xff", b"1"]),
    lambda rnd: None if rnd.random() < 0.3 else rnd.randint(0, 2),
    lambda rnd: struct.pack(">I", rnd.randrange(100)),
]


def random_value(rnd: Random) -> Any:
    """Make a value of a small domain, so that keys meet, with the odd ones among them."""
    return rnd.choice(_VALUES)(rnd)


def random_write(rnd: Random, db: sqlite3.Connection, table: RandomTable) -> None:
    """Run one write; one that breaks a constraint just fails."""
    name = quoted(table.name)
    some = quoted(rnd.choice(table.key if rnd.random() < 0.7 else table.columns))
    roll = rnd.random()
    conflicts = ["", " OR IGNORE", " OR FAIL", " OR REPLACE", " OR REPLACE", " OR REPLACE"]
    conflict = rnd.choice([*conflicts, " OR ROLLBACK"] if db.in_transaction else conflicts)
    values = [random_value(rnd) for _ in table.columns]
    if len(table.key) == 1 and rnd.random() < 0.2:
        # An INTEGER PRIMARY KEY gets its value by itself.
        values[table.columns.index(table.key[0])] = None
    marks = ", ".join("?" if rnd.random() < 0.97 else "CAST(x'ff41' AS TEXT)" for _ in table.columns)
    values = values[: marks.count("?")]
    columns = ", ".join(map(quoted, table.columns))
    try:
        if roll < 0.38:
            db.execute(f"INSERT{conflict} INTO {name} ({columns}) VALUES ({marks})", values)
        elif roll < 0.45:
            db.execute(f"REPLACE INTO {name} ({columns}) VALUES ({marks}), ({marks})", values * 2)
        elif roll < 0.49:
            # Rows of its own with one value changed: they meet each other, and themselves.
            picked = ", ".join("?" if quoted(column) == some else quoted(column) for column in table.columns)
            copy = f"INSERT{conflict} INTO {name} ({columns}) SELECT {picked} FROM {name}"
            db.execute(copy, (random_value(rnd),))
        elif roll < 0.57:
            target = quoted(rnd.choice(table.columns))
            upsert = rnd.choice(
                [
                    f"DO UPDATE SET {target} = excluded.{target}",
                    f"DO UPDATE SET {some} = excluded.{target} WHERE excluded.{target} > 1",
                    f"({', '.join(map(quoted, table.key))}) DO UPDATE SET {target} = {some}",
                    f"({', '.join(map(quoted, table.key))}) DO NOTHING",
                ]
            )
            into = f"INSERT INTO {name} ({columns}) VALUES ({marks})"
            db.execute(f"{into} ON CONFLICT {upsert}", values)
        elif roll < 0.75:
            condition = f"{quoted(table.key[0])} = ?"
            db.execute(
                f"UPDATE{conflict} {name} SET {some} = ? WHERE {condition}",
                (random_value(rnd), random_value(rnd)),
            )
        elif roll < 0.85:
            change = rnd.choice(CHANGES).format(some)
            db.execute(f"UPDATE{conflict} {name} SET {some} = {change}")
        elif roll < 0.97:
            db.execute(f"DELETE FROM {name} WHERE {some} = ?", (random_value(rnd),))
        else:
            db.execute(f"DELETE FROM {name}")
    except (sqlite3.IntegrityError, OverflowError):
        return
