"""cdc verify, on real files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]


def run(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def test_every_row_whose_key_is_null_is_counted_as_quarantined(cdc: Cdc, tmp_path: Path):
    source = tmp_path / "app.db"
    run(source, "CREATE TABLE t (a TEXT PRIMARY KEY, b); INSERT INTO t VALUES (NULL, 1), (NULL, 2), ('x', 3)")
    for change, rows, quarantined in (
        ("", 3, 2),
        ("INSERT INTO t VALUES (NULL, 4)", 4, 3),
        ("DELETE FROM t WHERE b IN (1, 2)", 2, 1),
        ("DELETE FROM t WHERE b = 4", 1, 0),
    ):
        run(source, change)
        assert cdc("sync", "--source", "app.db").code == 0
        document = cdc("verify", "--source", "app.db", "--json").json()
        report = document["tables"]["t"]
        assert (report["source_rows"], report["cache_rows"], report["quarantined"]) == (rows, 1, quarantined)
        assert all(document["checks"].values())
        assert document["equal"]


def test_a_table_without_a_name_is_left_out_with_the_reason(cdc: Cdc, tmp_path: Path):
    run(
        tmp_path / "app.db",
        'CREATE TABLE "" (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY)',
    )
    assert cdc("sync", "--source", "app.db").code == 0
    assert cdc("verify", "--source", "app.db", "--json").json()["equal"]
    (skipped,) = cdc("status", "--source", "app.db", "--json").json()["source"]["skipped"]
    assert skipped["table"] == ""
    assert skipped["reason"].startswith("its name is empty")
