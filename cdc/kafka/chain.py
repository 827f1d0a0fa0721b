"""Where the chain of groups in a topic stands: what a poller asks the topic instead of keeping state."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from cdc import limits
from schemas.event import Head, Op, same_topic
from schemas.topics import TopicMadeAnewError

if TYPE_CHECKING:
    from schemas.event import ChangeEvent
    from schemas.manifests import FoundSnapshot
    from schemas.topics import TopicReader


class ChainEnd(msgspec.Struct, frozen=True):
    """The end of a topic: the last whole group in it, and the offset that the next record will get.

    ``head`` is None where no group counts. ``writer`` is who published that group, and ``said_goodbye`` that
    it ended in order: void records behind the goodbye are of a poller that has stepped back by now.
    ``epoch_seen`` is the highest epoch of that group and of what counts behind it: readers may have met it in
    the beginning of a group that was never ended, even where retention took what lay before. ``offset`` is
    where the group's last record lies. ``topic_id`` is of the topic that was read.
    """

    head: Head | None
    end_offset: int
    writer: int | None = None
    said_goodbye: bool = False
    epoch_seen: int = 0
    offset: int = -1
    topic_id: int | None = None


async def chain_end(reader: TopicReader, topic: str) -> ChainEnd:
    """Looks backwards from the topic's end for the last record that counts and ends a group.

    A record that counts was preceded by all of its writer's earlier ones, each at the offset it expected: the
    producer is idempotent, so a later batch cannot land without an earlier one, nor shift without the rest.

    Raises:
        TopicMadeAnewError: the topic was deleted and made anew while it was read.
        KafkaUnavailableError: Kafka does not answer.
    """
    start, stop = await reader.bounds(topic)
    records = reader.backwards(
        topic,
        start,
        stop,
        window=limits.CHAIN_WINDOW_RECORDS,
        window_max=limits.CHAIN_WINDOW_RECORDS_MAX,
    )
    epoch_seen, topic_id = 0, reader.topic_id(topic)
    async for record in records:
        event = reader.event_of(record)
        if event is None:
            continue
        epoch_seen = max(epoch_seen, event.epoch)
        if event.last and await _begins(reader, topic, start, event):
            return ChainEnd(
                event.head,
                stop,
                event.writer,
                said_goodbye=event.op == Op.END,
                epoch_seen=epoch_seen,
                offset=event.offset,
                topic_id=topic_id,
            )
    # That nothing counts may be because all of it is of another topic than the one whose id was asked for.
    await reader.bounds(topic)
    if not same_topic(reader.topic_id(topic), topic_id):
        raise TopicMadeAnewError(topic)
    return ChainEnd(None, stop, epoch_seen=epoch_seen, topic_id=topic_id)


async def holds(reader: TopicReader, topic: str, offset: int, writer: int | None) -> bool:
    """Whether the record of ``writer`` at ``offset`` is there still: another topic of that name lacks it."""
    start, stop = await reader.bounds(topic)
    event = await _event_at(reader, topic, offset) if start <= offset < stop else None
    return event is not None and event.writer == writer


async def a_group_ends_at(reader: TopicReader, topic: str, start: int, head: Head) -> bool:
    """Whether a group ends at ``head``, from offset ``start`` on and before any goes beyond it."""
    first, stop = await reader.bounds(topic)
    async with aclosing(reader.pages(topic, max(start, first), stop)) as pages:
        async for page in pages:
            for record in page:
                event = reader.event_of(record)
                if event is None or _log_life(event) != _log_life(head):
                    continue
                if event.high > head.change_id:
                    return False
                if event.last and (event.high, event.nonce) == (head.change_id, head.nonce):
                    return True
    return False


def _log_life(one: ChangeEvent | Head) -> tuple[int, int]:
    return one.epoch, one.epoch_nonce


def life(head: Head) -> tuple[int, int, int]:
    """What the log's life and what is published have to be for one head to lead to another."""
    return head.epoch, head.epoch_nonce, head.settings


def is_broken(end: ChainEnd, found: FoundSnapshot | None) -> bool:
    """Whether the topic holds no whole group, or its chain went back behind its own snapshot.

    The latter can be only where the broker, or an older poller, tells no ids of topics: a batch that was on
    its way to a topic that is gone can land in its successor then, and count by chance.
    """
    if end.head is None:
        return end.end_offset > 0
    if found is None or found.announcement_offset >= end.end_offset:
        return False
    loaded = found.announcement.position
    return _log_life(loaded) == _log_life(end.head) and end.head.change_id < loaded.change_id


async def _begins(reader: TopicReader, topic: str, start: int, last: ChangeEvent) -> bool:
    """Whether the group's first record landed, too.

    A broker takes any sequence number from a producer that it does not know: where the first batch was
    refused, the next one lands. From then on it lets none out.
    """
    offset = last.offset - last.index
    if not last.index or offset < start:
        return True
    first = await _event_at(reader, topic, offset)
    return first is not None and (first.index, first.writer) == (0, last.writer)


async def _event_at(reader: TopicReader, topic: str, offset: int) -> ChangeEvent | None:
    return reader.event_of(await reader.record(topic, offset))
