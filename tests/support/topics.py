"""Making topics, and where they stand: asked without the code of the product that is tested with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.kafka_clients import start_client, stop_client

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from tests.support.kafka import KafkaBroker

_LIMIT_S = 30.0
_PAUSE_S = 0.05


async def make_topics(client_options: dict[str, Any], *names: str) -> None:
    """Make topics of one partition, as soon as the broker knows itself."""
    admin = AIOKafkaAdminClient(**client_options)
    try:
        async with asyncio.timeout(_LIMIT_S):
            await start_client(admin)
            made = await admin.create_topics([NewTopic(name, 1, 1) for name in names])
    finally:
        await stop_client(admin)
    assert [code for _, code, *_ in made.topic_errors] == [0] * len(names), made
    await topics_known(client_options, *names)


async def topics_known(client_options: dict[str, Any], *names: str, there: bool = True) -> None:
    """Return when the broker has heard of what the controller did: that the topics are there, or are not."""
    admin = AIOKafkaAdminClient(**client_options)
    try:
        async with asyncio.timeout(_LIMIT_S):
            await start_client(admin)
            # The broker tells nobody when it hears of it.
            while {name in await admin.list_topics() for name in names} != {there}:  # noqa: ASYNC110
                await asyncio.sleep(_PAUSE_S)
    finally:
        await stop_client(admin)


def end_offset(kafka: KafkaBroker, topic: str) -> int:
    """The offset that the topic's next record will get."""
    return asyncio.run(_end_offset(kafka.bootstrap, TopicPartition(topic, 0)))


def records(kafka: KafkaBroker, topic: str) -> list[ConsumerRecord]:
    """Every record that the topic holds now."""
    return asyncio.run(_records(kafka.bootstrap, TopicPartition(topic, 0)))


def start_offset(kafka: KafkaBroker, topic: str) -> int:
    """The offset of the topic's first record that is left."""
    return asyncio.run(_start_offset(kafka.bootstrap, TopicPartition(topic, 0)))


def stored_bytes(kafka: KafkaBroker, topic: str) -> int:
    """The size of the topic's files: quick enough to see a group while it lands; 0 where there is none."""
    files = kafka.log.parent.glob(f"data-*/{topic}-0/*.log")
    return sum(file.stat().st_size for file in files)


async def _end_offset(bootstrap: str, partition: TopicPartition) -> int:
    async with asyncio.timeout(_LIMIT_S), AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        return (await consumer.end_offsets([partition]))[partition]


async def _records(bootstrap: str, partition: TopicPartition) -> list[ConsumerRecord]:
    async with asyncio.timeout(_LIMIT_S), AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        found: list[ConsumerRecord] = []
        while await consumer.position(partition) < end:
            fetched = await consumer.getmany(partition, timeout_ms=1000)
            found += fetched.get(partition, [])
        return found


async def _start_offset(bootstrap: str, partition: TopicPartition) -> int:
    async with asyncio.timeout(_LIMIT_S), AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        return (await consumer.beginning_offsets([partition]))[partition]
