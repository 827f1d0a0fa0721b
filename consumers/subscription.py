"""The stream of a topic's records from an offset on, with a watchdog; the offset told to the Kafka group."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from consumers import limits
from schemas.errors import KafkaUnavailableError, MissingRightError
from schemas.kafka_access import group_rights, missing_right
from schemas.kafka_calls import TopicGoneError, kafka_errors
from schemas.kafka_clients import connections_of, start_client, stop_client
from schemas.kafka_rights import Right
from schemas.topics import PARTITION, ask_topic_id, require_same_topic

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

_log = structlog.get_logger("consumers.subscription")


class Subscription:
    """Reads one topic in order. Use as ``async with``.

    Args:
        client_options: how to reach Kafka, as aiokafka's consumer takes it.
        topic: what to read.
        group: the Kafka group that offsets are committed to, for the tools that people watch lag with. The
            checkpoint in redb is what counts. None for a reader that commits none.
        offset: where to begin.
    """

    def __init__(self, client_options: dict[str, Any], topic: str, group: str | None, offset: int) -> None:
        self._options = client_options
        self._topic = topic
        self._group = group
        self._partition = TopicPartition(topic, PARTITION)
        self._start = offset
        self._last_seen = 0.0
        self._end_seen = -1
        self._committed = -1
        self._committed_at = 0.0
        self._committing: asyncio.Task[None] | None = None
        self.topic_id: int | None = None
        """Which topic of that name is read; None where the broker tells no ids."""

    async def __aenter__(self) -> Self:
        await self._open()
        try:
            if self._group is not None and not await self._may_commit(self._group):
                # aiokafka would raise it from every fetch.
                await stop_client(self._consumer)
                self._group = None
                await self._open()
        except BaseException:
            await stop_client(self._consumer)
            raise
        self._consumer.assign([self._partition])
        self._consumer.seek(self._partition, self._start)
        self._last_seen = asyncio.get_running_loop().time()
        return self

    async def _open(self) -> None:
        self._consumer = AIOKafkaConsumer(
            **{
                "max_partition_fetch_bytes": limits.FETCH_BYTES_MAX,
                "fetch_max_bytes": limits.FETCH_BYTES_MAX,
                **self._options,
            },
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
        )
        try:
            await start_client(self._consumer)
            async with kafka_errors("connecting to Kafka"):
                self.topic_id = await ask_topic_id(connections_of(self._consumer), self._topic)
        except BaseException:
            await stop_client(self._consumer)
            raise

    async def _may_commit(self, group: str) -> bool:
        """Whether the group may be told our offset; nothing of ours depends on it."""
        try:
            async with kafka_errors(f"asking for group {group}"):
                rights = await group_rights(connections_of(self._consumer), group)
        except (KafkaUnavailableError, MissingRightError):
            return True
        if rights is None or Right.READ in rights:
            return True
        missing = missing_right((Right.READ,), f"group {group}")
        _log.warning(
            "the Kafka group will not show our offset", reason=missing.message, remedy=missing.remedy
        )
        return False

    async def __aexit__(self, *exc: object) -> None:
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.wait([self._committing])
        await stop_client(self._consumer)

    async def fetch(self) -> list[ConsumerRecord]:
        """The next records, in order; none when there was nothing new for a moment.

        Raises:
            KafkaUnavailableError: Kafka is away, the topic is gone, or the offset is not in it any more.
        """
        async with kafka_errors(f"reading topic {self._topic}"):
            fetched = await self._consumer.getmany(
                self._partition, timeout_ms=limits.FETCH_WAIT_MS, max_records=limits.FETCH_RECORDS_MAX
            )
        now = asyncio.get_running_loop().time()
        records = fetched.get(self._partition)
        if records:
            self._last_seen = now
            return records
        if now - self._last_seen > limits.WATCHDOG_SECONDS:
            await self._look_alive()
            self._last_seen = now
        return []

    async def position(self) -> int:
        """The offset that is read next: also past control records, which are never handed over."""
        async with kafka_errors(f"reading topic {self._topic}"):
            return await self._consumer.position(self._partition)

    async def end_offset(self) -> int:
        """The offset that the next record of the topic will get."""
        async with kafka_errors(f"asking for the end of topic {self._topic}"):
            return (await self._consumer.end_offsets([self._partition]))[self._partition]

    def end_seen(self) -> int:
        """Where the topic ended when the broker last answered a fetch; -1 before that."""
        highwater = self._consumer.highwater(self._partition)
        return -1 if highwater is None else highwater

    def tell_group(self, offset: int) -> None:
        """Commits a durable offset to the Kafka group now and then, without ever waiting for it."""
        if self._group is None:
            return
        now = asyncio.get_running_loop().time()
        under_way = self._committing is not None and not self._committing.done()
        if offset == self._committed or under_way:
            return
        if now - self._committed_at < limits.GROUP_COMMIT_SECONDS:
            return
        self._committed_at = now
        self._committing = asyncio.create_task(self._commit(offset))

    async def tell_group_now(self, offset: int) -> None:
        """Commits a durable offset to the Kafka group before leaving, best effort."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
        if offset != self._committed and self._group is not None:
            await self._commit(offset)

    async def _commit(self, offset: int) -> None:
        try:
            async with kafka_errors("committing an offset", limits.KAFKA_REQUEST_SECONDS):
                await self._consumer.commit({self._partition: offset})
        except (KafkaUnavailableError, MissingRightError) as error:
            _log.warning("the Kafka group does not know our offset", reason=error.message, offset=offset)
        else:
            self._committed = offset

    async def look_at_topic(self) -> None:
        """Makes sure that the topic is the one that was subscribed to.

        Raises:
            TopicGoneError: it was deleted.
            KafkaUnavailableError: it was deleted and made anew; or Kafka is away.
        """
        await require_same_topic(connections_of(self._consumer), self._topic, self.topic_id)

    async def _look_alive(self) -> None:
        """Silence may be an idle topic, a broker that is away, or a topic that was deleted: asks which."""
        await self.look_at_topic()
        async with kafka_errors(f"watching topic {self._topic}"):
            if self.topic_id is None and self._topic not in await self._consumer.topics():
                # A broker that tells no ids may not have said so.
                raise TopicGoneError(f"topic {self._topic} does not exist any more", "run: cdc poll")
            end = (await self._consumer.end_offsets([self._partition]))[self._partition]
            position = await self._consumer.position(self._partition)
        # aiokafka does not say when its fetching routine has died: by now we are past the last look's end.
        if position < self._end_seen:
            raise KafkaUnavailableError(f"reading topic {self._topic} stands still", "see Kafka's log")
        self._end_seen = end
