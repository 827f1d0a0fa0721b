"""Finding the event that wrote a row: backwards through the topic, with a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cdc import limits
from schemas.event import ROW_OPS, Op
from schemas.snapshot import decode_announcement
from schemas.topics import PARTITION

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from consumers.meta import Checkpoint
    from schemas.event import ChangeEvent
    from schemas.topics import TopicReader


class Trail(msgspec.Struct):
    """What the topic holds of one row.

    ``wrote`` is the event that wrote what the cache has, or the newest one where it has nothing;
    ``newer`` are events that the cache has not applied yet, newest first. ``remark`` says why there is no
    ``wrote``.
    """

    wrote: dict[str, Any] | None = None
    newer: list[dict[str, Any]] = msgspec.field(default_factory=list)
    remark: str | None = None
    searched: int = 0


class _WholeGroups:
    """Tells, going backwards, which records count and are of a whole group."""

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader
        self._next: ChangeEvent | None = None

    def look_at(self, record: ConsumerRecord) -> ChangeEvent | None:
        """Return the record's event if it counts; the one behind it was looked at last."""
        following, self._next = self._next, None
        event = self._reader.event_of(record)
        if event is None:
            return None
        goes_on = following is not None and (following.index, following.offset, following.writer) == (
            event.index + 1,
            event.offset + 1,
            event.writer,
        )
        if event.last or goes_on:
            self._next = event
            return event
        return None


async def find_event(
    reader: TopicReader, topic: str, key: bytes, checkpoint: Checkpoint | None, change_id: int | None
) -> Trail:
    """Walk back from the topic's end to the event that wrote a row.

    Args:
        reader: an open one.
        topic: of the events.
        key: the record's key (`schemas.keys.record_key`).
        checkpoint: where the cache stands; None: there is no cache.
        change_id: what wrote the cached row; None: it has none.
    """
    trail = Trail()
    start, stop = await reader.bounds(topic)
    whole = _WholeGroups(reader)
    snapshot: dict[str, Any] | None = None
    async for record in reader.backwards(
        topic, start, stop, window=256, window_max=limits.WHY_WINDOW_RECORDS
    ):
        if trail.searched >= limits.WHY_RECORDS_MAX:
            trail.remark = f"not among the last {limits.WHY_RECORDS_MAX:,} records of {topic}"
            break
        trail.searched += 1
        event = whole.look_at(record)
        if event is None:
            continue
        if _is_older(event, checkpoint, change_id):
            break
        if event.op == Op.SNAPSHOT and change_id == decode_announcement(event.after).position.change_id:
            snapshot = _document(event, topic)
        if record.key == key and event.op in ROW_OPS:
            _note(trail, _document(event, topic), checkpoint, change_id)
            if trail.wrote is not None:
                return trail
    trail.wrote = snapshot
    if snapshot is None and trail.remark is None:
        trail.remark = f"beyond retention: {topic} begins at offset {start}" if start else f"not in {topic}"
    return trail


def _note(trail: Trail, found: dict[str, Any], checkpoint: Checkpoint | None, change_id: int | None) -> None:
    position = found["position"]
    here = None if checkpoint is None else (checkpoint.epoch, checkpoint.change_id)
    if here is not None and (position["epoch"], position["change_id"]) > here:
        trail.newer = [*trail.newer, found][: limits.WHY_EVENTS_MAX]
    elif change_id is None or found["change_id"] == change_id:
        trail.wrote = found


def _is_older(event: ChangeEvent, checkpoint: Checkpoint | None, change_id: int | None) -> bool:
    """Whether the event, and so every one before it, is of before the row was written."""
    if checkpoint is None or change_id is None:
        return False
    return (event.epoch, event.high) < (checkpoint.epoch, change_id)


def _document(event: ChangeEvent, topic: str) -> dict[str, Any]:
    return {
        "op": event.op,
        "change_id": event.change_id,
        "position": {"epoch": event.epoch, "change_id": event.high},
        "ts_ms": event.ts_ms,
        "kafka": {"topic": topic, "partition": PARTITION, "offset": event.offset},
    }
