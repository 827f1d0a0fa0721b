"""Which conditions a row alone answers, and that they mean in our queries what was written."""

from __future__ import annotations

import sqlite3

import pytest

from cdc.capture.condition import ConditionError, read_condition

COLUMNS = ("id", "archived_at", "Kind", "order", 'q"c', "created", "ts", "x", "e5")
ROWS = [
    (1, None, "a", 1, 1, "2024-05-01", 1, 0, 1),
    (2, "2024-01-01", "B", 2, None, "now", 2, 1, 2),
    (3, "", "b", None, "q", None, 3, "x", None),
]


@pytest.mark.parametrize(
    "condition",
    [
        "archived_at IS NULL",
        "ARCHIVED_AT is null OR episodes.kind = 'b' -- those too",
        '"Kind" COLLATE nocase IN (\'b\', \'c\') AND "episodes"."order" >= .5e0',
        "kind NOT IN ('a') /* not a */ AND ts BETWEEN 1 AND 2+1",
        "CASE WHEN x THEN e5 ELSE 1e5 END > 1",
        "CAST(ts AS VARCHAR(10)) || 'x' = '2x' OR `q\"c` = 'q'",
        "[order] % 2 = 1 AND NOT x = X'00'",
        "length(created) > 3 AND substr(created, 1, 4) = '2024'",
        "coalesce(archived_at, 'a;b)''') > '1' AND ts & 2 <> 0",
        "date(created) > '2024-01-01'",
        "strftime('%Y', episodes.created, '+1 day') = '2024' OR ts = -2",
        "(kind LIKE 'B%' ESCAPE '!') IS TRUE AND x IS NOT DISTINCT FROM 1",
        "ts",
    ],
)
def test_a_condition_on_the_row_means_what_was_written(condition: str):
    db = sqlite3.connect(":memory:")
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in COLUMNS)
    db.execute(f"CREATE TABLE episodes ({names})")
    db.executemany("INSERT INTO episodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", ROWS)
    ours = read_condition(condition, "Episodes", COLUMNS)
    # Beside a log that has columns of the same names.
    found = db.execute(
        f"SELECT t.id FROM (SELECT 1 AS ts, 2 AS newest) AS l JOIN episodes AS t ON {ours} ORDER BY 1"
    ).fetchall()
    wanted = db.execute(f"SELECT id FROM episodes WHERE {condition}\nORDER BY 1").fetchall()
    if "date(created)" in condition or "strftime" in condition:
        wanted = [row for row in wanted if row != (2,)]
    assert found == wanted


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("", "empty"),
        (" -- nothing", "empty"),
        ("id IN (SELECT id FROM others)", "SELECT"),
        ("EXISTS (SELECT 1)", "exists() may depend"),
        ("(VALUES (1))", "values() may depend"),
        ("id IN others", "IN must be followed"),
        ("id IN main.others", "IN must be followed"),
        ("others.id = 1", '"others", which is not the table'),
        ("main.episodes.id = 1", '"main"'),
        ("random() > 0", "random() may depend"),
        ("changes() = 0", "may depend"),
        ("my_function(id)", "may depend"),
        ('"random"() > 0', '"random" is no column'),
        ("created > CURRENT_TIMESTAMP", '"CURRENT_TIMESTAMP" is no column'),
        ("created > datetime('now')", "depends on the clock"),
        ("created > datetime( 'NOW ', '-1 day')", "depends on the clock"),
        ("created > date()", "needs a column or a literal"),
        ("created > strftime('%Y')", "needs a column or a literal"),
        ("date(created, 'localtime') = 1", "depends on the clock"),
        ("date('n' || 'ow') = created", "needs a column or a literal"),
        ("date(lower('NOW')) = created", "needs a column or a literal"),
        ("unixepoch('subsec') > ts", "depends on the clock"),
        ("id = ?", "'?'"),
        ("id = :id", "':'"),
        ("id = @id", "'@'"),
        ("1); DELETE FROM episodes; --", "';'"),
        ("1) OR (1", "parentheses do not match"),
        ("(id = 1", "parentheses do not match"),
        ("id = 1; id", "';'"),
        ("id = 'a", '"\'"'),
        ("rowid = 1", '"rowid" is no column'),
        ('kind = "a"', '"a" is no column'),
        ("kind COLLATE mine = 'a'", "COLLATE"),
        ("count(*) OVER () > 1", "count() may depend"),
        ("RAISE(ABORT, 'no')", "may depend"),
    ],
)
def test_what_depends_on_more_than_the_row_is_refused(condition: str, reason: str):
    with pytest.raises(ConditionError) as caught:
        read_condition(condition, "episodes", COLUMNS)
    assert reason.lower() in str(caught.value).lower()
