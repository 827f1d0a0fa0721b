"""Nodes and pollers of different versions: nodes are upgraded first, and say so where they are not."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest

from consumers import Cache
from tests.support.commands import FAILED, PROJECT, Running, cdc
from tests.support.conditions import wait_until
from tests.support.topics import records
from tests.support.versions import MAJOR, MINOR, later_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

_LIMIT_S = 30.0


class Parts:
    """One poller and one node at a topic, each of any version."""

    def __init__(self, folder: Path, kafka: KafkaBroker, topic: str, exits: ExitStack) -> None:
        self.folder = folder
        self.source, self.cache = folder / "app.db", folder / "cache.redb"
        self._kafka = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
        self._topic = topic
        self._exits = exits
        with closing(sqlite3.connect(self.source)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")

    def insert(self, key: int) -> None:
        with closing(sqlite3.connect(self.source)) as connection, connection:
            connection.execute("INSERT INTO t VALUES (?, 'v')", (key,))

    def poller(self, program: Path = PROJECT) -> Running:
        command = ("poll", "--source", self.source, *self._kafka)
        return self._exits.enter_context(Running(self.folder, *command, program=program))

    def node(self, program: Path = PROJECT) -> Running:
        command = ("consume", "--cache", self.cache, "--node", f"{self._topic}.node", *self._kafka)
        return self._exits.enter_context(Running(self.folder, *command, program=program))

    def keys(self) -> list[Any]:
        """What the node shows, asked as an application would."""
        if not self.cache.exists():
            return []
        with Cache.open(self.cache) as cache:
            return [key[0] for key, _ in cache.scan("t")] if "t" in cache.tables() else []

    def wait_for(self, *keys: int) -> None:
        wait_until(lambda: self.keys() == list(keys), _LIMIT_S, f"the node shows {keys}")


@pytest.fixture
def parts(kafka: KafkaBroker, topic: str, tmp_path: Path) -> Iterator[Parts]:
    with ExitStack() as exits:
        yield Parts(tmp_path, kafka, topic, exits)


def test_an_old_node_reads_what_a_poller_of_a_newer_minor_version_writes(
    kafka: KafkaBroker, topic: str, parts: Parts, tmp_path: Path
):
    newer = later_version(tmp_path / "newer", MINOR)
    poller, node = parts.poller(), parts.node()
    parts.insert(1)
    parts.wait_for(1)
    poller.stop()
    poller = parts.poller(newer)
    parts.insert(2)
    parts.wait_for(1, 2)
    assert any(b"\xa4more" in (record.value or b"") for record in records(kafka, topic))
    # Back again: what the newer one left in the topic does not disturb the old one.
    poller.stop()
    poller = parts.poller()
    parts.insert(3)
    parts.wait_for(1, 2, 3)
    where = ("--cache", parts.cache, "--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    assert cdc("status", "--check", "--json", *where).json["cache"]["state"] in {"live", "catching_up"}
    node.stop()
    poller.stop()


def test_an_old_node_stops_at_a_newer_major_version_keeps_serving_and_goes_on_once_upgraded(
    parts: Parts, kafka: KafkaBroker, topic: str, tmp_path: Path
):
    newer = later_version(tmp_path / "newer", MAJOR)
    poller, node = parts.poller(), parts.node()
    parts.insert(1)
    parts.wait_for(1)
    # One fetch is to bring what the old poller wrote last and what the new one writes first.
    node.suspend()
    loaded = _rows(kafka, topic)
    parts.insert(2)
    wait_until(lambda: _rows(kafka, topic) > loaded, _LIMIT_S, "it is published")
    poller.stop()
    poller = parts.poller(newer)
    parts.insert(3)
    wait_until(lambda: _rows(kafka, topic) > loaded + 1, _LIMIT_S, "the new poller publishes")
    node.resume()
    node.wait_for("stopped applying")
    parts.wait_for(1, 2)
    (said,) = [record for record in node.records if record["event"] == "stopped applying"]
    assert "version 2" in said["reason"]
    assert "upgrade" in said["remedy"]
    assert cdc("get", "t", "2", "--json", "--cache", parts.cache).json["row"] == {"id": 2, "v": "v"}
    refused = cdc("status", "--check", "--cache", parts.cache, code=FAILED)
    assert refused.error.startswith(f"the cache {parts.cache} is failed")
    node.stop()

    where = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    for command in (("consume", "--cache", parts.cache), ("poll", "--source", parts.source)):
        assert "upgrade this program" in cdc(*command, "--once", *where, code=FAILED).error
    node = parts.node(newer)
    parts.wait_for(1, 2, 3)
    node.stop()
    poller.stop()


def _rows(kafka: KafkaBroker, topic: str) -> int:
    """Row events in the topic."""
    return sum(bool(record.key) for record in records(kafka, topic))
