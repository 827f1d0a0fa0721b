"""Starting a cache from Kafka alone: which offset to go on from, and loading the newest snapshot."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

import structlog

from schemas.errors import KafkaUnavailableError
from schemas.event import NIL, same_topic
from schemas.manifests import CHUNK_KEY, newest_snapshot
from schemas.parts import Joiner
from schemas.snapshot import GONE, decode_packed_chunk, unpack_rows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiokafka.structs import ConsumerRecord

    from consumers.meta import Checkpoint
    from consumers.rebuild import Loading
    from consumers.writer import CacheWriter
    from schemas.event import ChangeEvent
    from schemas.manifests import FoundSnapshot
    from schemas.snapshot import Announcement, Chunk, PackedChunk
    from schemas.topics import TopicReader, Topics

    _Pages: TypeAlias = AsyncGenerator[list[ConsumerRecord]]

_log = structlog.get_logger("consumers.bootstrap")


async def resume_offset(reader: TopicReader, topics: Topics, checkpoint: Checkpoint) -> int | None:
    """Where a node reads on: its stored offset where the record before it proves it, else further back.

    Reading from further back is right where retention was faster: what the cache has already is skipped, and
    a gap is a hole. None where the topic was begun anew, or is of another database: it says nothing about
    this cache (a backup may have been restored meanwhile), and only a snapshot helps.
    """
    if await begun_anew(reader, topics, checkpoint):
        return None
    start, _ = await reader.bounds(topics.events)
    offset = checkpoint.offset
    if offset is not None and offset > start:
        return offset
    found = await newest_snapshot(reader, topics)
    # What was loaded from the source may be of a life, and of a capture, that the topic did not come to yet.
    ahead = offset is None and found is not None and checkpoint.epoch > found.announcement.position.epoch
    if found is not None and found.announcement.database.id != checkpoint.database_id and not ahead:
        return None
    # Behind a snapshot that is ahead of this cache it would only find a hole.
    resumed = start if found is None or _is_ahead(found, checkpoint) else found.next_offset
    if offset is None:
        _log.info("the cache was not filled by this topic: reading from further back", offset=resumed)
    else:
        _log.warning(
            "the stored offset is not in the topic: reading from further back", stored=offset, offset=resumed
        )
    return resumed


async def begun_anew(reader: TopicReader, topics: Topics, checkpoint: Checkpoint) -> bool:
    """Whether the topic is another one than the stored offset is of.

    Another id says so, as far as the broker tells them. So does a topic that ends before that offset, or
    holds something else there than was applied; what retention has taken from there proves nothing.
    """
    start, stop = await reader.bounds(topics.events)
    offset = checkpoint.offset
    if offset is None:
        return False
    if not same_topic(checkpoint.topic_id, reader.topic_id(topics.events)):
        return True
    if offset <= start:
        return False
    if offset <= stop and await _proves(reader, topics, offset - 1, checkpoint):
        return False
    # Nothing was applied behind the snapshot that was loaded; newer ones may have come since.
    loaded = await newest_snapshot(reader, topics, lambda announcement: _is_of(announcement, checkpoint))
    return loaded is None or loaded.next_offset != offset


async def still_leads_here(reader: TopicReader, topics: Topics, checkpoint: Checkpoint) -> bool:
    """Whether the topic is provably the one that led the cache to where it stands."""
    start, _ = await reader.bounds(topics.events)
    provable = checkpoint.offset is not None and checkpoint.offset > start
    return provable and not await begun_anew(reader, topics, checkpoint)


async def is_there(reader: TopicReader, topics: Topics, event: ChangeEvent) -> bool:
    """Whether an event that was read is in the topic still: retention, or a person, may have taken it."""
    start, stop = await reader.bounds(topics.events)
    if not start <= event.offset < stop:
        return False
    there = reader.event_of(await reader.record(topics.events, event.offset))
    return there is not None and there.writer == event.writer


def _is_of(announcement: Announcement, checkpoint: Checkpoint) -> bool:
    """Whether a snapshot leaves a cache exactly where this one stands."""
    position = announcement.position
    return (position.epoch, position.epoch_nonce, position.change_id, position.nonce) == (
        checkpoint.epoch,
        checkpoint.epoch_nonce,
        checkpoint.change_id,
        checkpoint.nonce,
    )


def _is_ahead(found: FoundSnapshot, checkpoint: Checkpoint) -> bool:
    position = found.announcement.position
    same_life = (position.epoch, position.epoch_nonce) == (checkpoint.epoch, checkpoint.epoch_nonce)
    return same_life and position.change_id > checkpoint.change_id


async def _proves(reader: TopicReader, topics: Topics, offset: int, checkpoint: Checkpoint) -> bool:
    """Whether the record at ``offset`` is the end of a group that this cache has."""
    event = reader.event_of(await reader.record(topics.events, offset))
    return (
        event is not None
        and event.last
        and (event.epoch, event.epoch_nonce) == (checkpoint.epoch, checkpoint.epoch_nonce)
        # The nonce of the very row: a lower id is in a restored backup, too.
        and (event.high, event.nonce) == (checkpoint.change_id, checkpoint.nonce)
    )


async def load_snapshot(
    reader: TopicReader, topics: Topics, found: FoundSnapshot, writer: CacheWriter
) -> int:
    """Builds a new cache file from a snapshot and swaps it in; returns its rows.

    Raises:
        KafkaUnavailableError: chunks are missing, or Kafka does not answer.
    """
    announcement = found.announcement
    expected = entries = 0
    joiner = Joiner()
    async with writer.loading(announcement.tables, announcement.position.epoch, announcement.rows) as loading:
        pages = reader.pages(topics.snapshots, announcement.first_offset, announcement.last_offset + 1)
        async with aclosing(_one_ahead(pages)) as pages:
            async for page in pages:
                for record in page:
                    if record.key != CHUNK_KEY:
                        continue
                    chunk = decode_packed_chunk(record.value or b"")
                    if chunk.snapshot != announcement.snapshot:
                        continue
                    if chunk.index != expected:
                        break
                    expected += 1
                    entries += await _append(loading, chunk, joiner)
        if expected != announcement.chunks or entries != announcement.rows:
            raise KafkaUnavailableError(
                f"the snapshot in {topics.snapshots} has {expected} of {announcement.chunks} chunks",
                "run: cdc snapshot",
            )
        await writer.adopt(
            loading,
            announcement.position,
            announcement.database,
            found.next_offset,
            found.topic_id,
        )
    _log.info("loaded a snapshot", rows=announcement.rows, position=str(announcement.position.position))
    return announcement.rows


async def _one_ahead(pages: _Pages) -> _Pages:
    """The same pages; the next one is fetched while whoever asked is busy with the one before."""
    async with aclosing(pages):
        coming = asyncio.ensure_future(anext(pages, None))
        try:
            while (page := await coming) is not None:
                coming = asyncio.ensure_future(anext(pages, None))
                yield page
        finally:
            # A generator cannot be closed while it runs.
            coming.cancel()
            await asyncio.wait([coming])
            if not coming.cancelled():
                coming.exception()  # of a page that nobody wants any more


async def _append(loading: Loading, packed: PackedChunk, joiner: Joiner) -> int:
    """Adds a chunk to the load; returns how many entries of the snapshot it ends."""
    # The one chunk of an empty snapshot is of no table.
    if packed.parts == 1 and packed.table:
        added = await loading.append_packed(packed.table, packed.rows)
        if added is not None:
            return added
    chunk = unpack_rows(packed)
    if chunk.parts > 1:
        await _append_part(loading, chunk, joiner)
        return int(chunk.part == chunk.parts - 1)
    await _append_rows(loading, chunk)
    return len(chunk.rows)


async def _append_part(loading: Loading, chunk: Chunk, joiner: Joiner) -> None:
    ((key, piece, change_id),) = chunk.rows
    if not joiner.add(chunk.part, chunk.parts, piece):
        return
    row = joiner.take()
    if row is None:
        await loading.quarantine(chunk.table, key, change_id, since_ms=0)
    else:
        await loading.replace(chunk.table, key, row, change_id)


async def _append_rows(loading: Loading, chunk: Chunk) -> None:
    # A row has columns: what is one byte long is a mark in the place of one.
    rows = [(key, data, change_id) for key, row, change_id in chunk.rows if len(data := bytes(row)) > 1]
    if len(rows) == len(chunk.rows) and not loading.marked:
        if rows:
            await loading.append(chunk.table, rows)
        return
    for key, row, change_id in chunk.rows:
        if row == NIL:
            await loading.remove(chunk.table, key, change_id)
            await loading.quarantine(chunk.table, key, change_id, since_ms=0)
        elif row == GONE:
            await loading.remove(chunk.table, key, change_id)
        else:
            await loading.replace(chunk.table, key, bytes(row), change_id)
