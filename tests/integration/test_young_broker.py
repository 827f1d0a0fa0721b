"""A broker that has just started, or that its controller has fenced, names no broker, itself included."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from cdc.kafka.admin import ensure_topics
from schemas.errors import KafkaUnavailableError
from schemas.kafka_admin import Admin
from schemas.kafka_calls import request_seconds
from schemas.kafka_clients import start_client, stop_client
from schemas.topics import TopicReader, Topics
from tests.support.topics import make_topics
from tests.support.young_broker import young_broker

if TYPE_CHECKING:
    from tests.support.kafka import KafkaBroker

LIMIT_S = 30.0
ANSWERS = 4


async def test_a_poller_waits_until_the_broker_knows_itself(kafka: KafkaBroker, topic: str):
    async with asyncio.timeout(LIMIT_S), young_broker(kafka.bootstrap, ANSWERS) as young:
        await ensure_topics({"bootstrap_servers": young}, Topics(topic))
    async with asyncio.timeout(LIMIT_S), young_broker(kafka.bootstrap, ANSWERS) as young:
        producer = AIOKafkaProducer(bootstrap_servers=young, enable_idempotence=True)
        await start_client(producer)
        try:
            await producer.send_and_wait(topic, b"word")
        finally:
            await stop_client(producer)


async def test_a_reader_and_an_administrator_wait_too(kafka: KafkaBroker, topic: str):
    await make_topics({"bootstrap_servers": kafka.bootstrap}, topic)
    async with (
        asyncio.timeout(LIMIT_S),
        young_broker(kafka.bootstrap, ANSWERS) as young,
        TopicReader({"bootstrap_servers": young}) as reader,
    ):
        assert await reader.bounds(topic) == (0, 0)
    async with (
        asyncio.timeout(LIMIT_S),
        young_broker(kafka.bootstrap, ANSWERS) as young,
        Admin({"bootstrap_servers": young}) as admin,
    ):
        assert (await admin.describe([topic])).topics[topic].exists


async def test_a_broker_that_never_knows_itself_is_one_that_is_away(kafka: KafkaBroker, topic: str):
    request_seconds.set(0.5)
    async with asyncio.timeout(LIMIT_S), young_broker(kafka.bootstrap, 1_000_000) as young:
        with pytest.raises(KafkaUnavailableError, match="no answer from Kafka within"):
            await ensure_topics({"bootstrap_servers": young}, Topics(topic))
