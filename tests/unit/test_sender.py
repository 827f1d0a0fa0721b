"""Records on their way to a topic: what follows one whose fate is not known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from cdc.kafka.sender import DisplacedError, Sender
from schemas.errors import KafkaUnavailableError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import RecordMetadata

TOPIC = "t"


class Batch:
    """As a producer's batch builder: as large as anybody likes."""

    def __init__(self) -> None:
        self.records = 0

    def append(self, **_: object) -> object:
        self.records += 1
        return self

    def record_count(self) -> int:
        return self.records

    def close(self) -> None:
        """There is nothing to end."""


class Landed:
    def __init__(self, offset: int) -> None:
        self.offset = offset


class Producer:
    """Acknowledges batches at these offsets, in order; an error stands for what Kafka answers instead."""

    def __init__(self, *answers: int | Exception) -> None:
        self._answers = list(answers)
        self.sent = 0

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[RecordMetadata]:
        assert (topic, partition) == (TOPIC, 0)
        self.sent += batch.records
        future = asyncio.get_running_loop().create_future()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(Landed(answer))
        return future


def sender_to(producer: Producer, next_offset: int | None = 7) -> Sender:
    return Sender(cast("AIOKafkaProducer", producer), TOPIC, next_offset)


async def test_records_that_land_where_they_should_may_be_followed():
    producer = Producer(7, 9)
    sender = sender_to(producer)
    await sender.append(b"", b"a")
    await sender.append(b"", b"b")
    await sender.flush()
    await sender.append(b"", b"c")
    await sender.flush()
    assert (producer.sent, sender.next_offset, sender.last_offset) == (3, 10, 9)


@pytest.mark.parametrize(
    ("answer", "error"),
    [(8, DisplacedError), (-1, DisplacedError), (ConnectionError("reset"), KafkaUnavailableError)],
    ids=["elsewhere", "nobody says where", "no answer"],
)
async def test_nothing_follows_a_record_whose_fate_is_not_known(answer: int | Exception, error: type):
    producer = Producer(answer, 8)
    sender = sender_to(producer)
    await sender.append(b"", b"a")
    with pytest.raises(error):
        await sender.flush()
    # A goodbye, for example: it would land, and say where the chain stood before.
    with pytest.raises(DisplacedError, match="not known"):
        await sender.append(b"", b"goodbye")
    await sender.flush()
    assert producer.sent == 1


async def test_where_any_offset_will_do_only_a_failure_ends_it():
    sender = sender_to(Producer(100, 200, -1), next_offset=None)
    for offset in (100, 200):
        await sender.append(b"", b"chunk")
        await sender.flush()
        assert sender.last_offset == offset
    await sender.append(b"", b"chunk")
    with pytest.raises(DisplacedError):
        await sender.flush()
