"""REPLACE deletes rows of other keys without firing their triggers; they are seen to go all the same."""

from __future__ import annotations

import sqlite3

import pytest

from cdc.capture import Capture
from cdc.capture.unique import split_create
from tests.support.replica import Replica, assert_equal

CASES = {
    "a declared constraint": ("t (id INTEGER PRIMARY KEY, u UNIQUE)", "", "(1, 'a')", "(2, 'a')"),
    "its own conflict clause": (
        "t (id INTEGER PRIMARY KEY, u UNIQUE ON CONFLICT REPLACE)",
        "",
        "(1, 'a')",
        "(2, 'a')",
    ),
    "several columns": (
        "t (id TEXT PRIMARY KEY, u, v, UNIQUE (v, u))",
        "",
        "('a', 1, 2), ('b', 2, 2)",
        "('c', 1, 2)",
    ),
    "an index": ("t (id INTEGER PRIMARY KEY, u)", "ON t (u DESC)", "(1, 'a')", "(2, 'a')"),
    "without regard to case": (
        "t (id INTEGER PRIMARY KEY, u)",
        "ON t (u COLLATE NOCASE)",
        "(1, 'a')",
        "(2, 'A')",
    ),
    "an expression": ("t (id INTEGER PRIMARY KEY, u)", "ON t (lower(trim(u)))", "(1, ' a')", "(2, 'A')"),
    "a partial index": (
        "t (id INTEGER PRIMARY KEY, u, gone)",
        "ON t (u) WHERE gone IS NULL",
        "(1, 1, NULL), (2, 1, 5)",
        "(3, 1, NULL)",
    ),
    "a partial index by its qualified names": (
        "t (id INTEGER PRIMARY KEY, u, gone)",
        "ON t (u) WHERE t.gone >= 1.5",
        "(1, 1, 2), (2, 1, 1)",
        "(3, 1, 2)",
    ),
    "a generated column": (
        "t (id INTEGER PRIMARY KEY, u, w AS (u % 10) UNIQUE)",
        "",
        "(1, 13)",
        "(2, 23)",
    ),
    "a default in the place of NULL": (
        "t (id INTEGER PRIMARY KEY, u NOT NULL DEFAULT 'none' UNIQUE)",
        "",
        "(1, 'none')",
        "(2, NULL)",
    ),
    "a generated column over a default in the place of NULL": (
        "t (id INTEGER PRIMARY KEY, u NOT NULL DEFAULT 7, w AS (u % 10) UNIQUE)",
        "",
        "(1, 17)",
        "(2, NULL)",
    ),
    "an expression over a generated column": (
        "t (id INTEGER PRIMARY KEY, u NOT NULL DEFAULT 7, v AS (u % 10), w AS (v))",
        "ON t (w + 1)",
        "(1, 17)",
        "(2, NULL)",
    ),
    "a key without regard to case": ("t (id TEXT COLLATE NOCASE PRIMARY KEY, u)", "", "('a', 1)", "('A', 2)"),
    "a key of any type": ("t (id PRIMARY KEY, u) WITHOUT ROWID", "", "(1, 1)", "(1.0, 2)"),
    "a table called new": ('"new" (id INTEGER PRIMARY KEY, u UNIQUE)', "", "(1, 'a')", "(2, 'a')"),
    "a table called old": (
        '"OLD" (id INTEGER PRIMARY KEY, u)',
        'ON "OLD" (lower(u))',
        "(1, 'a')",
        "(2, 'a')",
    ),
    "affinity": ("t (id INTEGER PRIMARY KEY, u TEXT UNIQUE)", "", "(1, '5')", "(2, 5)"),
}


@pytest.mark.parametrize("how", ["insert", "update"])
@pytest.mark.parametrize("case", CASES)
async def test_a_row_replaced_through_a_conflict_is_gone(
    path: str, db: sqlite3.Connection, case: str, how: str
) -> None:
    definition, index, before, after = CASES[case]
    name = definition.split(" ", maxsplit=1)[0]
    db.execute(f"CREATE TABLE {definition}")
    if index:
        db.execute(f"CREATE UNIQUE INDEX unique_of_it {index}")
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
    into = f"{name} ({', '.join(columns)})"
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute(f"INSERT INTO {into} VALUES {before}")
        count = db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
        await replica.poll(capture)
        if how == "insert":
            db.execute(f"INSERT OR REPLACE INTO {into} VALUES {after}")
        else:
            others = ", ".join(["NULL"] * (len(columns) - 1))
            default = "'other'" if "DEFAULT" in definition else "NULL"
            db.execute(f"INSERT INTO {into} VALUES (99, {others.replace('NULL', default)})")
            values = ", ".join(columns)
            db.execute(f"UPDATE OR REPLACE {name} SET ({values}) = (VALUES {after}) WHERE id = 99")
        assert db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] == count, (
            "one row took another's place"
        )
        await replica.poll(capture)
        assert_equal(replica, path, {name.strip('"'): ["id"]})


