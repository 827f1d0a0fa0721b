"""A topic that is deleted and made anew is another one, though its name and its offsets are the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from cdc.kafka.admin import ensure_topics
from cdc.kafka.publication import KafkaPublication
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
