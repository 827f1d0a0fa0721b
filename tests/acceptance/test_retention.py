"""Snapshots keep ahead of the topic's retention, and old ones go."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.bank import Writers, make_bank
from tests.support.commands import Running, cdc
from tests.support.conditions import wait_until
from tests.support.deployment import POLLER, Deployment
from tests.support.topics import start_offset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

_LIMIT_S = 60.0


async def make_topic(kafka: KafkaBroker, topic: str, config: Mapping[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=dict(config))])
    finally:
        await admin.close()


def snapshots_of(poller: Running) -> int:
    poller.check_alive()
    return sum(record["event"].startswith("published a snapshot") for record in poller.records)


@pytest.mark.slow
@pytest.mark.parametrize(
    "retention", [{"retention.ms": "4000"}, {"retention.bytes": "1000000"}], ids=["time", "bytes"]
)
def test_a_poller_publishes_a_new_snapshot_before_retention_drops_what_the_newest_needs(
    kafka: KafkaBroker, topic: str, tmp_path: Path, retention: dict[str, str]
):
    source = tmp_path / "bank.db"
    make_bank(source, 40, random.Random(1))
    config = {"message.timestamp.type": "LogAppendTime", "segment.ms": "500", "segment.bytes": "1048576"}
    asyncio.run(make_topic(kafka, topic, config | retention))
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment, Writers(source, 3) as writers:
        deployment.start(POLLER)
        for number in range(1, 4):
            wait_until(
                lambda number=number: snapshots_of(deployment.parts[POLLER]) >= number,
                _LIMIT_S,
                f"{number} snapshots are published",
            )
            # Whenever a new node comes, there is a snapshot from which the topic leads on.
            node = f"node-{number}"
            cdc(*deployment.arguments(node), "--once")
        wait_until(lambda: start_offset(kafka, topic) > 0, _LIMIT_S, "retention deletes old changes")
        assert not deployment.parts[POLLER].said("beginning a new epoch")
        assert start_offset(kafka, f"{topic}.snapshots") > 0
        writers.stop()
        deployment.start("node-1")
        deployment.wait_until_level(("node-1",))
        deployment.stop()
        deployment.assert_equal(("node-1",))


def test_one_shot_snapshots_leave_the_newest_and_the_one_before_it(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source = tmp_path / "bank.db"
    make_bank(source, 40, random.Random(1))
    where = ("--source", source, "--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    chunks: list[int] = []
    starts: list[int] = []
    for _ in range(3):
        chunks.append(cdc("snapshot", "--json", *where).json["chunks"])
        starts.append(start_offset(kafka, f"{topic}.snapshots"))
    # Each has its chunks and a manifest.
    size = chunks[0] + 1
    assert chunks == [chunks[0]] * 3
    assert starts == [0, 0, size]
    cdc("consume", "--once", "--cache", tmp_path / "c.redb", *where[2:])


@pytest.mark.slow
def test_a_node_whose_snapshot_is_deleted_while_it_loads_takes_a_newer_one(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source = tmp_path / "bank.db"
    # So many that the node is still loading when it is suspended.
    make_bank(source, 120_000, random.Random(1))
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment:
        cdc(*deployment.arguments(POLLER), "--once")
        deployment.start("node-a")
        node = deployment.parts["node-a"]
        node.wait_for("loading a snapshot")
        node.suspend()
        where = deployment.arguments(POLLER)[1:]
        first: Any = [cdc("snapshot", "--json", *where).json for _ in range(2)]
        assert start_offset(kafka, f"{topic}.snapshots") > first[0]["chunks"]
        node.resume()
        deployment.wait_until_level(("node-a",))
        assert node.said("taking a newer snapshot")
        deployment.stop()
        deployment.assert_equal(("node-a",))
