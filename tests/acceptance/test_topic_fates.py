"""What operators do to topics: deleted, begun anew, cut short, compacted by mistake, copied elsewhere.

Each time the nodes end equal to the database, and say on the way what they found.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.codec import decode_event
from tests.support import bank
from tests.support.command import cdc_process
from tests.support.commands import FAILED, OPERATOR, cdc
from tests.support.conditions import wait_until
from tests.support.deployment import POLLER, Deployment
from tests.support.topics import end_offset, records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from aiokafka.structs import ConsumerRecord

    from tests.support.kafka import KafkaBroker

NODE = "node-a"
_LIMIT_S = 60.0


@asynccontextmanager
async def _admin(kafka: KafkaBroker) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def delete(kafka: KafkaBroker, *topics: str) -> None:
    async def work() -> None:
        async with _admin(kafka) as admin:
            await admin.delete_topics(list(topics))

    asyncio.run(work())


def cut(kafka: KafkaBroker, topic: str, before: int) -> None:
    """Delete the records below an offset, as retention does."""

    async def work() -> None:
        async with _admin(kafka) as admin:
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before)})

    asyncio.run(work())


COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "300",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "500",
}
"""The broker keeps the newest record of each key alone, and soon."""


def configure(kafka: KafkaBroker, topic: str, settings: dict[str, str]) -> None:
    async def work() -> None:
        async with _admin(kafka) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=settings)])

    asyncio.run(work())


def copy(kafka: KafkaBroker, topic: str, target: str) -> None:
    """Copy a topic's records behind one of another's: all have other offsets, as in a mirror."""

    async def work() -> None:
        async with _admin(kafka) as admin:
            await admin.create_topics([NewTopic(name, 1, 1) for name in (target, f"{target}.snapshots")])
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            for name in ("", ".snapshots"):
                await producer.send_and_wait(target + name, b"somebody else's")
                for record in await asyncio.to_thread(records, kafka, topic + name):
                    await producer.send_and_wait(target + name, record.value, key=record.key)

    asyncio.run(work())


def produce(kafka: KafkaBroker, topic: str, record: ConsumerRecord, times: int = 1) -> None:
    """Write a record as it is."""

    async def work() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            for _ in range(times):
                await producer.send_and_wait(topic, record.value, key=record.key)

    asyncio.run(work())


def copy_database(database: Path, target: Path) -> None:
    """Make a backup, or restore one in place."""
    with closing(sqlite3.connect(database)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.fixture
def undeployed(kafka: KafkaBroker, topic: str, tmp_path: Path) -> Iterator[Deployment]:
    """A bank that nobody follows yet."""
    source = tmp_path / "bank.db"
    bank.make_bank(source, 40, random.Random(1))
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment:
        yield deployment


@pytest.fixture
def deployed(undeployed: Deployment) -> Deployment:
    """A bank with a poller and a node that stand at its end."""
    undeployed.start_after_snapshot(POLLER, NODE)
    write(undeployed)
    undeployed.wait_until_level((NODE,))
    return undeployed


def write(deployment: Deployment, transactions: int = 20) -> None:
    """Commit some transactions that touch the same few rows."""
    connection = sqlite3.connect(deployment.source, isolation_level=None)
    for number in range(transactions):
        connection.execute("UPDATE accounts SET balance = balance + ? WHERE id = ?", (number, number % 5 + 1))
    connection.close()


def assert_recovers(deployment: Deployment, said: Callable[[], bool] | None = None) -> None:
    """The node arrives at the database's end, equal to it."""
    write(deployment)
    deployment.wait_until_level((NODE,), _LIMIT_S)
    if said is not None:
        assert said()
    deployment.stop()
    deployment.assert_equal((NODE,))


@pytest.mark.slow
def test_topics_deleted_under_a_running_poller_and_node_are_made_again(
    kafka: KafkaBroker, deployed: Deployment
):
    delete(kafka, deployed.topic, f"{deployed.topic}.snapshots")
    assert_recovers(deployed)


def test_a_topic_deleted_and_begun_anew_while_all_sleep_proves_nothing(
    kafka: KafkaBroker, deployed: Deployment
):
    deployed.stop()
    delete(kafka, deployed.topic, f"{deployed.topic}.snapshots")
    cdc(*deployed.arguments(POLLER), "--once")
    write(deployed, 200)
    deployed.start(POLLER, NODE)
    # It stood further than the new topic reaches, or at an offset that now holds something else.
    node = deployed.parts[NODE]
    assert_recovers(deployed, lambda: any("begun anew" in one.get("reason", "") for one in node.records))


def test_a_topic_begun_anew_that_retention_cut_past_the_stored_offset_is_no_continuation(
    kafka: KafkaBroker, deployed: Deployment
):
    # Nothing of the new topic but its id tells: what it goes on with is below where the cache stands, in the
    # same epoch, and what lies at the stored offset is gone.
    poll = (*deployed.arguments(POLLER), "--once")
    backup = deployed.folder / "backup.db"
    copy_database(deployed.source, backup)
    write(deployed, 500)
    deployed.wait_until_level((NODE,))
    deployed.stop()
    stored = deployed.status(NODE)["cache"]["offset"]
    delete(kafka, deployed.topic, f"{deployed.topic}.snapshots")
    copy_database(backup, deployed.source)
    cdc(*poll)
    (stranger, *_) = records(kafka, deployed.topic)
    while (end := end_offset(kafka, deployed.topic)) <= stored:
        produce(kafka, deployed.topic, stranger, stored + 1 - end)
    write(deployed, 1)
    cdc(*poll)
    cut(kafka, deployed.topic, end)
    deployed.start(POLLER, NODE)
    node = deployed.parts[NODE]
    assert_recovers(deployed, lambda: any("begun anew" in one.get("reason", "") for one in node.records))


