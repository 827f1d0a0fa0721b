"""A simulated Kafka: topics of one partition, and clients with the faces of aiokafka's.

What a process has handed to the network outlives it: a batch may land long after its sender died, gave up or
fell asleep. The producer is idempotent as the real one is (a batch lands once, and not before those ahead of
it) as long as it is asked to be.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.errors import KafkaConnectionError, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from tests.simulation.loop import PROCESS, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import TopicPartition

    from tests.simulation.world import World


class Record(NamedTuple):
    """As much of a ConsumerRecord as is read."""

    topic: str
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 0


Entries = list[tuple[bytes | None, bytes | None]]


class Landed(NamedTuple):
    """As much of RecordMetadata as is read."""

    offset: int


class Topic:
    """A partition's records; those below ``start`` were deleted by retention."""

    def __init__(self, name: str, topic_id: int) -> None:
        self.name = name
        self.topic_id = topic_id
        self.start = 0
        self.records: list[Record] = []
        self.gone: list[Record] = []
        """Those that were deleted, for who looks at what there was."""
        self.waiters: list[asyncio.Future[None]] = []

    @property
    def end(self) -> int:
        return self.start + len(self.records)

    def append(self, entries: Entries, now_s: float) -> int:
        base = self.end
        now_ms = int(now_s * 1000)
        self.records += [
            Record(self.name, base + i, key, value, now_ms) for i, (key, value) in enumerate(entries)
        ]
        self.wake()
        return base

    def truncate(self, start: int) -> None:
        keep = max(0, min(start, self.end) - self.start)
        self.gone += self.records[:keep]
        self.records = self.records[keep:]
        self.start += keep

    def wake(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Broker:
    """All topics, and the network in front of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.topics: dict[str, Topic] = {}
        self.away_until = 0.0
        self.batches_landed = 0
        self._topics_made = 0
        self.watchers: list[Callable[[str, int, Entries], None]] = []
        """Called with whatever lands: the topic, the first offset, keys and values."""

    @property
    def away(self) -> bool:
        return self.world.loop.now < self.away_until

    def create(self, name: str) -> None:
        self._topics_made += 1
        self.topics[name] = Topic(name, self._topics_made)

    def delete(self, name: str) -> None:
        topic = self.topics.pop(name, None)
        if topic is not None:
            topic.wake()

    async def answer(self) -> None:
        """The way of a request and its answer; while the broker is away there is none, or an error."""
        world = self.world
        if self.away:
            if world.rng.random() < 0.5:
                await world.loop.sleep(world.rng.random())
                raise KafkaConnectionError("the broker is away")
            await world.loop.sleep(self.away_until - world.loop.now + world.rng.random())
        await world.loop.sleep(world.latency())


class SimBatch:
    """As much of a BatchBuilder as is used; full after a drawn number of records."""

    def __init__(self, records_max: int) -> None:
        self.entries: list[tuple[bytes | None, bytes | None]] = []
        self._records_max = records_max
        self._closed = False

    def append(self, *, key: bytes | None, value: bytes | None, timestamp: int | None) -> object | None:
        assert timestamp is None
        if self._closed or len(self.entries) >= self._records_max:
            return None
        self.entries.append((key, value))
        return self

    def record_count(self) -> int:
        return len(self.entries)

    def close(self) -> None:
        self._closed = True


class _Sent:
    def __init__(self, topic: str, batch: SimBatch, future: asyncio.Future[Landed]) -> None:
        self.topic = topic
        self.entries = list(batch.entries)
        self.future = future
        self.left = asyncio.get_running_loop().create_future()


class Cluster:
    """What a client has been told of the brokers: the controller is the one there is."""

    controller = 0

    @staticmethod
    def brokers() -> set[int]:
        return {0}


class Connections:
    """As much of an AIOKafkaClient as is used."""

    def __init__(self, broker: Broker, on_close: Callable[[], None] = lambda: None) -> None:
        self.cluster = Cluster()
        self._broker = broker
        self._on_close = on_close

    def add_topic(self, _topic: str) -> asyncio.Future[bool]:
        known = asyncio.get_running_loop().create_future()
        known.set_result(True)
        return known

    async def topic_ids(self, names: Iterable[str]) -> dict[str, int]:
        """Those of the topics that there are."""
        await self._broker.answer()
        topics = self._broker.topics
        return {name: topics[name].topic_id for name in names if name in topics}

    async def close(self) -> None:
        self._on_close()
        await asyncio.sleep(0)


class SimProducer:
    """As much of an AIOKafkaProducer as is used."""

    def __init__(self, *, enable_idempotence: bool = False, acks: object = 1, **options: Any) -> None:
        assert options or acks
        self.process: Process = PROCESS.get()
        self.world: World = self.process.world  # type: ignore[attr-defined]
        self.broker = self.world.broker
        self.idempotent = enable_idempotence
        self.client = Connections(self.broker, self._hang_up)
        self._queues: dict[str, list[_Sent]] = {}
        self._closed = False

    async def start(self) -> None:
        await self.broker.answer()

    async def stop(self) -> None:
        """Waits for what is under way, as aiokafka does."""
        while any(self._queues.values()):  # noqa: ASYNC110 -- the network has no event to wait for
            await asyncio.sleep(0.05)

    def _hang_up(self) -> None:
        """What is on the wire may land; what is not will not."""
        self._closed = True

    def create_batch(self) -> SimBatch:
        return SimBatch(self.world.batch_records_max)

    async def send_batch(self, batch: SimBatch, topic: str, *, partition: int) -> asyncio.Future[Landed]:
        assert partition == 0
        await asyncio.sleep(0)
        queue = self._queues.setdefault(topic, [])
        if queue:
            await asyncio.shield(queue[-1].left)
        sent = _Sent(topic, batch, self.world.loop.create_future())
        queue.append(sent)
        if len(queue) == 1:
            self._schedule(topic)
        return sent.future

    def _schedule(self, topic: str) -> None:
        """Puts the queue's first batch on the wire: from here on it lands whatever becomes of the process."""
        if self._closed:
            return
        if not self.process.alive or self.process.paused:
            # A paused process puts nothing more on the wire until it wakes.
            if self.process.alive:
                self.world.loop.call_outside(0.2, self._schedule, topic)
            return
        sent = self._queues[topic][0]
        if not sent.left.done():
            sent.left.set_result(None)
        self.world.loop.call_outside(self.world.wire_seconds(), self._land, topic, sent)

    def _land(self, topic: str, sent: _Sent) -> None:
        broker, world = self.broker, self.world
        if broker.away or topic not in broker.topics:
            # Retried until the broker is back or the topic exists again.
            if not self.process.alive and world.rng.random() < 0.3:
                world.note("network", "loses a batch of a dead process")
                return
            world.loop.call_outside(0.1 + world.rng.random() * 0.4, self._land, topic, sent)
            return
        base = broker.topics[topic].append(sent.entries, self.world.loop.now)
        broker.batches_landed += 1
        world.note("broker", "%s[%d..%d] of %s", topic, base, base + len(sent.entries) - 1, self.process.name)
        for watch in broker.watchers:
            watch(topic, base, sent.entries)
        if not self.idempotent and world.rng.random() < 0.1:
            world.loop.call_outside(world.wire_seconds() * 2, self._land_again, topic, sent)
        offset = -1 if world.faults.answers and world.rng.random() < 0.01 else base
        delay = world.latency()
        if world.faults.answers and world.rng.random() < 0.03:
            delay = world.ack_seconds_max * (0.5 + world.rng.random())
        world.loop.call_outside(delay, self._acknowledge, topic, sent, offset)

    def _land_again(self, topic: str, sent: _Sent) -> None:
        if topic in self.broker.topics:
            self.broker.topics[topic].append(sent.entries, self.world.loop.now)

    def _acknowledge(self, topic: str, sent: _Sent, offset: int) -> None:
        queue = self._queues[topic]
        queue.remove(sent)
        if queue:
            self._schedule(topic)
        if self.process.alive and not sent.future.done():
            sent.future.set_result(Landed(offset))


class SimConsumer:
    """As much of an AIOKafkaConsumer as is used, with auto_offset_reset none."""

    def __init__(self, *, enable_auto_commit: bool, auto_offset_reset: str, **options: Any) -> None:
        assert options
        assert not enable_auto_commit
        assert auto_offset_reset == "none"
        process: Process = PROCESS.get()
        self.world: World = process.world  # type: ignore[attr-defined]
        self.broker = self.world.broker
        self._client = Connections(self.broker)
        self._position = 0
        self._topic = ""

    async def start(self) -> None:
        await self.broker.answer()

    async def stop(self) -> None:
        await asyncio.sleep(0)

    def assign(self, partitions: list[TopicPartition]) -> None:
        (partition,) = partitions
        self._topic = partition.topic

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition.topic == self._topic
        self._position = offset

    async def position(self, partition: TopicPartition) -> int:
        assert partition.topic == self._topic
        await asyncio.sleep(0)
        return self._position

    def highwater(self, partition: TopicPartition) -> int | None:
        topic = self.broker.topics.get(partition.topic)
        return None if topic is None else topic.end

    async def topics(self) -> set[str]:
        await self.broker.answer()
        return set(self.broker.topics)

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._offsets(partitions, lambda topic: topic.start)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._offsets(partitions, lambda topic: topic.end)

    async def _offsets(
        self, partitions: list[TopicPartition], read: Callable[[Topic], int]
    ) -> dict[TopicPartition, int]:
        await self.broker.answer()
        (partition,) = partitions
        topic = self.broker.topics.get(partition.topic)
        if topic is None:
            raise UnknownTopicOrPartitionError
        return {partition: read(topic)}

    async def getmany(
        self, partition: TopicPartition, *, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, list[Record]]:
        world = self.world
        deadline = world.loop.now + timeout_ms / 1000
        await world.loop.sleep(world.latency() if world.rng.random() < 0.3 else 0)
        while True:
            topic = self.broker.topics.get(self._topic)
            if topic is not None and not self.broker.away:
                if not topic.start <= self._position <= topic.end:
                    raise OffsetOutOfRangeError({partition: self._position})
                at = self._position - topic.start
                count = min(world.rng.randint(1, world.fetch_records_max), max_records or 10**9)
                if records := topic.records[at : at + count]:
                    self._position = records[-1].offset + 1
                    return {partition: records}
            left = deadline - world.loop.now
            if left <= 0:
                return {}
            waiter = world.loop.create_future()
            if topic is not None:
                topic.waiters.append(waiter)
            timer = world.loop.call_later(left, _wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        assert offsets
        await self.broker.answer()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class _Created(NamedTuple):
    topic_errors: list[tuple[str, int, str | None]]


class _Configs(NamedTuple):
    resources: list[tuple[int, str | None, int, str, list[tuple[str, str]]]]


class SimAdmin:
    """As much of an AIOKafkaAdminClient as is used."""

    def __init__(self, **options: Any) -> None:
        assert options
        process: Process = PROCESS.get()
        self.world: World = process.world  # type: ignore[attr-defined]
        self.broker = self.world.broker
        self._client = Connections(self.broker)

    async def start(self) -> None:
        await self.broker.answer()

    async def close(self) -> None:
        await asyncio.sleep(0)

    async def list_topics(self) -> list[str]:
        await self.broker.answer()
        return list(self.broker.topics)

    async def create_topics(self, new_topics: list[Any]) -> _Created:
        await self.broker.answer()
        errors: list[tuple[str, int, str | None]] = []
        for new in new_topics:
            exists = new.name in self.broker.topics
            if not exists:
                self.broker.create(new.name)
                self.world.note("broker", "topic %s is created", new.name)
            errors.append((new.name, 36 if exists else 0, None))
        return _Created(errors)

    async def describe_configs(self, resources: list[Any]) -> list[_Configs]:
        await self.broker.answer()
        # Long enough for most worlds to end without a renewal, short enough for some.
        config = [("retention.ms", "60000"), ("retention.bytes", "-1")]
        return [_Configs([(0, None, 2, one.name, config) for one in resources])]

    async def delete_records(self, wanted: dict[TopicPartition, Any]) -> dict[TopicPartition, int]:
        await self.broker.answer()
        ((partition, records),) = wanted.items()
        topic = self.broker.topics.get(partition.topic)
        if topic is None:
            raise UnknownTopicOrPartitionError
        topic.truncate(records.before_offset)
        self.world.note("broker", "records of %s before %d are deleted", topic.name, records.before_offset)
        return {partition: topic.start}


class SimClients:
    """Stands for KafkaClients."""

    def producer(self) -> dict[str, Any]:
        return {"simulated": True}

    consumer = admin = producer
