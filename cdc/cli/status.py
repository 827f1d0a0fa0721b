"""``cdc status``: positions, lag, rows per table, health of each part."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import print_result
from cdc.cli.output import table as text_table
from cdc.cli.parts import kafka_parts, open_capture, position_document
from cdc.cli.running import run_async
from cdc.kafka.chain import chain_end
from cdc.secret import redact_url
from consumers.meta import QUARANTINE_TABLE, Checkpoint, read_checkpoint, read_definitions
from consumers.nodelock import writer_alive
from consumers.opening import open_to_read
from consumers.store import redb_errors
from schemas.errors import CdcError, SourceError
from schemas.position import Position
from schemas.topics import TopicReader

if TYPE_CHECKING:
    from cdc.capture import Backlog, LogState
    from cdc.config import Config

_MS_A_SECOND = 1000


class SourceStatus(msgspec.Struct):
    """The source as it answered; ``state`` is None where it is away or has no capture."""

    url: str
    reachable: bool = False
    state: LogState | None = None
    capture: str = "unknown"
    skipped: list[dict[str, str]] = msgspec.field(default_factory=list)
    backlog: Backlog | None = None


class KafkaStatus(msgspec.Struct):
    """The topic as it answered."""

    topic: str
    position: Position | None = None
    end_offset: int | None = None


class CacheStatus(msgspec.Struct):
    """The cache file: its checkpoint, rows by table, and whether some node writes it."""

    checkpoint: Checkpoint | None
    rows: dict[str, int]
    quarantined: int
    alive: bool


def status(*, common: Common = DEFAULTS) -> None:
    """Show positions, lag, rows per table and the health of each part."""
    config = common.load()
    document = run_async(status_document(config, common.timeout_s))
    print_result(common, document, _text(document))


async def status_document(config: Config, timeout_s: float) -> dict[str, Any]:
    """What ``--json`` prints. A part that is away is said to be so; only bad usage is an error."""
    cache = await asyncio.to_thread(_cache_status, config)
    source = None if config.source is None else await _source_status(config, cache.checkpoint)
    kafka = None if config.kafka is None else await _kafka_status(config, timeout_s)
    lag_events, lag_seconds = _lag(cache, source, kafka)
    state = _state(cache, lag_events)
    settled = state in ("live", "stopped") and lag_events == 0
    checkpoint = cache.checkpoint
    return {
        "source": None if source is None else _source_document(source),
        "kafka": None if kafka is None else _kafka_document(kafka),
        "cache": {
            "path": str(config.cache.path),
            "node": config.cache.node,
            "position": None if checkpoint is None else position_document(checkpoint.position),
            "offset": None if checkpoint is None else checkpoint.offset,
            "lag_events": lag_events,
            "lag_seconds": lag_seconds,
            "tables": {name: {"rows": rows} for name, rows in cache.rows.items()},
            "quarantined": cache.quarantined,
            "state": state,
        },
        "healthy": settled and not cache.quarantined and (source is None or source.capture != "stale"),
    }


def _cache_status(config: Config) -> CacheStatus:
    path = config.cache.path
    database, _ = open_to_read(path)
    with database, redb_errors(path), database.snapshot() as snapshot:
        meta = snapshot.meta()
        rows = {name: snapshot.count(name) for name in read_definitions(meta)}
        return CacheStatus(
            read_checkpoint(meta), rows, snapshot.count(QUARANTINE_TABLE), alive=writer_alive(path)
        )


async def _source_status(config: Config, checkpoint: Checkpoint | None) -> SourceStatus:
    found = SourceStatus(redact_url(config.need_source().url))
    try:
        async with open_capture(config) as capture:
            found.url = capture.client.url
            found.reachable = True
            if not await capture.installed():
                found.capture = "not installed"
                return found
            try:
                async with capture.reading() as reader:
                    found.state = await reader.state(None if checkpoint is None else checkpoint.change_id)
                    found.skipped = [
                        {"table": skipped.table, "reason": skipped.reason} for skipped in reader.skipped
                    ]
                    found.backlog = await reader.backlog(0 if checkpoint is None else checkpoint.change_id)
                    found.capture = "ok"
            except CdcError as error:
                if isinstance(error, SourceError):
                    raise
                found.capture = "stale"
    except SourceError:
        found.reachable = False
    return found


async def _kafka_status(config: Config, timeout_s: float) -> KafkaStatus:
    clients, topics = kafka_parts(config)
    found = KafkaStatus(topics.events)
    try:
        async with asyncio.timeout(timeout_s), TopicReader(clients.consumer()) as reader:
            end = await chain_end(reader, topics.events)
    except (CdcError, TimeoutError):
        return found
    found.end_offset = end.end_offset
    found.position = None if end.head is None else end.head.position
    return found


def _lag(
    cache: CacheStatus, source: SourceStatus | None, kafka: KafkaStatus | None
) -> tuple[int | None, float | None]:
    """Records behind the topic's end, or log rows behind the source's; and seconds. None: unknown."""
    checkpoint = cache.checkpoint
    if checkpoint is None:
        return None, None
    if kafka is not None:
        return _lag_in_topic(checkpoint, kafka)
    if source is None or source.state is None or source.backlog is None:
        return None, None
    if (source.state.epoch, source.state.epoch_nonce) != (checkpoint.epoch, checkpoint.epoch_nonce):
        return source.backlog.rows, None
    oldest_ms = source.backlog.oldest_ms
    seconds = 0.0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / _MS_A_SECOND)
    return source.backlog.pending, round(seconds, 3)


def _lag_in_topic(checkpoint: Checkpoint, kafka: KafkaStatus) -> tuple[int | None, float | None]:
    if kafka.end_offset is None or checkpoint.offset is None:
        return None, None
    # Void records and empty groups are no changes: at the chain's end nothing is missing.
    if kafka.position is not None and checkpoint.position >= kafka.position:
        return 0, 0.0
    return max(0, kafka.end_offset - checkpoint.offset), None


def _state(cache: CacheStatus, lag_events: int | None) -> str:
    if cache.checkpoint is None:
        return "bootstrapping" if cache.alive else "stopped"
    if not cache.alive:
        return "stopped"
    return "live" if lag_events == 0 else "catching_up"


def _source_document(source: SourceStatus) -> dict[str, Any]:
    state = source.state
    return {
        "url": source.url,
        "reachable": source.reachable,
        "position": None if state is None else position_document(Position(state.epoch, state.high)),
        "log_rows": 0 if source.backlog is None else source.backlog.rows,
        "capture": source.capture,
        "skipped": source.skipped,
    }


def _kafka_document(kafka: KafkaStatus) -> dict[str, Any]:
    return {
        "topic": kafka.topic,
        "position": None if kafka.position is None else position_document(kafka.position),
        "end_offset": kafka.end_offset,
    }


def _text(document: dict[str, Any]) -> Any:
    rows: list[tuple[str, str]] = []
    source, kafka, cache = document["source"], document["kafka"], document["cache"]
    if source is not None:
        reach = "reachable" if source["reachable"] else "NOT REACHABLE"
        rows.append(("source", f"{source['url']} ({reach}, capture {source['capture']})"))
        rows.append(("", f"position {_position(source['position'])}, {source['log_rows']:,} log rows"))
        rows += [("", f"left out {skipped['table']}: {skipped['reason']}") for skipped in source["skipped"]]
    if kafka is not None:
        end = "NOT REACHABLE" if kafka["end_offset"] is None else f"end offset {kafka['end_offset']:,}"
        rows.append(("kafka", f"{kafka['topic']} (position {_position(kafka['position'])}, {end})"))
    lag = "unknown" if cache["lag_events"] is None else f"{cache['lag_events']:,} behind"
    rows.append(("cache", f"{cache['path']} ({cache['state']}, {lag})"))
    rows.append(("", f"position {_position(cache['position'])}, node {cache['node']}"))
    if cache["quarantined"]:
        rows.append(("", f"{cache['quarantined']:,} rows QUARANTINED"))
    rows += [("", f"{name}: {table['rows']:,} rows") for name, table in cache["tables"].items()]
    rows.append(("health", "healthy" if document["healthy"] else "NOT HEALTHY"))
    return text_table(("part", "state"), rows)


def _position(document: dict[str, int] | None) -> str:
    return "none" if document is None else f"{document['epoch']}:{document['change_id']}"
