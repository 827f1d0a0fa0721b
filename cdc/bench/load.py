"""The first load of a cache: ``cdc sync`` from nothing."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from cdc.bench import workload
from cdc.bench.bench import seconds_of
from cdc.bench.figure import Skipped, ceiling
from cdc.bench.process import can_look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure

SUMMARY = "the first load of a cache, and its memory"

AIM_PER_SECOND = 120_000


def measure(bench: Bench) -> Iterator[Figure | Skipped]:
    """Measures a load of all rows, and the memory that it takes, whatever the table's size."""
    rows, database = bench.scale.rows, bench.folder / "app.db"
    workload.create(database, rows)
    with closing(workload.connect(database)) as connection:
        row_bytes = workload.row_bytes(connection)
    bench.commands(database, "unused.redb").run("install")
    rates, cpu_us, peaks, fetched = [], [], [], []
    for run in range(bench.scale.repeat):
        outcome = bench.commands(database, f"cache-{run}.redb").run("sync")
        rates.append(rows / outcome.seconds)
        cpu_us.append(outcome.cpu_seconds / rows * 1e6)
        peaks.append(outcome.peak_bytes / 2**20)
        fetched.append(rows / seconds_of(lambda: workload.fetch_all(database, workload.SELECT_ALL)))
        (bench.folder / f"cache-{run}.redb").unlink()
    yield bench.figure(
        "sync",
        "rows/s",
        rates,
        aim=AIM_PER_SECOND,
        ceilings=(ceiling("sqlite3: fetch of the table's rows", fetched, "rows/s"),),
        note=f"{rows:,} rows of {row_bytes} bytes into a new file, durable and swapped in",
    )
    yield bench.figure("sync.cpu", "us/row", cpu_us, better="lower", note="its start included")
    if can_look():
        yield bench.figure("sync.memory", "MiB", peaks, better="lower", note="peak of the process")
    else:
        yield Skipped("load.sync.memory", "this system does not say what a process uses (no /proc)")
