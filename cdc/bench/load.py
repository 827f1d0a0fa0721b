"""The first load of a cache: ``cdc sync`` from nothing."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from cdc.bench import workload
from cdc.bench.bench import seconds_of
from cdc.bench.figure import ceiling
from cdc.bench.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure, Skipped

SUMMARY = "the first load of a cache, and its memory"

AIM_PER_SECOND = 120_000


def measure(bench: Bench) -> Iterator[Figure | Skipped]:
    """Measures a load of all rows, and the memory that it takes, whatever the table's size."""
    rows, database = bench.scale.rows, bench.folder / "app.db"
    workload.create(database, rows)
    with closing(workload.connect(database)) as connection:
        row_bytes = workload.row_bytes(connection)
    bench.commands(database, "unused.redb").run("install")
    runs, fetched = Runs(bench, rows), []
    for run in range(bench.scale.repeat):
        runs.add(bench.commands(database, f"cache-{run}.redb").run("sync"))
        fetched.append(rows / seconds_of(lambda: workload.fetch_all(database, workload.SELECT_ALL)))
        (bench.folder / f"cache-{run}.redb").unlink()
    yield bench.figure(
        "sync",
        "rows/s",
        runs.rates,
        aim=AIM_PER_SECOND,
        ceilings=(ceiling("sqlite3: fetch of the table's rows", fetched, "rows/s"),),
        note=f"{rows:,} rows of {row_bytes} bytes into a new file, durable and swapped in",
    )
    yield runs.cpu("sync", "us/row", "its start included")
    yield runs.memory("sync", "peak of the process")
