"""SIGINT and SIGTERM end whatever goes on with 0 within 5 s, whatever it is waiting for."""

from __future__ import annotations

import random
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.bank import Writers, make_bank
from tests.support.deployment import EMBEDDED, NODES, POLLER, Deployment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "bank.db"
    make_bank(path, 400, random.Random(1))
    return path


def test_a_signal_ends_everything_under_load(kafka: KafkaBroker, topic: str, source: Path, tmp_path: Path):
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment, Writers(source, 1) as writers:
        deployment.start_after_snapshot(POLLER, *NODES)
        writers.wait_for(20)
        for part in deployment.parts.values():
            part.stop(signal.SIGINT)


@pytest.mark.parametrize("away", ["killed", "silent"])
def test_a_signal_ends_poller_and_node_while_the_broker_is_away(
    away: str, kafka: KafkaBroker, topic: str, source: Path, tmp_path: Path
):
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment, Writers(source, 1) as writers:
        deployment.start_after_snapshot(POLLER, "node-a")
        if away == "killed":
            kafka.kill()
        else:
            kafka.suspend()
        writers.wait_for(50)
        deployment.stop()


def test_a_signal_ends_a_node_that_waits_for_a_snapshot_or_for_a_broker(
    kafka: KafkaBroker, topic: str, source: Path, tmp_path: Path
):
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment:
        deployment.start("node-a")
        deployment.parts["node-a"].wait_for("waiting for a snapshot")
        kafka.kill()
        deployment.start("node-b", POLLER)
        deployment.parts["node-b"].wait_for("trying again")
        deployment.parts[POLLER].wait_for("trying again")
        deployment.stop()


def test_a_signal_ends_an_embedded_node_while_the_source_is_locked(source: Path, tmp_path: Path):
    with (
        Deployment(tmp_path, source, "", "") as deployment,
        closing(sqlite3.connect(source, isolation_level=None)) as connection,
    ):
        # Not even readers get past this one.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        deployment.start(EMBEDDED)
        deployment.parts[EMBEDDED].wait_for("trying again")
        deployment.stop()
