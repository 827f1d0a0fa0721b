"""What capture costs the application: its writes with triggers and without, by turns."""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from cdc.bench import workload
from cdc.bench.figure import ceiling

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure

SUMMARY = "what capture leaves of the application's writes a second"

_ROUND_ROWS = {("wal", 1): 500, ("wal", 100): 5_000, ("rollback", 1): 30, ("rollback", 100): 2_000}
"""Rows of a round by rows of a transaction, in a table of `_TABLE_ROWS`; in proportion in another.

In rollback-journal mode a commit waits for the disk.
"""

_TABLE_ROWS = 20_000

_ROUNDS_PER_RUN = 5

_AIMS = {("insert", 1): 0.55, ("insert", 100): 0.8, ("update", 1): 0.55, ("update", 100): 0.7}
"""For tables without a secondary UNIQUE index."""


class _Pair:
    """Two equal databases, one of them captured, that get the same writes.

    Args:
        bench: the run.
        journal: how both write.
        unique: their table has a secondary UNIQUE index, whose column the updates change.
    """

    def __init__(self, bench: Bench, journal: workload.Journal, *, unique: bool) -> None:
        name = f"{journal}-{'unique' if unique else 'plain'}"
        plain, captured = bench.folder / f"{name}.db", bench.folder / f"{name}-captured.db"
        for database in (plain, captured):
            workload.create(database, bench.scale.rows, journal=journal, unique=unique)
        bench.commands(captured, "unused.redb").run("install")
        self.alone = workload.connect(plain, journal)
        self.captured = workload.connect(captured, journal)
        self._rows = workload.Rows(seed=4)
        self._unique = unique
        self._inserted, self._updated = bench.scale.rows, 0

    def work(self, kind: str, rows: int) -> tuple[str, list[tuple[Any, ...]]]:
        """The next writes: a statement, and its parameters row by row."""
        if kind == "insert":
            first = self._inserted + 1
            self._inserted += rows
            return workload.INSERT, [self._rows.insert(number) for number in range(first, first + rows)]
        picked = [self._rows.pick(self._inserted) for _ in range(rows)]
        if not self._unique:
            return workload.UPDATE, [self._rows.update(number) for number in picked]
        first = self._updated + 1
        self._updated += rows
        return workload.UPDATE_UNIQUE, [
            self._rows.update_unique(number, first + place) for place, number in enumerate(picked)
        ]

    def close(self) -> None:
        """Closes both."""
        self.alone.close()
        self.captured.close()


class _Rates(msgspec.Struct):
    """Rows a second of each round, and the ratio of each run: the median of its rounds'."""

    alone: list[float]
    captured: list[float]
    ratios: list[float]


def measure(bench: Bench) -> Iterator[Figure]:
    """Measures inserts and updates, one and a hundred a transaction, in WAL and rollback-journal mode.

    A plain table, and one with a secondary UNIQUE index: REPLACE could delete another row of it, so its
    triggers look for that row before each write.
    """
    for journal in ("wal", "rollback"):
        for unique in (False, True):
            with closing(_Pair(bench, journal, unique=unique)) as pair:
                for (kind, size), aim in _AIMS.items():
                    rows = max(1, _ROUND_ROWS[journal, size] * bench.scale.rows // _TABLE_ROWS)
                    rates = _rates(pair, kind, size, rows, bench.scale.repeat)
                    yield bench.figure(
                        f"{journal}.{'unique' if unique else 'plain'}.{kind}.{size}",
                        "x",
                        rates.ratios,
                        aim=None if unique else aim,
                        ceilings=(
                            ceiling("with capture", rates.captured, "rows/s"),
                            ceiling("without", rates.alone, "rows/s"),
                        ),
                        note="one row a transaction" if size == 1 else f"{size} rows a transaction",
                    )


def _rates(pair: _Pair, kind: str, size: int, rows: int, repeat: int) -> _Rates:
    rates = _Rates([], [], [])
    for _ in range(repeat):
        ratios: list[float] = []
        for number in range(_ROUNDS_PER_RUN):
            sql, work = pair.work(kind, rows)
            # By turns first and second: what the first leaves to the disk, the second may wait for.
            order = [(pair.alone, rates.alone), (pair.captured, rates.captured)]
            for connection, found in order[:: -1 if number % 2 else 1]:
                found.append(rows / _write(connection, sql, work, size))
            ratios.append(rates.captured[-1] / rates.alone[-1])
        rates.ratios.append(statistics.median(ratios))
    return rates


def _write(connection: sqlite3.Connection, sql: str, work: list[tuple[Any, ...]], size: int) -> float:
    """Writes rows in transactions of that size; gives the seconds."""
    began = time.perf_counter()
    for start in range(0, len(work), size):
        connection.execute("BEGIN IMMEDIATE")
        for parameters in work[start : start + size]:
            connection.execute(sql, parameters)
        connection.execute("COMMIT")
    return time.perf_counter() - began
