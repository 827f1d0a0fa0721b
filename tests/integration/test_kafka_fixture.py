from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.support.kafka import KafkaBroker
from tests.support.topics import make_topics

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 30


async def make_topic(bootstrap: str, name: str) -> None:
    await make_topics({"bootstrap_servers": bootstrap}, name)


async def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def read_all(bootstrap: str, topic: str, records: int) -> list[bytes | None]:
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    async with asyncio.timeout(LIMIT_S), consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        read: list[bytes | None] = []
        while len(read) < records:
            batch = await consumer.getmany(partition, timeout_ms=200)
            read += [record.value for record in batch.get(partition, [])]
        return read


async def test_what_is_produced_is_consumed_in_order(kafka: KafkaBroker, topic: str):
    await make_topic(kafka.bootstrap, topic)
    values = [b"%d" % number for number in range(100)]
    await produce(kafka.bootstrap, topic, values)
    assert await read_all(kafka.bootstrap, topic, len(values)) == values


async def test_a_topic_is_not_made_by_writing_to_it(kafka: KafkaBroker, topic: str):
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, request_timeout_ms=1_000)
    async with producer:
        with pytest.raises(KafkaError):
            await asyncio.wait_for(producer.send_and_wait(topic, b"nowhere"), LIMIT_S)


async def test_acknowledged_records_survive_kill_9_and_a_restart(kafka: KafkaBroker, topic: str):
    await make_topic(kafka.bootstrap, topic)
    before = kafka.bootstrap
    await produce(before, topic, [b"acknowledged"] * 20)
    kafka.kill()
    assert not kafka.running
    await asyncio.to_thread(kafka.restart)
    assert kafka.bootstrap == before
    await produce(kafka.bootstrap, topic, [b"later"])
    assert await read_all(kafka.bootstrap, topic, 21) == [b"acknowledged"] * 20 + [b"later"]


async def test_a_suspended_broker_answers_nothing_until_it_is_resumed(kafka: KafkaBroker, topic: str):
    await make_topic(kafka.bootstrap, topic)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"first")
        kafka.suspend()
        waiting = await producer.send(topic, b"second")
        _, pending = await asyncio.wait([waiting], timeout=0.5)
        assert pending
        kafka.resume()
        await asyncio.wait_for(waiting, LIMIT_S)
    assert await read_all(kafka.bootstrap, topic, 2) == [b"first", b"second"]


def test_a_broker_left_dead_or_suspended_by_one_test_is_alive_for_the_next(kafka: KafkaBroker):
    kafka.kill()
    kafka.ensure_running()
    assert kafka.running
    kafka.suspend()
    kafka.ensure_running()
    assert asyncio.run(answers(kafka.bootstrap))


async def answers(bootstrap: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await asyncio.wait_for(admin.start(), LIMIT_S)
    await admin.close()
    return True


STARTS_A_BROKER = """
import os, sys
from pathlib import Path
from tests.support.kafka import KafkaBroker
from tests.support.topics import make_topics
broker = KafkaBroker(Path(sys.argv[1]))
broker.start()
print(broker.bootstrap, flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


@pytest.mark.kafka
def test_a_broker_ends_when_the_test_run_is_killed(tmp_path: Path):
    KafkaBroker(tmp_path)  # says so here when the jars or Java are missing
    command = [sys.executable, "-c", STARTS_A_BROKER, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        address = run.stdout.readline().strip()
        assert accepts(address)
        run.communicate()
    limit = time.monotonic() + LIMIT_S
    while accepts(address):
        assert time.monotonic() < limit
        time.sleep(0.02)


def accepts(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
