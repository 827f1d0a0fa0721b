"""Deletes the chunks of snapshots that nobody starts from any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from schemas.errors import CdcError
from schemas.kafka_admin import Admin
from schemas.manifests import newest_snapshot
from schemas.topics import TopicReader

if TYPE_CHECKING:
    from schemas.topics import Topics

_log = structlog.get_logger("cdc.kafka")


async def delete_old_snapshots(
    consumer_options: dict[str, Any], admin_options: dict[str, Any], topics: Topics
) -> None:
    """Keeps the newest whole snapshot that counts, and the one before it for nodes that are loading it.

    A node that is loading an older one starts again with a newer one. Best effort: what is not deleted now
    goes after the next snapshot.
    """
    try:
        async with TopicReader(consumer_options) as reader:
            offset = await first_needed(reader, topics)
            start, _ = await reader.bounds(topics.snapshots)
        if offset is None or offset <= start:
            return
        async with Admin(admin_options) as admin:
            await admin.delete_before(topics.snapshots, offset)
    except CdcError as error:
        _log.warning("old snapshots are not deleted", reason=error.message, remedy=error.remedy)
    else:
        _log.info("deleted old snapshots", topic=topics.snapshots, offset=offset)


async def first_needed(reader: TopicReader, topics: Topics) -> int | None:
    """The first chunk of the oldest snapshot that stays; None where all of them stay."""
    newest = await newest_snapshot(reader, topics)
    if newest is None:
        return None
    first = newest.announcement.first_offset
    # Chunks lie in a row but for those of snapshots made at the same time: one among them is left alone.
    older = await newest_snapshot(reader, topics, before=first)
    return first if older is None else min(first, older.announcement.first_offset)
