"""A topic that is deleted and made anew is another one, though its name and its offsets are the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from cdc.kafka.admin import ensure_topics
from cdc.kafka.publication import KafkaPublication
from consumers.bootstrap import begun_anew
from consumers.meta import Checkpoint
from schemas.event import Op
from schemas.kafka_calls import TopicGoneError
from schemas.kafka_clients import start_client, stop_client
from schemas.kafka_properties import kafka_clients
from schemas.topics import TopicMadeAnewError, TopicReader, Topics
from tests.support.events import group, head
from tests.support.topics import topics_known

if TYPE_CHECKING:
    from tests.support.kafka import KafkaBroker

LIMIT_S = 60.0


async def delete(kafka: KafkaBroker, topics: Topics) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await start_client(admin)
    try:
        await admin.delete_topics([topics.events, topics.snapshots])
    finally:
        await stop_client(admin)
    await topics_known({"bootstrap_servers": kafka.bootstrap}, topics.events, topics.snapshots, there=False)


async def cut(kafka: KafkaBroker, topic: str, before: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await start_client(admin)
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before)})
    finally:
        await stop_client(admin)


async def make(kafka: KafkaBroker, topics: Topics) -> None:
    options = {"bootstrap_servers": kafka.bootstrap}
    await ensure_topics(options, topics)
    await topics_known(options, topics.events, topics.snapshots)


async def test_a_poller_learns_that_its_topic_is_another_one(kafka: KafkaBroker, topic: str):
    clients, topics = kafka_clients(kafka.bootstrap, {}), Topics(topic)
    # Whoever opens it before the broker has heard of the topics tries again; here nobody does.
    await make(kafka, topics)
    async with asyncio.timeout(LIMIT_S), KafkaPublication(clients, topics, "file:a.db") as publication:
        await publication.look_at_topic()
        await delete(kafka, topics)
        with pytest.raises(TopicGoneError):
            await publication.look_at_topic()
        await make(kafka, topics)
        with pytest.raises(TopicMadeAnewError):
            await publication.look_at_topic()
        async with KafkaPublication(clients, topics, "file:a.db") as successor:
            await successor.look_at_topic()


async def test_a_reader_counts_what_was_meant_for_the_topic_it_reads(kafka: KafkaBroker, topic: str):
    options, topics = {"bootstrap_servers": kafka.bootstrap}, Topics(topic)
    async with asyncio.timeout(LIMIT_S), TopicReader(options) as reader:
        ids: list[int | None] = []
        for _ in range(2):
            await make(kafka, topics)
            await reader.bounds(topic)
            ids.append(reader.topic_id(topic))
            if len(ids) == 1:
                await delete(kafka, topics)
        assert None not in ids
        assert ids[0] != ids[1]
        async with AIOKafkaProducer(**options) as producer:
            for offset, topic_id in enumerate((*ids, None)):
                (record,) = group(offset, 0, 3, [(1, "a")], topic_id=topic_id)
                await producer.send_and_wait(topic, record.value, key=record.key)
        await reader.bounds(topic)
        found = [reader.event_of(await reader.record(topic, offset)) for offset in range(3)]
    assert [None if event is None else (event.op, event.head) for event in found] == [
        None,
        (Op.UPDATE, head(3)),
        (Op.UPDATE, head(3)),
    ]


async def test_a_stored_offset_is_of_the_topic_with_its_id_or_proved_by_the_record_before(
    kafka: KafkaBroker, topic: str
):
    options, topics = {"bootstrap_servers": kafka.bootstrap}, Topics(topic)
    await make(kafka, topics)
    at = head(6)
    stands = Checkpoint(at.epoch, at.epoch_nonce, at.change_id, at.nonce, at.exact_at, 2, "d", "file:a.db")
    other = msgspec.structs.replace(stands, nonce=1)
    async with asyncio.timeout(LIMIT_S), TopicReader(options) as reader:
        await reader.bounds(topic)
        topic_id = reader.topic_id(topic)
        assert topic_id is not None
        async with AIOKafkaProducer(**options) as producer:
            for offset in range(4):
                (record,) = group(offset, 3 * offset, 3 * offset + 3, [(1, "a")], topic_id=topic_id)
                await producer.send_and_wait(topic, record.value, key=record.key)

        async def anew(checkpoint: Checkpoint, topic_id: int | None) -> bool:
            return await begun_anew(reader, topics, msgspec.structs.replace(checkpoint, topic_id=topic_id))

        ids = (topic_id, None, topic_id + 1)
        assert [await anew(stands, one) for one in ids] == [False, False, True]
        assert [await anew(other, one) for one in ids] == [True, True, True]
        # What retention has taken proves nothing: the id alone tells.
        await cut(kafka, topic, 3)
        assert [await anew(other, one) for one in ids] == [False, False, True]
