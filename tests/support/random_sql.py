"""Seeded random tables and writes, with the values and keys that SQLite treats in unexpected ways."""

from __future__ import annotations

import sqlite3
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
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
    create: str
    coarse: bool
    """Whether SQL takes different keys for the same."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def random_table(rnd: Random, name: str) -> RandomTable:
    """Make a table of any kind that capture takes."""
    names = rnd.sample(COLUMN_NAMES, rnd.randint(2, 6))
    shape = rnd.choice(["rowid", "rowid", "without rowid", "strict", "integer"])
    key = rnd.sample(names, 1 if shape == "integer" else rnd.choice([1, 1, 2, min(3, len(names))]))
    kinds = STRICT_KEYS if shape == "strict" else KEY_COLUMNS
    definitions: list[str] = []
    coarse = False
    for column in names:
        kind = (
            rnd.choice(kinds) if column in key else rnd.choice(kinds if shape == "strict" else ["", "TEXT"])
        )
        if shape == "integer" and column in key:
            kind = "INTEGER"
        exact = kind == "TEXT" or (shape == "integer") or (shape == "strict" and kind == "BLOB")
        coarse |= column in key and not exact
        definitions.append(f"{quoted(column)} {kind}")
    if shape != "strict" and len(names) > len(key) and rnd.random() < 0.3:
        base = quoted(next(column for column in names if column not in key))
        stored = rnd.choice(["VIRTUAL", "STORED"])
        definitions.append(
            f"generated GENERATED ALWAYS AS (typeof({base}) || ifnull(length({base}), 0)) {stored}"
        )
    constraint = ", ".join(
        quoted(column) + rnd.choice(["", "", " DESC", " COLLATE NOCASE"] if shape == "rowid" else [""])
        for column in key
    )
    coarse |= "NOCASE" in constraint
    definitions.append(f"PRIMARY KEY ({constraint})")
    suffix = {"without rowid": " WITHOUT ROWID", "strict": " STRICT"}.get(shape, "")
    create = f"CREATE TABLE {quoted(name)} ({', '.join(definitions)}){suffix}"
    return RandomTable(name, key, names, create, coarse)


def random_value(rnd: Random) -> Any:
    """Make a value of a small domain, so that keys meet, with the odd ones among them."""
    return rnd.choice(
        [
            rnd.randint(0, 4),
            rnd.randint(0, 4),
            float(rnd.randint(0, 4)),
            rnd.choice([0.0, -0.0, 0.5, float("inf"), -(2.0**63), 2.0**53, 1e300]),
            rnd.choice([2**53, 2**53 + 1, -(2**63), 2**63 - 1]),
            rnd.choice(["a", "A", "b", "B", "ab", "aB", "a ", "a  ", "", "1", "1.0", "a\0b", "é", "É", "𝄞"]),
            rnd.choice(["a", "A", "b", "B"]),
            rnd.choice([b"", b"a", b"\0", b"\xff", b"1"]),
            None if rnd.random() < 0.3 else rnd.randint(0, 2),
            struct.pack(">I", rnd.randrange(100)),
        ]
    )


def random_write(rnd: Random, db: sqlite3.Connection, table: RandomTable, *, replace: bool) -> None:
    """Run one write; one that breaks a constraint just fails."""
    name = quoted(table.name)
    some = quoted(rnd.choice(table.key if rnd.random() < 0.7 else table.columns))
    roll = rnd.random()
    conflicts = ["", " OR IGNORE", " OR FAIL"]
    if db.in_transaction:
        conflicts.append(" OR ROLLBACK")
    if replace:
        conflicts += [" OR REPLACE"] * 3
    conflict = rnd.choice(conflicts)
    values = [random_value(rnd) for _ in table.columns]
    marks = ", ".join("?" if rnd.random() < 0.97 else "CAST(x'ff41' AS TEXT)" for _ in table.columns)
    values = values[: marks.count("?")]
    columns = ", ".join(map(quoted, table.columns))
    try:
        if roll < 0.5:
            db.execute(f"INSERT{conflict} INTO {name} ({columns}) VALUES ({marks})", values)
        elif roll < 0.55:
            target = quoted(rnd.choice(table.columns))
            upsert = f"ON CONFLICT DO UPDATE SET {target} = excluded.{target}"
            db.execute(f"INSERT INTO {name} ({columns}) VALUES ({marks}) {upsert}", values)
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
