"""Rows that are not in a cache because they could not be applied: their marks, and what becomes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from consumers.batch import Batch
from consumers.fitness import fit, table_prefix
from consumers.marks import QuarantineMark, decode_mark
from consumers.meta import QUARANTINE_TABLE
from schemas.codec import decode_event
from schemas.errors import BadEventError, CacheError
from schemas.keys import BadKeyError, decode_key, record_key, split_record_key
from schemas.values import values_to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumers import _redb
    from consumers.writer import CacheWriter

PAGE_MARKS = 500


class Marked(msgspec.Struct, frozen=True):
    """A quarantined row: its record key (table, key) and its mark, without the stored event."""

    name: bytes
    mark: QuarantineMark
    stored: bool = False


def marks_page(database: _redb.Database | None, after: bytes | None) -> list[Marked]:
    """The marks after a record key, in order; at most a page of them, none at the end."""
    if database is None:
        return []
    with database.snapshot() as snapshot:
        page = snapshot.scan(QUARANTINE_TABLE, after=after, limit=PAGE_MARKS, bytes_max=4 << 20)
    marked: list[Marked] = []
    for name, data, _ in page:
        mark = decode_mark(data)
        marked.append(
            Marked(name, msgspec.structs.replace(mark, event=b"", key=b""), stored=bool(mark.event))
        )
    return marked


def marks(database: _redb.Database) -> Iterator[Marked]:
    """All marks, in order."""
    after: bytes | None = None
    while page := marks_page(database, after):
        yield from page
        after = page[-1].name


def mark_document(marked: Marked) -> dict[str, Any]:
    """A line of ``cdc quarantine list``; the key is empty where not even that could be published."""
    table, key = split_record_key(marked.name)
    mark = marked.mark
    try:
        values = values_to_json(decode_key(key))
    except BadKeyError:
        values = []
    since = None if not mark.since_ms else datetime.fromtimestamp(mark.since_ms / 1000, UTC).isoformat()
    return {
        "table": table,
        "key": values,
        "reason": mark.reason,
        "position": {"epoch": mark.epoch, "change_id": mark.change_id},
        "since": since,
    }


async def drop(writer: CacheWriter, names: list[bytes] | None) -> int:
    """Take marks away, of all quarantined rows where none are named; the rows stay absent.

    Returns:
        How many marks there were.
    """
    return await _settle(writer, names, lambda _mark, _name, _batch: True)


async def retry_stored(writer: CacheWriter, names: list[bytes] | None) -> int:
    """Try once more to apply what was stored with the marks; returns how many rows that brought back.

    A mark stands only as long as nothing newer came for its key, so what was stored with it is the newest.
    """

    def apply(mark: QuarantineMark, name: bytes, batch: Batch) -> bool:
        if not mark.event:
            return False
        try:
            event = decode_event(mark.event)
        except BadEventError:
            return False
        key = fit(event, mark.key, table_prefix(event.table))
        table = split_record_key(name)[0]
        if isinstance(key, str) or event.table not in writer.definitions or event.table != table:
            return False
        batch.put(event.table, key, bytes(event.after), event.change_id)
        return True

    return await _settle(writer, names, apply)


async def _settle(writer: CacheWriter, names: list[bytes] | None, decide: Any) -> int:
    database = writer.database
    if database is None or writer.checkpoint is None:
        raise CacheError("the cache has loaded nothing yet", "run: cdc status")
    wanted = None if names is None else set(names)
    settled = 0
    after: bytes | None = None
    while True:
        with database.snapshot() as snapshot:
            page = snapshot.scan(QUARANTINE_TABLE, after=after, limit=PAGE_MARKS, bytes_max=8 << 20)
        if not page:
            return settled
        after = page[-1][0]
        batch, lifted = Batch(), set[bytes]()
        for name, data, _ in page:
            if (wanted is None or name in wanted) and decide(decode_mark(data), name, batch):
                batch.put(QUARANTINE_TABLE, name, None, 0)
                lifted.add(name)
        if lifted:
            await writer.amend(batch)
            writer.groups.quarantined -= lifted
            settled += len(lifted)


def quarantine_name(table: str, key: bytes) -> bytes:
    """Under which name a row's mark is kept."""
    return record_key(table, key)
