"""Pollers that work at once, sleep in the middle of a group, or die: they cost work, never correctness."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.bank import Writers, make_bank, transact
from tests.support.commands import cdc
from tests.support.conditions import wait_until
from tests.support.deployment import KAFKA_NODES, Deployment
from tests.support.topics import end_offset, stored_bytes
from tests.support.watcher import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

_LIMIT_S = 60.0
_BULK_TRANSFERS = 4_000
_TRIES_MAX = 5


@pytest.mark.slow
def test_a_poller_that_slept_in_the_middle_of_a_group_harms_nobody_and_stands_by(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source = tmp_path / "bank.db"
    make_bank(source, 1_000, random.Random(1))
    with (
        Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment,
        Watcher(deployment, KAFKA_NODES) as watcher,
    ):
        deployment.start_after_snapshot("poller-1", *KAFKA_NODES)
        suspend_within_a_group(deployment, kafka)
        with Writers(source, 2) as writers:
            deployment.start("poller-2")
            follows(deployment, writers)
            deployment.parts["poller-1"].resume()
            deployment.parts["poller-1"].wait_for("standing by")
            writers.wait_for(100)
            writers.stop()
        deployment.wait_until_level(KAFKA_NODES)
        assert watcher.saw(KAFKA_NODES)
        deployment.parts["poller-2"].check_alive()
        deployment.stop()
        deployment.assert_equal(KAFKA_NODES)


@pytest.mark.slow
def test_a_poller_that_stands_by_takes_over_when_the_other_dies_or_says_goodbye(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source = tmp_path / "bank.db"
    make_bank(source, 400, random.Random(1))
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment, Writers(source, 3) as writers:
        deployment.start("poller-1", "poller-2", "node-a")
        deployment.wait_for_load(("node-a",))
        first = wait_until(lambda: standing_by(deployment), _LIMIT_S, "one of two pollers stands by")
        second = "poller-2" if first == "poller-1" else "poller-1"

        deployment.parts.pop(second).kill()
        deployment.parts[first].wait_for("taking over")
        follows(deployment, writers)

        deployment.start(second)
        one = wait_until(lambda: standing_by(deployment), _LIMIT_S, "one of two pollers stands by again")
        other = "poller-2" if one == "poller-1" else "poller-1"
        takeovers = count(deployment, one, "taking over")
        deployment.parts.pop(other).stop()
        wait_until(lambda: count(deployment, one, "taking over") > takeovers, _LIMIT_S, f"{one} takes over")
        follows(deployment, writers)

        writers.stop()
        deployment.wait_until_level(("node-a",))
        deployment.stop()
        deployment.assert_equal(("node-a",))


@pytest.mark.slow
def test_poll_once_beside_a_running_poller_ends_and_both_nodes_are_equal(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source = tmp_path / "bank.db"
    make_bank(source, 400, random.Random(1))
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment, Writers(source, 4) as writers:
        deployment.start_after_snapshot("poller", *KAFKA_NODES)
        writers.wait_for(50)
        for _ in range(2):
            committed = deployment.source_position("node-a")
            progress = cdc(*deployment.arguments("poller"), "--once", "--json").json
            assert progress["position"]["change_id"] >= committed.change_id
        writers.wait_for(50)
        writers.stop()
        deployment.wait_until_level(KAFKA_NODES)
        deployment.stop()
        deployment.assert_equal(KAFKA_NODES)


def suspend_within_a_group(deployment: Deployment, kafka: KafkaBroker) -> None:
    """Stop poller-1 when a part of a group has landed and another part has not."""
    generator = random.Random(5)
    poller = deployment.parts["poller-1"]
    for turn in range(1, _TRIES_MAX + 1):
        end, size = end_offset(kafka, deployment.topic), stored_bytes(kafka, deployment.topic)
        with closing(sqlite3.connect(deployment.source, isolation_level=None)) as connection:
            transact(connection, 1, turn, generator, bulk=_BULK_TRANSFERS)
        wait_until(lambda size=size: stored_bytes(kafka, deployment.topic) > size, _LIMIT_S, "records land")
        poller.suspend()
        if end_offset(kafka, deployment.topic) < end + 2 * _BULK_TRANSFERS:
            return
        poller.resume()
        deployment.wait_until_level(KAFKA_NODES)
    raise AssertionError(f"the poller was not caught within a group in {_TRIES_MAX} tries")


def standing_by(deployment: Deployment) -> str | None:
    """The poller that stands by now; None where all work."""
    for name in sorted({"poller-1", "poller-2"} & deployment.parts.keys()):
        if count(deployment, name, "standing by") > count(deployment, name, "taking over"):
            return name
    return None


def count(deployment: Deployment, name: str, event: str) -> int:
    """How often a part has logged an event that begins so."""
    deployment.check_alive()
    return sum(record["event"].startswith(event) for record in deployment.parts[name].records)


def follows(deployment: Deployment, writers: Writers) -> None:
    """The node applies what is committed from now on."""
    committed = deployment.source_position("node-a")
    writers.wait_for(1)
    wait_until(
        lambda: (deployment.position("node-a") or committed) > committed,
        _LIMIT_S,
        f"node-a applies what was committed after {committed}",
    )
