"""What a poller reads from a topic's end: where its chain stands, and whether it is the topic it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from cdc.kafka.chain import a_group_ends_at, chain_end, holds
from schemas.codec import decode_event
from schemas.event import counts
from tests.support.events import group, head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from schemas.event import ChangeEvent
    from schemas.topics import TopicReader
    from tests.support.events import Landed

TOPIC = "t"


class Records:
    """A topic that holds these records, read as a `TopicReader` reads it."""

    def __init__(self, records: list[Landed], topic_id: int | None = None) -> None:
        self._records = {record.offset: record for record in records}
        self._topic_id = topic_id

    async def bounds(self, _: str) -> tuple[int, int]:
        return min(self._records), max(self._records) + 1

    def topic_id(self, _: str) -> int | None:
        return self._topic_id

    def event_of(self, record: Landed | None) -> ChangeEvent | None:
        if record is None:
            return None
        event = decode_event(record.value or b"")
        return event if counts(event, record.offset, self._topic_id) else None

    async def record(self, _: str, offset: int) -> Landed | None:
        return self._records.get(offset)

    async def pages(self, _: str, start: int, stop: int) -> AsyncIterator[list[Landed]]:
        yield [record for offset, record in sorted(self._records.items()) if start <= offset < stop]

    async def backwards(self, *_: str | int, **__: int) -> AsyncIterator[Landed]:
        for offset in sorted(self._records, reverse=True):
            yield self._records[offset]


def reader(*groups: list[Landed], topic_id: int | None = None) -> TopicReader:
    return cast("TopicReader", Records([record for records in groups for record in records], topic_id))


async def test_the_chain_ends_with_the_last_whole_group_that_counts():
    whole = group(0, 0, 3, [(1, "a"), (2, "b")], writer=5)
    half = group(2, 3, 4, [(1, "c"), (2, "d")], writer=6)[:1]
    end = await chain_end(reader(whole, half), TOPIC)
    assert (end.head, end.end_offset, end.offset, end.writer) == (head(3), 3, 1, 5)


async def test_what_was_meant_for_another_topic_of_that_name_does_not_move_the_chain():
    whole = group(0, 0, 3, [(1, "a"), (2, "b")], writer=5, topic_id=7)
    stray = group(2, 3, 4, [(1, "c")], writer=6, topic_id=8)
    end = await chain_end(reader(whole, stray, topic_id=7), TOPIC)
    assert (end.head, end.end_offset, end.writer, end.topic_id) == (head(3), 3, 5, 7)


async def test_half_a_group_tells_its_epoch_also_where_there_is_no_whole_one():
    half = group(4, 3, 4, [(1, "c"), (2, "d")], epoch=7)[:1]
    void = group(9, 3, 4, [], epoch=8, landed=5)
    end = await chain_end(reader(half, void), TOPIC)
    assert (end.head, end.epoch_seen) == (None, 7)


@pytest.mark.parametrize(
    ("offset", "writer", "there"),
    [(4, 5, True), (4, 6, False), (3, 5, False), (5, 5, False), (-1, None, False)],
    ids=["it is", "of somebody else", "deleted", "beyond the end", "none"],
)
async def test_a_record_is_known_by_its_writer_and_where_it_lies(
    offset: int, writer: int | None, there: bool
):
    assert await holds(reader(group(4, 0, 3, [], writer=5)), TOPIC, offset, writer) is there


@pytest.mark.parametrize(
    ("groups", "ends"),
    [([(2, 4), (4, 6)], True), ([(2, 6)], False), ([(2, 3)], False), ([(4, 6)], False)],
    ids=["there, and goes on", "beyond", "before", "behind"],
)
async def test_whether_a_group_ended_where_a_snapshot_does(groups: list[tuple[int, int]], *, ends: bool):
    records = [group(at, prev, high, []) for at, (prev, high) in enumerate(groups, start=7)]
    assert await a_group_ends_at(reader(*records), TOPIC, 0, head(4)) is ends
