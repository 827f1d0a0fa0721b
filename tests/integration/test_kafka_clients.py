from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.group_coordinator import GroupCoordinator

from schemas.errors import KafkaUnavailableError
from schemas.kafka_calls import kafka_errors
from schemas.kafka_clients import stop_client
from tests.support.topics import make_topics

if TYPE_CHECKING:
    from tests.support.kafka import KafkaBroker

LIMIT_S = 30.0


async def fetching_consumer(kafka: KafkaBroker, topic: str) -> AIOKafkaConsumer:
    await make_topics({"bootstrap_servers": kafka.bootstrap}, topic)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=topic, enable_auto_commit=False)
    await consumer.start()
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    # Else it waits for the group's coordinator, which a fresh broker does not have yet.
    consumer.seek(partition, 0)
    await consumer.getmany(partition, timeout_ms=100)
    return consumer


async def test_a_client_is_stopped_while_its_broker_is_away_and_leaves_nothing_behind(
    kafka: KafkaBroker, topic: str, caplog: pytest.LogCaptureFixture
):
    consumer = await asyncio.wait_for(fetching_consumer(kafka, topic), LIMIT_S)
    kafka.kill()
    async with asyncio.timeout(LIMIT_S):
        # From now on its fetch task pauses between tries: aiokafka's own stop() raises CancelledError then.
        while "Failed fetch" not in caplog.text:
            await consumer.getmany(timeout_ms=50)
    await asyncio.wait_for(stop_client(consumer), LIMIT_S)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=1.0)
    assert not [task for task in left if not task.done()]


async def test_a_client_is_stopped_while_its_groups_coordinator_keeps_silent(kafka: KafkaBroker, topic: str):
    consumer = await asyncio.wait_for(fetching_consumer(kafka, topic), LIMIT_S)
    coordinator = consumer._coordinator
    assert isinstance(coordinator, GroupCoordinator)
    kafka.suspend()
    # Its stop() waits for the answer before it would end the task that fetches.
    asking = asyncio.ensure_future(coordinator.ensure_coordinator_known())
    coordinator.coordinator_dead()
    await asyncio.wait([asking], timeout=0.5)
    await asyncio.wait_for(stop_client(consumer), LIMIT_S)
    asking.cancel()
    kafka.resume()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        await asyncio.wait(left, timeout=1.0)
    assert not [task for task in left if not task.done()]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed"), OSError("reset")],
)
async def test_a_connection_that_is_lost_is_a_failure_of_kafka(error: Exception):
    with pytest.raises(KafkaUnavailableError):
        async with kafka_errors("asking"):
            raise error


async def test_another_runtime_error_is_a_bug_and_passes():
    with pytest.raises(RuntimeError, match="a bug"):
        async with kafka_errors("asking"):
            raise RuntimeError("a bug")
