"""Finding the newest snapshot in Kafka: the poller must know what there is, a node where to start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from schemas.errors import BadEventError
from schemas.event import Op
from schemas.snapshot import Announcement, decode_announcement, decode_chunk, decode_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.snapshot import Manifest
    from schemas.topics import TopicReader, Topics

MANIFEST_KEY: Final = b"manifest"
"""The key of a manifest's record; chunks have the key ``CHUNK_KEY``."""

CHUNK_KEY: Final = b"chunk"


class FoundSnapshot(msgspec.Struct, frozen=True):
    """A snapshot of which every part was seen to exist, and where its announcement lies."""

    announcement: Announcement
    announcement_offset: int
    topic_id: int | None
    """Of the topic of events; None where the broker tells no ids."""

    @property
    def next_offset(self) -> int:
        """Where whoever loaded it reads on.

        Behind the announcement where nothing lies between it and ``from_offset``: it proves that offset when
        the reader comes back. What a running poller published meanwhile must be read, too.
        """
        if self.announcement_offset == self.announcement.from_offset:
            return self.announcement_offset + 1
        return self.announcement.from_offset


def _any_will_do(_: Announcement) -> bool:
    return True


async def newest_snapshot(
    reader: TopicReader,
    topics: Topics,
    accept: Callable[[Announcement], bool] = _any_will_do,
    *,
    before: int | None = None,
) -> FoundSnapshot | None:
    """Returns the newest snapshot that is whole: its announcement counts, its chunks and what follows exist.

    ``accept`` may refuse one, and an older one is looked for: a poller that slept between announcement and
    manifest can leave the manifest of an older life of the log last in the topic. ``before``: only manifests
    before that offset of the snapshot topic.

    Raises:
        TopicGoneError: there are no topics yet.
        KafkaUnavailableError: Kafka does not answer.
    """
    start, end = await reader.bounds(topics.snapshots)
    stop = end if before is None else min(end, before)
    events_start, events_stop = await reader.bounds(topics.events)
    async for record in reader.backwards(topics.snapshots, start, stop, window=2, window_max=32):
        if record.key != MANIFEST_KEY:
            continue
        try:
            manifest = decode_manifest(record.value or b"")
        except BadEventError:
            continue
        if manifest.first_offset < start or not events_start <= manifest.announcement_offset < events_stop:
            continue
        announcement = await _announcement(reader, topics, manifest)
        if announcement is None or announcement.from_offset < events_start:
            continue
        if accept(announcement) and await _has_its_chunks(reader, topics, announcement, stop):
            return FoundSnapshot(announcement, manifest.announcement_offset, reader.topic_id(topics.events))
    return None


async def _has_its_chunks(reader: TopicReader, topics: Topics, announcement: Announcement, stop: int) -> bool:
    """Whether the first and the last chunk are where they should be.

    The topic may have been deleted while the snapshot was written: then its manifest is in another one.
    """
    ends = ((announcement.first_offset, 0), (announcement.last_offset, announcement.chunks - 1))
    if announcement.last_offset >= stop:
        return False
    for offset, index in ends:
        record = await reader.record(topics.snapshots, offset)
        try:
            chunk = decode_chunk((record and record.value) or b"")
        except BadEventError:
            return False
        if (chunk.snapshot, chunk.index) != (announcement.snapshot, index):
            return False
    return True


async def _announcement(reader: TopicReader, topics: Topics, manifest: Manifest) -> Announcement | None:
    """The announcement a manifest points at, if it is there and counts."""
    event = reader.event_of(await reader.record(topics.events, manifest.announcement_offset))
    if event is None or event.op != Op.SNAPSHOT:
        return None
    try:
        announcement = decode_announcement(event.after)
    except BadEventError:
        return None
    return announcement if announcement.snapshot == manifest.snapshot else None
