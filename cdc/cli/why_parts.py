"""What cache, topic and source each know of one row; a part that is away says so and is no error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cdc import limits
from cdc.cli.parts import kafka_parts, open_capture, position_document
from cdc.cli.why_events import Trail, find_event
from consumers import _redb
from consumers.marks import QuarantineMark
from consumers.meta import QUARANTINE_TABLE, Checkpoint, read_checkpoint, read_definitions
from consumers.opening import open_to_read
from consumers.store import redb_errors
from schemas.codec import decode_row
from schemas.errors import CdcError, KafkaUnavailableError, SourceError, UsageError
from schemas.keys import record_key
from schemas.manifests import newest_snapshot
from schemas.topics import TopicReader

if TYPE_CHECKING:
    from cdc.capture import LogRow, SourceReader
    from cdc.config import Config
    from schemas.definition import TableDefinition
    from schemas.values import Value


class Cached(msgspec.Struct):
    """What the cache has: the row with the change id that wrote it, and its mark in the quarantine."""

    checkpoint: Checkpoint | None = None
    row: dict[str, Value] | None = None
    change_id: int | None = None
    mark: QuarantineMark | None = None
    trouble: str | None = None


class AtSource(msgspec.Struct):
    """What the source has: the row, and the log's rows of this key.

    ``wrote`` is the one that wrote what is cached, ``pending`` are those above the cache's position, newest
    last, at most `limits.WHY_EVENTS_MAX` of ``pending_count``.
    """

    row: dict[str, Value] | None = None
    wrote: dict[str, Any] | None = None
    pending: list[dict[str, Any]] = msgspec.field(default_factory=list)
    pending_count: int = 0
    trouble: str | None = None


async def definition_of(config: Config, table: str) -> TableDefinition:
    """The table's definition, from whichever part knows it.

    Raises:
        UsageError: none of them has such a table.
        CdcError: none of them can be asked.
    """
    known: set[str] = set()
    trouble: CdcError | None = None
    asked = False
    for ask in (_cached_definitions, _source_definitions, _topic_definitions):
        try:
            definitions = await ask(config)
        except CdcError as error:
            trouble = trouble or error
            continue
        if definitions is None:
            continue
        asked = True
        if table in definitions:
            return definitions[table]
        known |= definitions.keys()
    if trouble is not None and not asked:
        raise trouble
    remedy = f"there are: {', '.join(sorted(known))}" if known else "there is none yet"
    raise UsageError(f"there is no table {table!r}", remedy)


async def _cached_definitions(config: Config) -> dict[str, TableDefinition] | None:
    path = config.cache.path
    database, _ = open_to_read(path)
    with database, redb_errors(path):
        return read_definitions(database.meta())


async def _source_definitions(config: Config) -> dict[str, TableDefinition] | None:
    if config.source is None:
        return None
    async with open_capture(config) as capture, capture.reading() as reader:
        return reader.tables()


async def _topic_definitions(config: Config) -> dict[str, TableDefinition] | None:
    if config.kafka is None:
        return None
    clients, topics = kafka_parts(config)
    async with TopicReader(clients.consumer()) as reader:
        found = await newest_snapshot(reader, topics)
    return None if found is None else {table.name: table for table in found.announcement.tables}


def ask_cache(config: Config, table: str, key: bytes) -> Cached:
    """Look the row up in the cache file."""
    path = config.cache.path
    cached = Cached()
    try:
        database, _ = open_to_read(path)
        with database, redb_errors(path), database.snapshot() as snapshot:
            cached.checkpoint = read_checkpoint(snapshot.meta())
            mark = snapshot.get(QUARANTINE_TABLE, record_key(table, key))
            cached.mark = None if mark is None else msgspec.msgpack.decode(mark, type=QuarantineMark)
            try:
                stamped = snapshot.get_stamped(table, key)
            except _redb.DamagedRowError:
                cached.trouble = "the cached row is damaged; run: cdc verify --repair, or cdc rebuild"
                return cached
            if stamped is not None:
                cached.row, cached.change_id = decode_row(stamped[0]), stamped[1]
    except CdcError as error:
        cached.trouble = str(error)
    return cached


async def ask_topic(config: Config, table: str, key: bytes, cached: Cached) -> Trail | None:
    """Look for the row's events in Kafka; None where none is configured."""
    if config.kafka is None:
        return None
    clients, topics = kafka_parts(config)
    try:
        async with TopicReader(clients.consumer()) as reader:
            return await find_event(
                reader, topics.events, record_key(table, key), cached.checkpoint, cached.change_id
            )
    except KafkaUnavailableError as error:
        return Trail(remark=str(error))


async def ask_source(config: Config, table: str, key: bytes, cached: Cached) -> AtSource | None:
    """Look the row up at the source, and its touches in the log; None where no source is configured."""
    if config.source is None:
        return None
    found = AtSource()
    try:
        async with open_capture(config) as capture, capture.reading() as reader:
            if table not in reader.tables():
                found.trouble = f"{table} is not captured"
                return found
            change = await reader.row(table, key)
            if change is not None and change[4] is None:
                found.trouble = "the source has this row, but cannot publish it"
            elif change is not None:
                found.row = decode_row(change[4] or b"")
            await _read_log(reader, table, key, cached, found)
    except SourceError as error:
        found.trouble = str(error)
    return found


async def _read_log(reader: SourceReader, table: str, key: bytes, cached: Cached, found: AtSource) -> None:
    checkpoint = cached.checkpoint
    state = await reader.state(None if checkpoint is None else checkpoint.change_id)
    prev = state.pruned_to
    if checkpoint is not None:
        if (checkpoint.epoch, checkpoint.epoch_nonce) != (state.epoch, state.epoch_nonce):
            found.trouble = "the cache follows another life of this log: see cdc status"
            return
        prev = max(prev, checkpoint.change_id)
        if cached.change_id is not None and cached.change_id > state.pruned_to:
            async for page in reader.log_rows(cached.change_id - 1):
                if page[0].change_id == cached.change_id and page[0].table == table and page[0].key == key:
                    found.wrote = _touch(page[0])
                break
    looked = 0
    async for page in reader.log_rows(prev):
        for row in page:
            # A whole table that is read anew takes this row along.
            if row.table == table and (row.key == key or row.op == "t"):
                found.pending_count += 1
                found.pending = [*found.pending, _touch(row)][-limits.WHY_EVENTS_MAX :]
        looked += len(page)
        if looked >= limits.WHY_RECORDS_MAX:
            found.trouble = f"only {looked:,} rows of the log were looked at"
            return


def _touch(row: LogRow) -> dict[str, Any]:
    return {"op": row.op, "change_id": row.change_id, "ts_ms": row.ts_ms}


def mark_document(mark: QuarantineMark | None) -> dict[str, Any] | None:
    """A quarantine's mark as JSON documents show it."""
    if mark is None:
        return None
    position = {"epoch": mark.epoch, "change_id": mark.change_id}
    return {"reason": mark.reason, "position": position, "since": mark.since_ms}


def checkpoint_document(checkpoint: Checkpoint | None) -> dict[str, int] | None:
    """Where the cache stands."""
    return None if checkpoint is None else position_document(checkpoint.position)
