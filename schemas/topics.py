"""Names of the topics, and bounded reads of them: what both sides ask a topic outside its stream."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from schemas.errors import KafkaUnavailableError, UsageError
from schemas.kafka_access import missing_right, require_topic_rights
from schemas.kafka_refusal import reason_since, refusal
from schemas.kafka_rights import Right

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Coroutine

    from aiokafka.structs import ConsumerRecord

READING = (Right.DESCRIBE, Right.READ)
"""What a reader of a topic must be allowed to do."""

PARTITION = 0
"""A database's events are one partition: order and whole groups matter more than parallel ones."""

REQUEST_SECONDS_MAX = 10.0
"""The longest wait for one answer of a broker: several of aiokafka's own calls may wait for ever."""

request_seconds = ContextVar("request_seconds", default=REQUEST_SECONDS_MAX)
"""The same, for this command: a one-shot command that is to give up earlier waits no longer than that."""

STALL_SECONDS_MAX = 30.0
"""The longest silence in the middle of a range of which we know that it exists."""

STOP_SECONDS_MAX = 3.0
"""The longest wait for a client to close: it may wait for a broker that is away."""

_CLOSED_TRANSPORT = "the handler is closed"
"""uvloop's RuntimeError for a write to a connection just lost, where aiokafka 0.14 expects an OSError."""

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


class TopicGoneError(KafkaUnavailableError):
    """The topic does not exist, or not any more."""


class RangeGoneError(KafkaUnavailableError):
    """Records that were asked for are no longer in the topic."""


@asynccontextmanager
async def kafka_errors(doing: str, seconds: float | None = None) -> AsyncIterator[None]:
    """Bounds a call to Kafka in time (``request_seconds`` unless given), and turns its errors into ours."""
    seconds = request_seconds.get() if seconds is None else seconds
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            yield
    except UnknownTopicOrPartitionError as error:
        raise TopicGoneError(f"{doing}: there is no such topic", "run: cdc poll") from error
    except (TopicAuthorizationFailedError, GroupAuthorizationFailedError) as error:
        kind = "group" if isinstance(error, GroupAuthorizationFailedError) else "topic"
        right = Right.READ if kind == "group" else _RIGHTS.get(doing.partition(" ")[0], Right.DESCRIBE)
        raise missing_right((right,), f"{kind} {_named(error)}") from error
    except ClusterAuthorizationFailedError as error:
        raise missing_right((Right.WRITE,), "the topics (or IdempotentWrite the cluster)") from error
    except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
        raise UsageError(
            f"{doing}: the broker refuses records of this size",
            "set the topic's max.message.bytes to 1048588 or more, or lower kafka batch.size",
        ) from error
    except TimeoutError as error:
        raise KafkaUnavailableError(
            f"{doing}: no answer from Kafka within {seconds:g} s", "check that the broker runs"
        ) from error
    except (KafkaError, OSError, RuntimeError) as error:
        # A KafkaError is a RuntimeError, too.
        if not isinstance(error, (KafkaError, OSError)) and _CLOSED_TRANSPORT not in str(error):
            raise
        cause = reason_since(began_s)
        if (refused := refusal(doing, cause)) is not None:
            raise refused from error
        reason = str(error if cause is None else cause) or type(error).__name__
        raise KafkaUnavailableError(f"{doing}: {reason}", "check bootstrap_servers and the broker") from error


_RIGHTS = {
    "writing": Right.WRITE,
    "reading": Right.READ,
    "watching": Right.READ,
    "creating": Right.CREATE,
    "deleting": Right.DELETE,
}
"""The right that is needed for what `kafka_errors` is told we are doing, by its first word."""


def _named(error: KafkaError) -> str:
    """The topic or group that aiokafka's error speaks of."""
    named = error.args[0] if error.args else ""
    return ", ".join(map(str, named)) if isinstance(named, (set, frozenset, list, tuple)) else str(named)


async def stop_client(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
    """Closes an aiokafka client, but does not wait for a broker that is away.

    While one is away, ``stop`` of aiokafka 0.14 may let out the CancelledError of a task of its own, which
    would end ours; and where one of its steps fails or takes long it leaves the ones behind it undone: a task
    that goes on fetching, connections that nobody closes.
    """
    if isinstance(client, AIOKafkaAdminClient):
        stopping, connections = client.close(), client._client  # noqa: SLF001 -- nothing else closes them
    elif isinstance(client, AIOKafkaProducer):
        stopping, connections = client.stop(), client.client
    else:
        stopping, connections = client.stop(), client._client  # noqa: SLF001 -- nothing else closes them
    if await _ends_well(stopping):
        return
    if isinstance(client, AIOKafkaConsumer):
        await _end_tasks(client)
    await _ends_well(connections.close())


async def _end_tasks(consumer: AIOKafkaConsumer) -> None:
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001 -- nothing else ends them
    if isinstance(coordinator, GroupCoordinator):
        await _ends_well(coordinator._stop_commit_offsets_refresh_task())  # noqa: SLF001
    if fetcher is not None:
        await _ends_well(fetcher.close())


async def _ends_well(closing: Coroutine[Any, Any, None]) -> bool:
    """Runs one step of a close for a limited time, apart from our own task; what it raises is no news."""
    task = asyncio.ensure_future(closing)
    try:
        await asyncio.wait([task], timeout=STOP_SECONDS_MAX)
    finally:
        task.cancel()
    if not task.done() or task.cancelled():
        return False
    error = task.exception()
    if error is not None and not isinstance(error, (OSError, RuntimeError)):
        raise error
    return error is None  # nothing of ours is lost: positions live in the topic and in redb


class TopicReader:
    """Reads ranges of topics by offset, with a limit on every wait. Use as ``async with``.

    Args:
        client_options: how to reach Kafka, as aiokafka's consumer takes it.
    """

    def __init__(self, client_options: dict[str, Any]) -> None:
        self._options = client_options
        self._allowed = set[str]()

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            **{**self._options, "fetch_max_wait_ms": FETCH_WAIT_MS},
            enable_auto_commit=False,
            auto_offset_reset="none",
            group_id=None,
        )
        try:
            async with kafka_errors("connecting to Kafka"):
                await self._consumer.start()
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
            if topic not in self._allowed:
                # A fetch without the right to read gets nothing for ever, and no error.
                await require_topic_rights(self._consumer._client, {topic: READING})  # noqa: SLF001 -- no other way
                self._allowed.add(topic)
            if topic not in await self._consumer.topics():
                raise UnknownTopicOrPartitionError
            # Else the client finds out that it does not know the leader, and pauses before it asks.
            await self._consumer._client.add_topic(topic)  # noqa: SLF001 -- no other way
            starts = await self._consumer.beginning_offsets([partition])
            ends = await self._consumer.end_offsets([partition])
        return starts[partition], ends[partition]

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