async def test_a_row_that_gets_its_key_by_itself_logs_what_it_replaces_and_no_more(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, u, w AS (u || 'at' || id))")
    db.execute("CREATE UNIQUE INDEX i ON t (coalesce(u, 'local-' || id))")
    db.execute("CREATE UNIQUE INDEX j ON t (w, id)")
    db.execute("CREATE UNIQUE INDEX k ON t (u) WHERE rowid > 3")
    async with Capture(path) as capture:
        await capture.install()
    ((before,),) = db.execute("SELECT max(change_id) FROM _cdc_log").fetchall()
    for _ in range(50):
        db.execute("INSERT INTO t (u) VALUES (NULL)")
    db.execute("INSERT OR REPLACE INTO t (u) VALUES ('local-7')")
    assert db.execute("SELECT count(*) FROM t").fetchone() == (50,)
    assert db.execute("SELECT max(change_id) FROM _cdc_log").fetchall() == [(before + 52,)]


@pytest.mark.parametrize(
    ("columns", "index", "dropped"),
    [
        ("text TEXT NOT NULL DEFAULT '', name, g TEXT AS (lower(name))", "ON t (g)", "text"),
        ("date TEXT NOT NULL DEFAULT '', made, g TEXT AS (date(made))", "ON t (g)", "date"),
        ("b NOT NULL DEFAULT 1, a, g INTEGER AS (a) REFERENCES t (id)", "ON t (g)", "b"),
        ("date, made", "ON t (date(made))", "date"),
        ("text, name", "ON t (ifnull(name, 'text'))", "text"),
    ],
)
async def test_a_column_that_only_has_the_name_of_something_else_can_be_dropped(
    path: str, db: sqlite3.Connection, columns: str, index: str, dropped: str
) -> None:
    db.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})")
    db.execute(f"CREATE UNIQUE INDEX i {index}")
    async with Capture(path) as capture:
        await capture.install()
    db.execute(f"ALTER TABLE t DROP COLUMN {dropped}")


@pytest.mark.parametrize(
    ("columns", "index"),
    [
        ("id INTEGER PRIMARY KEY, u", "ON t (id % 2)"),
        ("id INTEGER PRIMARY KEY, u", "ON t (u) WHERE rowid > 2"),
        ("id INTEGER PRIMARY KEY, u, 'g' AS (id % 2)", "ON t (g)"),
        ("id INTEGER PRIMARY KEY, u, a😀 AS (id % 2)", "ON t (a😀)"),
        ("id INTEGER PRIMARY KEY, u, v NOT NULL DEFAULT (abs(random()) % 2)", "ON t (v)"),
        ("id INTEGER PRIMARY KEY, u", "ON t (u) WHERE id > 2"),
        ("id INTEGER PRIMARY KEY AUTOINCREMENT, u, w AS (id % 2)", "ON t (w)"),
        ("id INTEGER PRIMARY KEY, u, w AS (id % 2)", "ON t (u, w + 0)"),
    ],
)
async def test_a_row_that_gets_its_key_by_itself_is_seen_to_replace_others(
    path: str, db: sqlite3.Connection, columns: str, index: str
) -> None:
    db.execute(f"CREATE TABLE t ({columns})")
    db.execute(f"CREATE UNIQUE INDEX i {index}")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        replaced = 0
        for _ in range(6):
            ((before,),) = db.execute("SELECT count(*) FROM t").fetchall()
            into = "t (u, v) VALUES ('a', NULL)" if "random" in columns else "t (u) VALUES ('a')"
            db.execute(f"INSERT OR REPLACE INTO {into}")
            ((after,),) = db.execute("SELECT count(*) FROM t").fetchall()
            replaced += after == before
            await replica.poll(capture)
            assert_equal(replica, path, {"t": ["id"]})
        assert replaced >= 2


async def test_rows_that_go_with_a_replaced_one_are_seen_to_go(path: str, db: sqlite3.Connection) -> None:
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY, u UNIQUE)")
    db.execute("CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE CASCADE)")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute("INSERT INTO parent VALUES (1, 'a')")
        db.execute("INSERT INTO child VALUES (1, 1), (2, 1)")
        await replica.poll(capture)
        db.execute("REPLACE INTO parent VALUES (2, 'a')")
        await replica.poll(capture)
        assert replica.tables["child"] == {}
        assert_equal(replica, path, {"parent": ["id"], "child": ["id"]})


