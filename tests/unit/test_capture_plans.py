"""The queries use the indexes they are meant to, whatever kind of key a table has."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from cdc.capture import queries
from cdc.capture.introspect import read_schema
from cdc.capture.select import select_tables
from cdc.capture.table import Selection
from cdc.source import open_client

if TYPE_CHECKING:
    from pathlib import Path

    from cdc.capture.table import Table

TABLES = [
    "t (v, id INTEGER PRIMARY KEY)",
    "t (id INTEGER PRIMARY KEY DESC, v)",
    "t (id INT PRIMARY KEY, v)",
    "t (id TEXT PRIMARY KEY, v)",
    "t (id REAL PRIMARY KEY, v)",
    "t (id NUMERIC PRIMARY KEY, v)",
    "t (id BLOB PRIMARY KEY, v)",
    "t (id PRIMARY KEY, v)",
    "t (id TEXT COLLATE NOCASE PRIMARY KEY, v)",
    "t (id TEXT, v, PRIMARY KEY (id COLLATE NOCASE))",
    "t (id TEXT COLLATE NOCASE, v, PRIMARY KEY (id COLLATE BINARY))",
    "t (a TEXT, b INTEGER, v, PRIMARY KEY (b, a))",
    "t (a TEXT, b INTEGER, v, PRIMARY KEY (b DESC, a DESC))",
    "t (a COLLATE RTRIM, b COLLATE NOCASE, c, v, PRIMARY KEY (c, b, a))",
    "t (id TEXT PRIMARY KEY, v) WITHOUT ROWID",
    "t (a INTEGER, b TEXT, c BLOB, v, PRIMARY KEY (c, a, b)) WITHOUT ROWID",
    "t (id ANY PRIMARY KEY, v ANY) STRICT",
    "t (id INTEGER PRIMARY KEY, v ANY) STRICT",
    "t (k TEXT UNIQUE, v)",
    "t (k TEXT, l INTEGER, v, UNIQUE (l, k))",
]


class Planned:
    """A database with one table and an empty log, and the plans of the queries that read it."""

    def __init__(self, folder: Path, table: str) -> None:
        self.path = str(folder / "source.db")
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.execute("PRAGMA synchronous = OFF")
        self.db.execute(f"CREATE TABLE {table}")
        keys = ", ".join(f"k{number}" for number in range(1, 4))
        self.db.execute(f"CREATE TABLE _cdc_log (change_id INTEGER PRIMARY KEY, tbl, op, ts, nonce, {keys})")
        self.key_columns = {"t": ("l", "k") if "l INTEGER" in table else ("k",)} if "UNIQUE" in table else {}

    def analyze_with(self, rows: int) -> None:
        """Have statistics say that the table has so many rows."""
        self.db.execute("ANALYZE")
        self.db.execute("INSERT INTO _cdc_log (tbl, op) VALUES (1, 'c'), (1, 'c'), (2, 'c')")
        self.db.execute("ANALYZE")
        index = self.db.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchone()
        columns = " 1" * len(self.db.execute(f"PRAGMA index_info('{index[0]}')").fetchall()) if index else ""
        self.db.execute(
            "INSERT INTO sqlite_stat1 VALUES ('t', ?, ?)", (index[0] if index else None, f"{rows}{columns}")
        )

    async def table(self) -> Table:
        client = await open_client(self.path)
        async with client.reading() as transaction:
            schema = await read_schema(transaction)
        await client.close()
        return select_tables(schema, Selection(None, self.key_columns), strict=True).tables["t"]

    def plan(self, sql: str) -> list[tuple[int, int, int, str]]:
        """Explain a query on a new connection, which knows the statistics of now."""
        fresh = sqlite3.connect(self.path)
        lines = fresh.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * sql.count("?")).fetchall()
        fresh.close()
        return lines


@pytest.mark.parametrize("rows", [None, 1, 2, 5, 10**9])
@pytest.mark.parametrize("definition", TABLES)
async def test_touched_keys_find_their_rows_by_index_and_the_log_by_range(
    tmp_path: Path, definition: str, rows: int | None
) -> None:
    planned = Planned(tmp_path, definition)
    if rows is not None:
        planned.analyze_with(rows)
    table = await planned.table()
    lines = planned.plan(queries.select_touched(table))
    if queries.scans(lines):
        assert table.rowid_alias
        assert rows == 1, "the one known case"
        lines = planned.plan(queries.select_touched(table, ranged=True))
    details = [line[3] for line in lines]
    assert any(detail.startswith("SEARCH _cdc_log USING INTEGER PRIMARY KEY") for detail in details), details
    (joined,) = [detail for detail in details if "LEFT-JOIN" in detail]
    assert joined.startswith("SEARCH t USING"), details
    assert "AUTOMATIC" not in joined
    if "rowid>?" in joined:
        assert "rowid<?" in joined
    else:
        assert joined.count("=?") == len(table.key), details
    assert not any("SCAN t" in detail or "ORDER BY" in detail for detail in details), details
    planned.db.close()


@pytest.mark.parametrize("definition", TABLES)
async def test_all_rows_come_by_index_without_sorting_and_one_by_search(
    tmp_path: Path, definition: str
) -> None:
    planned = Planned(tmp_path, definition)
    table = await planned.table()
    (line,) = planned.plan(queries.select_all(table))
    assert line[3].startswith("SCAN t")
    (line,) = planned.plan(queries.select_by_key(table, [1] * len(table.key)))
    assert line[3].startswith("SEARCH t USING")
    planned.db.close()
