"""The broker that is measured with: topics of our own, and what a bare client does with them."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from cdc import limits as capture_limits
from cdc.kafka.admin import ensure_topics
from consumers import limits as apply_limits
from schemas.errors import KafkaUnavailableError
from schemas.kafka_calls import kafka_errors
from schemas.kafka_clients import start_client, stop_client
from schemas.kafka_properties import kafka_clients
from schemas.topics import PARTITION, Topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from aiokafka.structs import ConsumerRecord

SAMPLE_RECORDS_MAX = 100_000
"""How many of a topic's records the ceilings are measured with: the rates do not depend on it."""

_IN_FLIGHT = 8
_SILENCE_MS = 5_000


class Broker:
    """A reachable Kafka; ``delete_topics`` leaves it as it was.

    Args:
        bootstrap_servers: HOST:PORT, or several with commas, without TLS or passwords.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._clients = kafka_clients(bootstrap_servers, {})
        self._made: list[Topics] = []

    def flags(self, topic: str) -> tuple[str, ...]:
        """What a command needs to use a topic here."""
        return (f"--bootstrap-servers={self._bootstrap_servers}", f"--topic={topic}")

    def new_topic(self) -> str:
        """Makes the topics of one database, under a name that nobody else has; waits until they are there.

        Raises:
            KafkaUnavailableError: the broker cannot be reached.
        """
        topics = Topics(f"cdc.bench.{secrets.token_hex(6)}")
        self._made.append(topics)
        _run(ensure_topics(self._clients.admin(), topics))
        return topics.events

    def delete_topics(self) -> None:
        """Deletes every topic made here."""
        names = [name for one in self._made for name in (one.events, one.snapshots, one.quarantine)]
        self._made.clear()
        if names:
            _run(self._delete(names))

    def send(self, records: Sequence[tuple[bytes, bytes]]) -> float:
        """Sends records to a new topic with nothing around the client; gives the seconds."""
        return _run(self._send(self.new_topic(), records))

    def fetch(self, topic: str, records: int) -> float:
        """Fetches so many records with nothing around the client; gives the seconds, connecting included."""
        return _run(self._fetch(topic, records))

    def fetch_all(self, topic: str) -> float:
        """Fetches everything a topic holds, as `fetch` does; gives the seconds, connecting included."""
        return _run(self._fetch(topic, None))

    def first_records(self, topic: str, records: int) -> list[tuple[bytes, bytes]]:
        """The first records, (key, value), of a topic that has so many; no more than memory holds easily."""
        return _run(self._first_records(topic, min(records, SAMPLE_RECORDS_MAX)))

    async def _send(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> float:
        options = {"max_batch_size": capture_limits.BATCH_BYTES, **self._clients.producer()}
        producer = AIOKafkaProducer(**options, enable_idempotence=True, acks="all")
        await start_client(producer)
        try:
            began = time.perf_counter()
            batch, sent = producer.create_batch(), []
            for key, value in records:
                if batch.append(key=key, value=value, timestamp=None) is None:
                    sent.append(await producer.send_batch(batch, topic, partition=PARTITION))
                    if len(sent) >= _IN_FLIGHT:
                        await sent[-_IN_FLIGHT]
                    batch = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=None)
            sent.append(await producer.send_batch(batch, topic, partition=PARTITION))
            await asyncio.gather(*sent)
            return time.perf_counter() - began
        finally:
            await stop_client(producer)

    async def _fetch(self, topic: str, records: int | None) -> float:
        began = time.perf_counter()
        async for _ in self._pages(topic, records):
            pass
        return time.perf_counter() - began

    async def _first_records(self, topic: str, records: int) -> list[tuple[bytes, bytes]]:
        pages = [page async for page in self._pages(topic, records)]
        return [(record.key or b"", record.value or b"") for page in pages for record in page][:records]

    async def _pages(self, topic: str, records: int | None) -> AsyncIterator[list[ConsumerRecord]]:
        partition = TopicPartition(topic, PARTITION)
        consumer = AIOKafkaConsumer(
            **{
                "max_partition_fetch_bytes": apply_limits.FETCH_BYTES_MAX,
                "fetch_max_bytes": apply_limits.FETCH_BYTES_MAX,
                **self._clients.consumer(),
            },
            enable_auto_commit=False,
            group_id=None,
        )
        await start_client(consumer)
        try:
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            missing = (await consumer.end_offsets([partition]))[partition] if records is None else records
            while missing > 0:
                fetched = await consumer.getmany(
                    partition, timeout_ms=_SILENCE_MS, max_records=apply_limits.FETCH_RECORDS_MAX
                )
                page = fetched.get(partition)
                if not page:
                    raise KafkaUnavailableError(f"topic {topic} was silent", "check that the broker runs")
                missing -= len(page)
                yield page
        finally:
            await stop_client(consumer)

    async def _delete(self, names: list[str]) -> None:
        admin = AIOKafkaAdminClient(**self._clients.admin())
        try:
            await start_client(admin)
            async with kafka_errors("deleting topics"):
                await admin.delete_topics(names)
        finally:
            await stop_client(admin)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
