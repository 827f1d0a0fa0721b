"""Sends batches to one partition in order, few in flight, and checks where they landed."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from cdc import limits
from schemas.errors import CdcError, KafkaUnavailableError
from schemas.kafka_calls import kafka_errors
from schemas.topics import PARTITION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import AIOKafkaProducer
    from aiokafka.producer.message_accumulator import BatchBuilder


class DisplacedError(CdcError):
    """Records landed elsewhere than expected: another poller writes to this topic, and ours are void."""


class StrodeOverError(DisplacedError):
    """Another poller led the chain past where this one was to lead it, in one group."""


class Sender:
    """Appends records to one partition through an idempotent producer.

    Args:
        producer: started, idempotent, acks=all; one sender a partition.
        topic: where to.
        next_offset: the offset that the next record is expected to get; None: any will do.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str, next_offset: int | None) -> None:
        self._producer = producer
        self._topic = topic
        self.next_offset = next_offset
        self.last_offset: int | None = None
        """Where the newest acknowledged batch ended."""
        self._failed = False
        self._batch: BatchBuilder | None = None
        self._in_flight: deque[tuple[asyncio.Future, int | None, int]] = deque()

    async def append(self, key: bytes, value: bytes) -> None:
        """Adds a record; sends the batch before it when that is full.

        Raises:
            DisplacedError: an earlier record failed, or its fate is not known: nothing may follow it.
            KafkaUnavailableError: no answer in time, or the record is too large for a batch.
        """
        if self._failed:
            raise DisplacedError(f"what landed in topic {self._topic} before is not known")
        while True:
            if self._batch is None:
                self._batch = self._producer.create_batch()
            if self._batch.append(key=key, value=value, timestamp=None) is not None:
                break
            if not self._batch.record_count():
                raise KafkaUnavailableError(
                    f"a record of {len(value)} bytes does not fit into a batch", "raise kafka batch.size"
                )
            await self.send()
        if self.next_offset is not None:
            self.next_offset += 1

    async def send(self) -> None:
        """Hands the batch under way to the producer; waits while too many are in flight."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        batch.close()
        count = batch.record_count()
        base = None if self.next_offset is None else self.next_offset - count
        while len(self._in_flight) >= limits.IN_FLIGHT_BATCHES_MAX:
            await self._await_oldest()
        # send_batch waits for the batch before this one to leave; if that fails, nothing was written.
        async with self._all_or_nothing():
            future = await self._producer.send_batch(batch, self._topic, partition=PARTITION)
        self._in_flight.append((future, base, count))

    async def flush(self) -> None:
        """Returns when every record is acknowledged, each at the offset it expected.

        Raises:
            DisplacedError: some landed elsewhere.
            KafkaUnavailableError: no answer in time; whether they landed is unknown.
        """
        await self.send()
        while self._in_flight:
            await self._await_oldest()

    async def _await_oldest(self) -> None:
        future, base, count = self._in_flight.popleft()
        async with self._all_or_nothing():
            landed = await asyncio.shield(future)
            self._check(landed.offset, base)
        self.last_offset = landed.offset + count - 1

    @asynccontextmanager
    async def _all_or_nothing(self) -> AsyncIterator[None]:
        """Bounds a step in time; when it fails, nothing more is written."""
        try:
            async with kafka_errors(f"writing to topic {self._topic}", limits.ACK_SECONDS_MAX):
                yield
        except BaseException:
            self._failed = True
            raise

    def _check(self, landed: int, expected: int | None) -> None:
        if landed < 0:
            raise DisplacedError(f"topic {self._topic} did not say where records landed")
        if expected is not None and landed != expected:
            raise DisplacedError(
                f"records of topic {self._topic} landed at offset {landed}, not at {expected}",
                "another poller writes to it: this one stands by",
            )
        if self.last_offset is not None and landed <= self.last_offset:
            raise DisplacedError(
                f"records of topic {self._topic} landed at offset {landed}, behind {self.last_offset}",
                "the topic was begun anew: so does this poller",
            )

    def abandon(self) -> None:
        """Forgets what is in flight: its fate is read from the topic."""
        for future, _, _ in self._in_flight:
            future.add_done_callback(_retrieve)
        self._in_flight.clear()
        self._batch = None


def _retrieve(future: asyncio.Future) -> None:
    """Keeps asyncio from complaining about a failure that no longer concerns anybody."""
    if not future.cancelled() and isinstance(future.exception(), KafkaError):
        return
