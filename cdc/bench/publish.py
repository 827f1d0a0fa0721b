"""From the change log to Kafka: a backlog of inserted rows, published by ``cdc poll --once``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.bench.backlog import Backlog
from cdc.bench.bench import seconds_of
from cdc.bench.figure import ceiling, no_kafka
from cdc.bench.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure, Skipped

SUMMARY = "from the change log to Kafka, a backlog of inserts"

AIM_PER_SECOND = 60_000


def measure(bench: Bench) -> Iterator[Figure | Skipped]:
    """Measures the poller, and by turns what its parts do alone: SQLite's fetches, the client's sends."""
    broker = bench.broker
    if broker is None:
        yield no_kafka(bench.name)
        return
    rows = bench.scale.rows
    backlog = Backlog(bench, broker, topics=bench.scale.repeat)
    runs = Runs(bench, rows)
    fetched, joined, sent, sizes = [], [], [], []
    for topic in backlog.topics:
        runs.add(backlog.publish(topic))
        fetched.append(rows / seconds_of(backlog.fetch_rows))
        joined.append(rows / seconds_of(backlog.fetch_touched))
        records = broker.first_records(topic, rows)
        sizes.append(sum(len(key) + len(value) for key, value in records) / len(records))
        sent.append(len(records) / broker.send(records))
    yield bench.figure(
        "inserts",
        "changes/s",
        runs.rates,
        aim=AIM_PER_SECOND,
        ceilings=(
            ceiling("sqlite3: fetch of the table's rows", fetched, "rows/s"),
            ceiling("sqlite3: fetch of the poller's query", joined, "rows/s"),
            ceiling("aiokafka: create_batch, send_batch of the same records", sent, "records/s"),
        ),
        note=f"{rows:,} rows of {backlog.row_bytes} bytes, events of {sizes[0]:.0f}; the whole command",
    )
    yield runs.cpu("inserts", "us/change", "of the poller, its start included")
