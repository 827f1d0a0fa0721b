"""Three brokers, of which the leader is killed again and again under live writes: nothing is lost."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.support.bank import Writers, make_bank
from tests.support.conditions import wait_until
from tests.support.deployment import KAFKA_NODES, POLLER, Deployment
from tests.support.kafka_cluster import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from consumers import Position

KILLS = {"small": 2, "full": 10}
"""How often, by ``CDC_TEST_SCALE``."""

_LIMIT_S = 120.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    with KafkaCluster(tmp_path / "kafka") as running:
        yield running


@pytest.mark.slow
@pytest.mark.kafka
def test_nothing_is_lost_when_leaders_are_killed_under_live_writes(
    cluster: KafkaCluster, topic: str, tmp_path: Path
):
    source = tmp_path / "bank.db"
    make_bank(source, 400, random.Random(1))
    with (
        Deployment(tmp_path, source, cluster.bootstrap, topic) as deployment,
        Writers(source, 5) as writers,
    ):
        deployment.start_after_snapshot(POLLER, *KAFKA_NODES)
        for _ in range(KILLS[os.environ.get("CDC_TEST_SCALE", "small")]):
            cluster.wait_in_sync(topic)
            leader = cluster.leader(topic)
            writers.wait_for(50)
            cluster.brokers[leader].kill()
            writers.wait_for(50)
            # What was committed while the leader was away arrives through the others.
            committed = deployment.source_position(KAFKA_NODES[0])
            for node in KAFKA_NODES:
                wait_until(
                    lambda node=node, committed=committed: reached(deployment, node, committed),
                    _LIMIT_S,
                    f"{node} is at {committed}",
                )
            cluster.brokers[leader].restart()
        writers.wait_for(50)
        writers.stop()
        deployment.wait_until_level(KAFKA_NODES, _LIMIT_S)
        for node in KAFKA_NODES:
            events = [record["event"] for record in deployment.parts[node].records]
            assert events.count("loaded a snapshot") == 1, f"{node} did not go on from where it stood"
        assert not deployment.parts[POLLER].said("beginning a new epoch")
        deployment.stop()
        deployment.assert_equal(KAFKA_NODES)


def reached(deployment: Deployment, node: str, position: Position) -> bool:
    """Whether a node stands at a position or beyond."""
    now = deployment.position(node)
    return now is not None and now >= position
