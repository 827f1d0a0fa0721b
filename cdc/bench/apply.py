"""From Kafka to redb: appended rows, applied by ``cdc consume --once`` and durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.bench.backlog import Backlog
from cdc.bench.bench import seconds_of
from cdc.bench.figure import ceiling, no_kafka
from cdc.bench.runs import Runs
from consumers import _redb, limits
from schemas.codec import decode_event
from schemas.event import ROW_OPS
from schemas.keys import split_record_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure, Skipped
    from consumers._redb import Ops

SUMMARY = "from Kafka to redb, appended rows, durable"

AIM_PER_SECOND = 100_000


def measure(bench: Bench) -> Iterator[Figure | Skipped]:
    """Measures a node that catches up, and by turns what its parts do alone: the client's fetches, redb."""
    broker = bench.broker
    if broker is None:
        yield no_kafka(bench.name)
        return
    rows = bench.scale.rows
    backlog = Backlog(bench, broker, topics=1)
    (topic,) = backlog.topics
    backlog.publish(topic)
    records = broker.first_records(topic, rows)
    batches = list(_batches(records))
    runs, fetched, written = Runs(bench, rows), [], []
    for run in range(bench.scale.repeat):
        runs.add(backlog.consume(topic, f"cache-{run}.redb"))
        fetched.append(rows / broker.fetch(topic, rows))
        with _redb.Database.create(bench.folder / f"raw-{run}.redb") as database:
            written.append(
                len(records) / seconds_of(lambda: [database.apply(batch, {}) for batch in batches])
            )
    yield bench.figure(
        "appended",
        "events/s",
        runs.rates,
        aim=AIM_PER_SECOND,
        ceilings=(
            ceiling("aiokafka: getmany of the same topic", fetched, "records/s"),
            ceiling(f"redb: durable commits of {limits.COMMIT_ROWS_MAX:,} of these rows", written, "rows/s"),
        ),
        note=f"{rows:,} events in one group; the command's whole work, opening and closing included",
    )
    yield runs.cpu("appended", "us/event", "of the node, its start included")
    yield runs.memory("appended", "peak of the node's process")


def _batches(records: list[tuple[bytes, bytes]]) -> Iterator[Ops]:
    """The rows of a topic's records, in as large commits as a node makes."""
    rows: list[tuple[bytes, bytes | None, int]] = []
    table = ""
    for key, value in records:
        event = decode_event(value)
        if event.op in ROW_OPS:
            table, row_key = split_record_key(key)
            rows.append((row_key, bytes(event.after), event.change_id))
        if len(rows) == limits.COMMIT_ROWS_MAX:
            yield {table: rows}
            rows = []
    if rows:
        yield {table: rows}
