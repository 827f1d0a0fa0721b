"""Rows of many megabytes travel through Kafka, as events and in snapshots; larger ones are marked."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING

import pytest

from consumers import Cache
from schemas.parts import ROW_BYTES_MAX
from tests.support.measured import cdc_measured

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

_MIB = 1024 * 1024
_MEMORY_MIB_MAX = 600
"""A row of 64 MiB is held several times over for an instant: by SQLite, encoded, in parts on their way."""


class Parts:
    """A poller and nodes that run once, each a process of its own; ``peak_mib`` is the memory they took."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.source = folder / "app.db"
        self._folder = folder
        self._kafka = ("--bootstrap-servers", bootstrap, "--topic", "cdc.large", "--timeout", "60s")
        self.peak_mib: dict[str, int] = {}

    def write(self, rows: dict[int, bytes]) -> None:
        with sqlite3.connect(self.source) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS documents (id INTEGER PRIMARY KEY, body BLOB)")
            connection.executemany("REPLACE INTO documents VALUES (?, ?)", rows.items())
        connection.close()

    def publish(self, command: str = "poll", *flags: str) -> None:
        self._run("poller", command, "--source", str(self.source), *flags, *self._kafka)

    def consume(self, node: str) -> None:
        self._run(node, "consume", "--once", "--cache", str(self.cache(node)), "--node", node, *self._kafka)

    def cache(self, node: str) -> Path:
        return self._folder / f"{node}.redb"

    def shown(self, node: str) -> dict[object, object]:
        with Cache.open(self.cache(node)) as cache:
            return {row["id"]: row["body"] for _, row in cache.scan("documents")}

    def _run(self, part: str, *arguments: str) -> None:
        measured = cdc_measured(*arguments)
        assert measured.code == 0
        self.peak_mib[part] = max(self.peak_mib.get(part, 0), measured.peak_mib)


def unlike_bytes(size: int) -> bytes:
    """Bytes of which no two parts are alike, made fast."""
    block = random.Random(size).randbytes(_MIB - 4)
    return b"".join(number.to_bytes(4) + block for number in range(size // _MIB))


@pytest.fixture
def parts(tmp_path: Path, kafka: KafkaBroker) -> Parts:
    return Parts(tmp_path, kafka.bootstrap)


def test_rows_of_megabytes_travel_as_events_and_in_snapshots_and_larger_ones_are_marked(parts: Parts):
    rows = {1: b"small", 2: unlike_bytes(5 * _MIB)}
    parts.write(rows)
    parts.publish("poll", "--once")
    parts.consume("follower")
    assert parts.shown("follower") == rows, "from the first snapshot"

    rows |= {2: unlike_bytes(6 * _MIB), 3: unlike_bytes(64 * _MIB), 4: b"small too"}
    beyond = {5: bytes(ROW_BYTES_MAX)}
    parts.write(rows | beyond)
    parts.publish("poll", "--once")
    parts.consume("follower")
    assert parts.shown("follower") == rows, "from events"
    with Cache.open(parts.cache("follower")) as cache:
        assert cache.get("documents", 5) is None

    parts.publish("snapshot")
    parts.consume("newcomer")
    assert parts.shown("newcomer") == rows, "from a snapshot"
    assert max(parts.peak_mib.values()) < _MEMORY_MIB_MAX, parts.peak_mib
