"""A backlog of changes: rows committed at the source while no poller ran, and topics that lack them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from cdc.bench import workload

if TYPE_CHECKING:
    from cdc.bench.bench import Bench
    from cdc.bench.broker import Broker
    from cdc.bench.command import Outcome

# What `cdc.capture.queries.select_touched` makes of this table, written out.
_TOUCHED = (
    f"SELECT t.*, l.k1, l.newest, l.ts, l.updated FROM (SELECT k1, max(change_id) AS newest, max(ts) AS ts, "
    f"min(change_id * 2 + (op <> 'c')) & 1 AS updated FROM _cdc_log WHERE change_id > ? GROUP BY k1) AS l "
    f"LEFT JOIN {workload.TABLE} AS t ON t.c_id = l.k1"
)


class Backlog:
    """A source whose log holds ``bench.scale.rows`` inserts that none of the topics has.

    Args:
        bench: the run.
        broker: where the topics are made.
        topics: how many.
    """

    def __init__(self, bench: Bench, broker: Broker, topics: int) -> None:
        self._bench = bench
        self._database = bench.folder / "app.db"
        self._rows = bench.scale.rows
        workload.create(self._database)
        self.topics = [broker.new_topic() for _ in range(topics)]
        for topic in self.topics:
            # The first poll of a topic publishes a snapshot, here of an empty table.
            self.publish(topic)
        with closing(workload.connect(self._database)) as connection:
            (self._before,) = connection.execute("SELECT max(change_id) FROM _cdc_log").fetchone()
            workload.fill(connection, 1, self._rows)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.row_bytes = workload.row_bytes(connection)

    def publish(self, topic: str) -> Outcome:
        """Runs the poller until the topic has everything."""
        return self._bench.commands(self._database, "unused.redb", topic).run("poll", "--once")

    def consume(self, topic: str, cache: str) -> Outcome:
        """Runs a node with this cache file until it has everything that is in the topic."""
        return self._bench.commands(self._database, cache, topic).run("consume", "--once")

    def fetch_rows(self) -> None:
        """Fetches the rows with nothing around sqlite3."""
        workload.fetch_all(self._database, workload.SELECT_ALL)

    def fetch_touched(self) -> None:
        """Fetches what the poller fetches, with nothing around sqlite3."""
        workload.fetch_all(self._database, _TOUCHED, self._before)
