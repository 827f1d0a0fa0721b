"""Names of the topics, and bounded reads of them: what both sides ask a topic outside its stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError, UnknownTopicOrPartitionError

from schemas.codec import decode_event
from schemas.errors import BadEventError, KafkaUnavailableError
from schemas.event import counts, same_topic
from schemas.kafka_access import require_topic_rights
from schemas.kafka_calls import kafka_errors
from schemas.kafka_clients import connections_of, start_client, stop_client
from schemas.kafka_rights import Right

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import ConsumerRecord

    from schemas.event import ChangeEvent

READING = (Right.DESCRIBE, Right.READ)
"""What a reader of a topic must be allowed to do."""

PARTITION = 0
"""A database's events are one partition: order and whole groups matter more than parallel ones."""

STALL_SECONDS_MAX = 30.0
"""The longest silence in the middle of a range of which we know that it exists."""

WINDOW_BYTES_MAX = 32 * 1024 * 1024
"""About how much of a topic is held at once when it is read backwards."""

FETCH_WAIT_MS = 20
"""How long the broker may hold a fetch at a topic's end: the next range cannot be asked for before."""


class Topics(msgspec.Struct, frozen=True):
    """The topics of one database."""

    events: str

    @property
    def snapshots(self) -> str:
        """Chunks of snapshots, and the manifests that find them."""
        return f"{self.events}.snapshots"

    @property
    def quarantine(self) -> str:
        """What nodes could not apply."""
        return f"{self.events}.quarantine"


class RangeGoneError(KafkaUnavailableError):
    """Records that were asked for are no longer in the topic."""


class TopicMadeAnewError(KafkaUnavailableError):
    """The topic was deleted, and another one of its name was made."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"topic {topic} was deleted and made anew", "it is looked at once more")


async def require_same_topic(client: AIOKafkaClient, topic: str, topic_id: int | None) -> None:
    """Makes sure that a topic is the one that had this id; None: whatever it is.

    Raises:
        TopicGoneError: there is none.
        TopicMadeAnewError: it is another one.
        MissingRightError: we may not see or read it.
        KafkaUnavailableError: Kafka does not answer.
    """
    async with kafka_errors(f"watching topic {topic}"):
        found = await ask_topic_id(client, topic)
    if not same_topic(found, topic_id):
        raise TopicMadeAnewError(topic)


async def ask_topic_id(client: AIOKafkaClient, topic: str) -> int | None:
    """Which topic of that name there is; None where the broker tells no ids. To be called in `kafka_errors`.

    Raises:
        UnknownTopicOrPartitionError: there is none.
        MissingRightError: we may not see or read it; a fetch would get nothing for ever, and no error.
    """
    ids = await require_topic_rights(client, {topic: READING})
    if topic not in ids:
        raise UnknownTopicOrPartitionError
    return ids[topic]


class TopicReader:
    """Reads ranges of topics by offset, with a limit on every wait. Use as ``async with``.

    Args:
        client_options: how to reach Kafka, as aiokafka's consumer takes it.
    """

    def __init__(self, client_options: dict[str, Any]) -> None:
        self._options = client_options
        self._ids = dict[str, int | None]()

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            **{**self._options, "fetch_max_wait_ms": FETCH_WAIT_MS},
            enable_auto_commit=False,
            auto_offset_reset="none",
            group_id=None,
        )
        try:
            await start_client(self._consumer)
        except BaseException:
            await stop_client(self._consumer)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await stop_client(self._consumer)

    async def bounds(self, topic: str) -> tuple[int, int]:
        """The first offset that exists, and the one that the next record will get.

        Raises:
            TopicGoneError: there is no such topic.
            MissingRightError: we may not see or read it.
            KafkaUnavailableError: Kafka does not answer.
        """
        partition = TopicPartition(topic, PARTITION)
        async with kafka_errors(f"asking for the end of topic {topic}"):
            self._ids[topic] = await ask_topic_id(connections_of(self._consumer), topic)
            # A broker that tells no ids may not say either that there is no such topic.
            if self._ids[topic] is None and topic not in await self._consumer.topics():
                raise UnknownTopicOrPartitionError
            # Else the client finds out that it does not know the leader, and pauses before it asks.
            await connections_of(self._consumer).add_topic(topic)
            starts = await self._consumer.beginning_offsets([partition])
            ends = await self._consumer.end_offsets([partition])
        return starts[partition], ends[partition]

    def topic_id(self, topic: str) -> int | None:
        """Which topic of that name the last bounds are of; None where the broker tells no ids."""
        return self._ids.get(topic)

    def event_of(self, record: ConsumerRecord | None) -> ChangeEvent | None:
        """The event of a record that was read within the bounds; None where it does not count."""
        if record is None:
            return None
        try:
            event = decode_event(record.value or b"")
        except BadEventError:
            return None
        return event if counts(event, record.offset, self._ids.get(record.topic)) else None

    async def pages(self, topic: str, start: int, stop: int) -> AsyncGenerator[list[ConsumerRecord]]:
        """The records from ``start`` up to, not including, ``stop``; both must lie within the bounds.

        Raises:
            RangeGoneError: retention was faster.
            KafkaUnavailableError: Kafka does not answer.
        """
        if start >= stop:
            return
        partition = TopicPartition(topic, PARTITION)
        self._consumer.assign([partition])
        self._consumer.seek(partition, start)
        position = start
        loop = asyncio.get_running_loop()
        last_record = loop.time()
        while position < stop:
            try:
                async with kafka_errors(f"reading topic {topic}"):
                    fetched = await self._consumer.getmany(partition, timeout_ms=1000)
            except KafkaUnavailableError as error:
                if isinstance(error.__cause__, OffsetOutOfRangeError):
                    raise RangeGoneError(
                        f"records of topic {topic} from offset {position} on are gone", "run: cdc snapshot"
                    ) from error
                raise
            records = fetched.get(partition, [])
            if records:
                last_record = loop.time()
                position = records[-1].offset + 1
                yield [record for record in records if record.offset < stop]
            elif (reached := await self._position(partition)) > position:
                position = reached  # past control records and what compaction removed
            elif loop.time() - last_record > STALL_SECONDS_MAX:
                raise KafkaUnavailableError(
                    f"reading topic {topic}: silent for {STALL_SECONDS_MAX:g} s at offset {position}",
                    "check that the broker runs, and the right to READ the topic",
                )

    async def _position(self, partition: TopicPartition) -> int:
        async with kafka_errors(f"reading topic {partition.topic}"):
            return await self._consumer.position(partition)

    async def record(self, topic: str, offset: int) -> ConsumerRecord | None:
        """The record at an offset within the bounds; None where compaction removed it."""
        async for page in self.pages(topic, offset, offset + 1):
            for record in page:
                return record
        return None

    async def backwards(
        self, topic: str, start: int, stop: int, *, window: int, window_max: int
    ) -> AsyncIterator[ConsumerRecord]:
        """The records from the one before ``stop`` back to ``start``, read in windows of growing length.

        Args:
            topic: which topic.
            start: first offset of interest, ``stop``: the one after the last; both within the bounds.
            stop: see ``start``.
            window: records of the first window.
            window_max: records of the largest one, fewer where they are large: a window is held in memory.
        """
        while stop > start:
            low = max(start, stop - window)
            records = [record async for page in self.pages(topic, low, stop) for record in page]
            for record in reversed(records):
                yield record
            mean_bytes = sum(len(record.value or b"") for record in records) // max(1, len(records)) + 1
            stop, window = low, min(window * 4, window_max, max(1, WINDOW_BYTES_MAX // mean_bytes))
