"""What capture costs the application: its writes with triggers and without, by turns."""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from cdc.bench import workload
from cdc.bench.figure import ceiling

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure

SUMMARY = "the application's writes, with capture and without"

_ROUND_ROWS = {1: 500, 100: 5_000}
"""Rows of a round by rows of a transaction; in a small table only as many as it has."""

_ROUNDS_PER_RUN = 5


def measure(bench: Bench) -> Iterator[Figure]:
    """Measures inserts and updates, in transactions of one row and of a hundred, in two equal databases."""
    plain, captured = bench.folder / "plain.db", bench.folder / "captured.db"
    for database in (plain, captured):
        workload.create(database, bench.scale.rows)
    bench.commands(captured, "unused.redb").run("install")
    source, inserted = workload.Rows(seed=4), bench.scale.rows
    with closing(workload.connect(plain)) as without, closing(workload.connect(captured)) as triggered:
        for name in ("insert", "update"):
            for size, rows_max in _ROUND_ROWS.items():
                rows = min(rows_max, bench.scale.rows)
                alone, captured_too = [], []
                for _ in range(bench.scale.repeat * _ROUNDS_PER_RUN):
                    if name == "insert":
                        sql, work = (
                            workload.INSERT,
                            [source.insert(inserted + 1 + row) for row in range(rows)],
                        )
                        inserted += rows
                    else:
                        sql, work = (
                            workload.UPDATE,
                            [source.update(source.pick(inserted)) for _ in range(rows)],
                        )
                    alone.append(rows / _write(without, sql, work, size))
                    captured_too.append(rows / _write(triggered, sql, work, size))
                cost = 1 - statistics.median(captured_too) / statistics.median(alone)
                yield bench.figure(
                    f"{name}.{size}",
                    "rows/s",
                    captured_too,
                    ceilings=(ceiling("the same without capture", alone, "rows/s"),),
                    note=f"{size} rows a transaction; capture takes {cost:.0%}",
                )


def _write(connection: sqlite3.Connection, sql: str, work: list[tuple[Any, ...]], size: int) -> float:
    """Writes rows in transactions of that size; gives the seconds."""
    began = time.perf_counter()
    for start in range(0, len(work), size):
        connection.execute("BEGIN IMMEDIATE")
        for parameters in work[start : start + size]:
            connection.execute(sql, parameters)
        connection.execute("COMMIT")
    return time.perf_counter() - began
