"""SQL as it is rewritten for servers."""

from __future__ import annotations

import math
import sqlite3

import pytest

from cdc.source.remote_sql import (
    exact,
    exact_window,
    is_query,
    tagged,
    without_infinities,
    without_numbers,
)
from cdc.source.remote_values import untagged

INF = math.inf


@pytest.mark.parametrize(
    ("sql", "args", "written", "left"),
    [
        ("SELECT ?", (1.5,), "SELECT ?", [1.5]),
        ("SELECT ?, ?, ?", (1, -INF, "a"), "SELECT ?, (-9e999), ?", [1, "a"]),
        ("SELECT '?', \"a?\", ?", (INF,), "SELECT '?', \"a?\", (9e999)", []),
        (
            "SELECT 'it''s ?' -- why?\n, ?/*?*/, ?",
            (INF, 2),
            "SELECT 'it''s ?' -- why?\n, (9e999)/*?*/, ?",
            [2],
        ),
        ("SELECT [?], `?`, ?", (INF,), "SELECT [?], `?`, (9e999)", []),
    ],
)
def test_infinite_parameters_are_written_into_the_sql(sql: str, args: tuple, written: str, left: list):
    assert without_infinities(sql, args) == (written, left)


@pytest.mark.parametrize("sql", ["SELECT 1", " with a as (select 1) select * from a", "VALUES (1)"])
def test_a_query_is_told(sql: str):
    assert is_query(sql)


@pytest.mark.parametrize("sql", ["PRAGMA schema_version", "INSERT INTO a VALUES (1) RETURNING *", "selected"])
def test_what_is_no_query_is_told(sql: str):
    assert not is_query(sql)


def test_columns_of_one_name_lose_the_numbers_that_a_subquery_gives_them():
    assert without_numbers(("id", "id:1", "a:2", "id:2", ":1")) == ("id", "id", "a:2", "id", ":1")


def test_the_exact_form_is_kept_in_order_and_gives_every_value():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    values = [None, 1, -1.5, INF, -INF, "", "a\0b", b"", b"t", b"\xff"]
    connection.executemany("INSERT INTO t VALUES (?, ?)", enumerate(values))
    sql = "SELECT v FROM t ORDER BY id DESC -- a comment"
    found = [row[0] for row in connection.execute(exact(sql, 1, tagged))]
    given = [untagged(value) if isinstance(value, bytes) else value for value in reversed(found)]
    assert given == [None, 1, -1.5, "inf", "-inf", *values[5:]]
    window = connection.execute(exact_window(sql, 1, tagged), (3, 2)).fetchall()
    assert [row[0] for row in window] == found[2:5]
    connection.close()
