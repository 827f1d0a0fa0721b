"""A new node from a snapshot in Kafka: ``cdc consume --once`` from nothing."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from cdc.bench import workload
from cdc.bench.figure import ceiling, no_kafka
from cdc.bench.runs import Runs
from schemas.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure, Skipped

SUMMARY = "a new node from a snapshot in Kafka, and its memory"

AIM_PER_SECOND = 500_000
AIM_MIB_MAX = 300

_ROW_BYTES = 200
# The row's other values, as SQLite stores them: an INTEGER of 4 bytes, a name of 12, a REAL of 8.
_DATA_CHARS = _ROW_BYTES - 4 - 12 - 8


def measure(bench: Bench) -> Iterator[Figure | Skipped]:
    """Measures nodes that start from one snapshot, and by turns the client's fetches of the same chunks."""
    broker = bench.broker
    if broker is None:
        yield no_kafka(bench.name)
        return
    rows, database, topic = bench.scale.rows, bench.folder / "app.db", broker.new_topic()
    _create(database, rows)
    bench.commands(database, "unused.redb", topic).run("poll", "--once")
    # A node needs no source; with this one it would fail if it asked for anything there.
    absent = bench.folder / "absent.db"
    runs, fetched = Runs(bench, rows), []
    for run in range(bench.scale.repeat):
        cache = f"cache-{run}.redb"
        runs.add(bench.commands(absent, cache, topic).run("consume", "--once"))
        (bench.folder / cache).unlink()
        fetched.append(rows / broker.fetch_all(Topics(topic).snapshots))
    yield bench.figure(
        "rows",
        "rows/s",
        runs.rates,
        aim=AIM_PER_SECOND,
        ceilings=(ceiling("aiokafka: getmany of the same chunks", fetched, "rows/s"),),
        note=f"{rows:,} rows of {_ROW_BYTES} bytes into a new file, durable; the command's whole work",
    )
    yield runs.cpu("rows", "us/row", "of the node, its start included")
    yield runs.memory("rows", "peak of the node's process", AIM_MIB_MAX)


def _create(path: Path, rows: int) -> None:
    """Makes a database of one table; SQLite itself makes the rows, so that even millions take seconds."""
    with closing(workload.connect(path)) as connection:
        connection.execute("CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, amount REAL, data TEXT)")
        connection.execute("BEGIN")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO item SELECT i, printf('item%08d', i), i * 0.37, "
            f"hex(randomblob({_DATA_CHARS // 2})) FROM n",
            (rows,),
        )
        connection.execute("COMMIT")