async def test_a_write_that_meets_nobody_logs_one_row(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v, w)")
    db.execute("CREATE UNIQUE INDEX i ON t (lower(v)) WHERE w IS NOT NULL")
    async with Capture(path) as capture:
        await capture.install()
    ((before,),) = db.execute("SELECT max(change_id) FROM _cdc_log").fetchall()
    db.execute("INSERT INTO t VALUES (1, 'a', 'a', 1)")
    db.execute("UPDATE t SET w = 2")
    db.execute("UPDATE t SET u = 'b', v = 'c'")
    assert db.execute("SELECT max(change_id) FROM _cdc_log").fetchall() == [(before + 3,)]


async def test_an_upsert_still_sees_its_conflict(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v)")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        for _ in range(3):
            db.execute("INSERT INTO t (u, v) VALUES ('a', 1) ON CONFLICT (u) DO UPDATE SET v = v + 1")
        assert db.execute("SELECT v FROM t").fetchall() == [(3,)]
        with pytest.raises(sqlite3.IntegrityError):
            db.execute("INSERT INTO t (u) VALUES ('a')")
        assert db.execute("INSERT OR IGNORE INTO t (u) VALUES ('a')").rowcount == 0
        await replica.poll(capture)
        assert_equal(replica, path, {"t": ["id"]})


async def test_columns_that_no_index_names_can_still_be_dropped_and_renamed(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c, d, h NOT NULL DEFAULT 1, g AS (a))")
    db.execute("CREATE UNIQUE INDEX i ON t (lower(a)) WHERE b > 0")
    db.execute("CREATE UNIQUE INDEX j ON t (g, a)")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute("ALTER TABLE t DROP COLUMN d")
        db.execute("ALTER TABLE t DROP COLUMN h")
        db.execute("ALTER TABLE t RENAME COLUMN c TO e")
        db.execute("ALTER TABLE t RENAME COLUMN a TO f")
        db.execute("INSERT INTO t VALUES (1, 'x', 1, 1)")
        await replica.poll(capture)
        db.execute("REPLACE INTO t VALUES (2, 'X', 1, 1)")
        await replica.poll(capture)
        assert_equal(replica, path, {"t": ["id"]})


async def test_a_unique_index_that_comes_later_is_watched_from_then_on(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    db.execute("INSERT INTO t VALUES (1, 'x')")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute("CREATE UNIQUE INDEX i ON t (a)")
        # Before capture has noticed: the table is read anew anyway.
        db.execute("REPLACE INTO t VALUES (2, 'x')")
        await replica.poll(capture)
        assert_equal(replica, path, {"t": ["id"]})
        db.execute("REPLACE INTO t VALUES (3, 'x')")
        assert [event[0] for event in await replica.poll(capture)] == ["d", "c"]
        db.execute("DROP INDEX i")
        await replica.poll(capture)
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        assert len(names) == 3


@pytest.mark.parametrize(
    ("sql", "terms", "where"),
    [
        ("CREATE UNIQUE INDEX i ON t (a)", ["a"], ""),
        ("CREATE UNIQUE INDEX i ON t (a, b DESC, c ASC)", ["a", "b", "c"], ""),
        ('CREATE UNIQUE INDEX "i(" ON "t )" ("a,b", [c)], `d``(` desc)', ['"a,b"', "[c)]", "`d``(`"], ""),
        ("CREATE UNIQUE INDEX i ON t (f(a, 'x, ''y)'), b || ')')", ["f(a, 'x, ''y)')", "b || ')'"], ""),
        ("CREATE UNIQUE INDEX i ON t (a -- no, )\n, b /* ) */)", ["a", "b"], ""),
        ("CREATE UNIQUE INDEX i ON t(a)where(b)>=1.5e3", ["a"], "(b)>=1.5e3"),
        ("CREATE UNIQUE INDEX i ON t (a COLLATE NOCASE DESC) WHERE b -- end", ["a COLLATE NOCASE"], "b"),
        ("CREATE UNIQUE INDEX i ON t (\"desc\") WHERE x'28' <> c", ['"desc"'], "x'28' <> c"),
    ],
)
def test_create_index_is_taken_apart(sql: str, terms: list[str], where: str) -> None:
    assert split_create(sql) == (terms, where)