def test_who_waits_for_a_snapshot_of_a_topic_that_is_gone_looks_at_its_successor(
    kafka: KafkaBroker, undeployed: Deployment
):
    source, cache = undeployed.source, undeployed.cache(NODE)
    backup = undeployed.folder / "backup.db"
    cdc("install", "--source", source)
    copy_database(source, backup)
    write(undeployed, 500)
    cdc("sync", "--source", source, "--cache", cache)
    write(undeployed)
    cdc(*undeployed.arguments(POLLER), "--once")
    snapshots = f"{undeployed.topic}.snapshots"
    cut(kafka, snapshots, end_offset(kafka, snapshots))
    undeployed.start(NODE)
    undeployed.parts[NODE].wait_for("waiting for a snapshot")
    delete(kafka, undeployed.topic)
    # All snapshots from here on are below where the cache stands, in the same epoch.
    copy_database(backup, source)
    undeployed.start(POLLER)
    assert_recovers(undeployed)


def test_a_record_that_was_on_its_way_to_a_deleted_topic_counts_nowhere(
    kafka: KafkaBroker, deployed: Deployment
):
    for _ in range(10):
        write(deployed, 1)
        deployed.wait_until_level((NODE,))
    deployed.stop()
    old = records(kafka, deployed.topic)
    delete(kafka, deployed.topic, f"{deployed.topic}.snapshots")
    poll, consume = (*deployed.arguments(POLLER), "--once"), (*deployed.arguments(NODE), "--once", "--json")
    cdc(*poll)

    def would_count() -> bool:
        event = decode_event(old[end_offset(kafka, deployed.topic)].value or b"")
        return event.last and not event.index

    while not would_count():
        write(deployed, 1)
        cdc(*poll)
    cdc(*consume)
    offset = end_offset(kafka, deployed.topic)
    # A broker takes a batch that is late: its producer is not known there, nor where the batch was to land.
    produce(kafka, deployed.topic, old[offset])
    assert records(kafka, deployed.topic)[offset].value == old[offset].value
    write(deployed)
    cdc(*poll)
    consumed = cdc(*consume).json
    assert consumed["rows"] == 0
    assert consumed["events"] > 0
    deployed.assert_equal((NODE,))


def test_a_node_that_slept_past_retention_starts_from_the_newest_snapshot_alone(
    kafka: KafkaBroker, deployed: Deployment
):
    deployed.parts.pop(NODE).stop()
    write(deployed)
    where = deployed.arguments(POLLER)[1:]
    deployed.parts.pop(POLLER).stop()
    cdc("snapshot", *where)
    # What is left is the snapshot's announcement, and the goodbye of who made it.
    cut(kafka, deployed.topic, end_offset(kafka, deployed.topic) - 2)
    # Nothing but Kafka is at hand: the source is away.
    away = deployed.source.with_suffix(".away")
    deployed.source.rename(away)
    finished = cdc(*deployed.arguments(NODE), "--once", "--json")
    away.rename(deployed.source)
    assert finished.json["rows"] > 0
    deployed.assert_equal((NODE,))


@pytest.mark.slow
def test_a_topic_compacted_by_mistake_is_a_hole_that_a_snapshot_leads_across(
    kafka: KafkaBroker, deployed: Deployment
):
    deployed.parts.pop(NODE).stop()
    configure(kafka, deployed.topic, COMPACTED)

    def holey() -> bool:
        # Compaction leaves the newest segment alone: what is written goes on filling others.
        write(deployed, 3)
        offsets = [record.offset for record in records(kafka, deployed.topic)]
        return len(offsets) < offsets[-1] - offsets[0]

    wait_until(holey, _LIMIT_S, "the broker has compacted the topic")
    told = cdc_process("doctor", *map(str, deployed.arguments(POLLER)[1:]), cwd=deployed.folder)
    assert told.code == FAILED
    assert "cleanup.policy" in told.out
    # What doctor says is done: the policy set right, and a snapshot made.
    configure(kafka, deployed.topic, {"cleanup.policy": "delete"})
    deployed.start(NODE)
    cdc("snapshot", *deployed.arguments(POLLER)[1:])
    assert_recovers(deployed)


def test_a_copy_of_a_topic_counts_for_nobody(kafka: KafkaBroker, deployed: Deployment):
    deployed.stop()
    target = f"{deployed.topic}.copy"
    copy(kafka, deployed.topic, target)
    where = ("--bootstrap-servers", kafka.bootstrap, "--topic", target)
    finished = cdc("consume", "--once", "--cache", deployed.folder / "copy.redb", *where, code=OPERATOR)
    assert "no snapshot" in finished.error
    # A poller makes of it what it makes of any topic that somebody wrote to: a chain of its own.
    cdc("poll", "--once", "--source", deployed.source, *where)
    cdc("consume", "--once", "--cache", deployed.folder / "copy.redb", *where)
    deployed.assert_equal(("copy",))
