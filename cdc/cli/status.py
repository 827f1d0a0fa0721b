"""``cdc status``: positions, lag, rows per table, health of each part."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.lag import Lag, lag_behind_source, lag_behind_topic, whole_lag
from cdc.cli.log_status import log_document, log_lines
from cdc.cli.output import counted, named, print_result
from cdc.cli.output import table as text_table
from cdc.cli.parts import kafka_parts, open_capture, position_document
from cdc.cli.running import run_async
from cdc.kafka.chain import chain_end
from cdc.source import SourceLockedError, shown_url
from consumers.bootstrap import begun_anew
from consumers.control import messages
from consumers.control.client import ask
from consumers.control.desk import FileContents, NodeState, contents_of
from consumers.nodelock import writer_alive
from consumers.opening import open_to_read
from consumers.store import redb_errors
from schemas.errors import CacheBusyError, CdcError, SourceError
from schemas.position import Position
from schemas.topics import TopicReader

if TYPE_CHECKING:
    from cdc.capture import Backlog, LogState
    from cdc.capture.prune import Keeping
    from cdc.config import Config
    from consumers.meta import Checkpoint
    from schemas.event import Head

_NODE_SECONDS = 2.0
"""How long a running node may take to say how it stands."""


class SourceStatus(msgspec.Struct):
    """The source as it answered; ``state`` is None where it is away, locked or has no capture."""

    url: str
    reachable: bool = False
    state: LogState | None = None
    capture: str = "unknown"
    skipped: list[dict[str, str]] = msgspec.field(default_factory=list)
    backlog: Backlog | None = None
    keeping: Keeping | None = None
    trouble: str | None = None


class KafkaStatus(msgspec.Struct):
    """The topic as it answered."""

    topic: str
    head: Head | None = None
    end_offset: int | None = None
    leads_on: bool = True
    """Not where it holds something else than the group that the cache applied last."""


class CacheStatus(msgspec.Struct):
    """The cache file: its checkpoint, rows by table, and whether some node writes it.

    ``node`` is what that says of itself; None where it does not answer, or is a one-shot command.
    """

    checkpoint: Checkpoint | None
    rows: dict[str, int]
    quarantined: int
    alive: bool
    node: NodeState | None = None

    @property
    def head(self) -> Head | None:
        """Where its checkpoint leaves it."""
        return None if self.checkpoint is None else self.checkpoint.head


class NotWorkingError(CdcError):
    """The node that is to keep the cache does not."""


_WORKING = frozenset(("live", "catching_up", "rebuilding"))
"""States of a node that does its work."""


def status(
    *,
    check: Annotated[
        bool,
        Parameter(
            env_var="CDC_CHECK",
            negative="",
            help="Fail unless a node keeps the cache, and is neither stale nor failed.",
        ),
    ] = False,
    common: Common = DEFAULTS,
) -> None:
    """Show positions, lag, rows per table and the health of each part."""
    config = common.load()
    document = run_async(status_document(config, common.timeout_s))
    state = document["cache"]["state"]
    if check and state not in _WORKING:
        path = config.cache.path
        raise NotWorkingError(f"the cache {path} is {state}", "see the node's log, and: cdc status")
    print_result(common, document, _text(document))


async def status_document(config: Config, timeout_s: float) -> dict[str, Any]:
    """What ``--json`` prints. A part that is away is said to be so; only bad usage is an error."""
    node = await _node_state(config, timeout_s)
    try:
        cache = await asyncio.to_thread(_cache_status, config)
    except CacheBusyError as busy:
        # With cache.readers = "process" only the node itself can look.
        cache = await _told_by_node(config, timeout_s, busy)
    cache.node = node if cache.alive else None
    # In this order, so that what is committed meanwhile never looks as if something had gone back.
    kafka = None if config.kafka is None else await _kafka_status(config, cache.checkpoint, timeout_s)
    head = cache.head if kafka is None else kafka.head
    source = None if config.source is None else await _source_status(config, head)
    lag = _lag(cache, source, kafka)
    state = _state(cache, lag)
    settled = state in ("live", "stopped") and lag.events == 0
    checkpoint = cache.checkpoint
    verified = None if cache.node is None else cache.node.verified
    return {
        "source": None if source is None else _source_document(source, config.need_source().log_retention_s),
        "kafka": None if kafka is None else _kafka_document(kafka),
        "cache": {
            "path": str(config.cache.path),
            "node": config.cache.node,
            "position": None if checkpoint is None else position_document(checkpoint.position),
            "offset": None if checkpoint is None else checkpoint.offset,
            "lag_events": lag.events,
            "lag_seconds": lag.seconds,
            "lag_reason": lag.reason,
            "tables": {name: {"rows": rows} for name, rows in cache.rows.items()},
            "quarantined": cache.quarantined,
            "state": state,
            "paused": cache.node is not None and cache.node.paused,
            "trouble": None if cache.node is None else cache.node.trouble,
            "verified": None if verified is None else msgspec.to_builtins(verified),
        },
        "healthy": settled
        and not cache.quarantined
        and (verified is None or verified.equal)
        and not (cache.node is not None and cache.node.paused)
        and (source is None or source.capture != "stale"),
    }


async def _node_state(config: Config, timeout_s: float) -> NodeState | None:
    try:
        answer = await ask(config.cache.path, messages.Status(), min(timeout_s, _NODE_SECONDS))
    except CdcError:
        return None
    return None if answer is None else msgspec.convert(answer, NodeState)


def _cache_status(config: Config) -> CacheStatus:
    path = config.cache.path
    database, _ = open_to_read(path)
    with database, redb_errors(path):
        found = contents_of(database)
    return CacheStatus(found.checkpoint, found.rows, found.quarantined, alive=writer_alive(path))


async def _told_by_node(config: Config, timeout_s: float, busy: CacheBusyError) -> CacheStatus:
    try:
        answer = await ask(config.cache.path, messages.Contents(), min(timeout_s, _NODE_SECONDS))
    except CdcError:
        raise busy from None
    found = msgspec.convert(answer, FileContents)
    return CacheStatus(found.checkpoint, found.rows, found.quarantined, alive=True)


async def _source_status(config: Config, head: Head | None) -> SourceStatus:
    found = SourceStatus(shown_url(config.need_source().url))
    try:
        # A table that was dropped under a running node has left: that is no fault of what goes on.
        async with open_capture(config, strict=False) as capture:
            found.reachable = True
            if not await capture.installed():
                found.capture = "not installed"
                return found
            try:
                async with capture.reading() as reader:
                    found.state = await reader.state(None if head is None else head.change_id)
                    found.skipped = [
                        {"table": skipped.table, "reason": skipped.reason} for skipped in reader.skipped
                    ]
                    found.backlog = await reader.backlog(0 if head is None else head.change_id)
                    found.keeping = await reader.keeping()
                    found.capture = "ok"
            except CdcError as error:
                if isinstance(error, SourceError):
                    raise
                found.capture, found.trouble = "stale", error.message
    except SourceError as error:
        found.reachable = isinstance(error, SourceLockedError)
        found.trouble = error.message
    return found


async def _kafka_status(config: Config, checkpoint: Checkpoint | None, timeout_s: float) -> KafkaStatus:
    clients, topics = kafka_parts(config)
    found = KafkaStatus(topics.events)
    try:
        async with asyncio.timeout(timeout_s), TopicReader(clients.consumer()) as reader:
            end = await chain_end(reader, topics.events)
            if checkpoint is not None:
                found.leads_on = not await begun_anew(reader, topics, checkpoint)
    except (CdcError, TimeoutError):
        return found
    found.end_offset = end.end_offset
    found.head = end.head
    return found


def _lag(cache: CacheStatus, source: SourceStatus | None, kafka: KafkaStatus | None) -> Lag:
    checkpoint = cache.checkpoint
    if checkpoint is None:
        return Lag(reason="nothing was loaded yet")
    state = None if source is None else source.state
    if state is not None and state.database_id != checkpoint.database_id:
        return Lag(reason="the cache is of another database")
    node = cache.node
    told = (state is not None) or (kafka is not None and kafka.end_offset is not None)
    if not told and node is not None and node.lag_events is not None:
        # Neither end is within our reach: the node itself is all there is to ask.
        return Lag(node.lag_events, node.lag_seconds)
    head = cache.head if kafka is None else kafka.head
    behind_source = lag_behind_source(head, state, None if source is None else source.backlog, time.time())
    if kafka is None:
        return behind_source
    behind_topic = lag_behind_topic(checkpoint, kafka.head, kafka.end_offset, leads_on=kafka.leads_on)
    # A node need not know the source: then the topic is all there is.
    return behind_topic if source is None else whole_lag(behind_topic, behind_source)


def _state(cache: CacheStatus, lag: Lag) -> str:
    if cache.checkpoint is None:
        return "bootstrapping" if cache.alive else "stopped"
    if not cache.alive:
        return "stopped"
    if cache.node is not None and cache.node.state in ("rebuilding", "stale", "failed"):
        return cache.node.state
    return "live" if lag.events == 0 else "catching_up"


def _source_document(source: SourceStatus, retention_s: float) -> dict[str, Any]:
    state = source.state
    return {
        "url": source.url,
        "reachable": source.reachable,
        "position": None if state is None else position_document(Position(state.epoch, state.high)),
        "log_rows": 0 if source.backlog is None else source.backlog.rows,
        "capture": source.capture,
        "trouble": source.trouble,
        "skipped": source.skipped,
        **log_document(source.keeping, retention_s),
    }


def _kafka_document(kafka: KafkaStatus) -> dict[str, Any]:
    return {
        "topic": kafka.topic,
        "position": None if kafka.head is None else position_document(kafka.head.position),
        "end_offset": kafka.end_offset,
    }


def _text(document: dict[str, Any]) -> Any:
    rows: list[tuple[str, str]] = []
    source, kafka, cache = document["source"], document["kafka"], document["cache"]
    if source is not None:
        reach = "reachable" if source["reachable"] else "NOT REACHABLE"
        rows.append(("source", f"{source['url']} ({reach}, capture {source['capture']})"))
        if source["trouble"] is not None:
            rows.append(("", source["trouble"]))
        rows.append(
            ("", f"position {_position(source['position'])}, {counted(source['log_rows'], 'log row')}")
        )
        rows += [
            ("", f"left out {named(skipped['table'])}: {skipped['reason']}") for skipped in source["skipped"]
        ]
        rows += log_lines(source)
    if kafka is not None:
        end = "NOT REACHABLE" if kafka["end_offset"] is None else f"end offset {kafka['end_offset']:,}"
        rows.append(("kafka", f"{kafka['topic']} (position {_position(kafka['position'])}, {end})"))
    unknown = f"lag unknown: {cache['lag_reason']}"
    lag = unknown if cache["lag_events"] is None else f"{cache['lag_events']:,} behind"
    paused = ", PAUSED" if cache["paused"] else ""
    rows.append(("cache", f"{cache['path']} ({cache['state']}{paused}, {lag})"))
    if cache["trouble"] is not None:
        rows.append(("", cache["trouble"]))
    rows.append(("", f"position {_position(cache['position'])}, node {cache['node']}"))
    if cache["verified"] is not None and not cache["verified"]["equal"]:
        found = counted(cache["verified"]["differences"], "key")
        rows.append(("", f"DIFFERENT from the source, {found}: run cdc verify --repair"))
    if cache["quarantined"]:
        rows.append(("", f"{counted(cache['quarantined'], 'row')} QUARANTINED"))
    rows += [("", f"{name}: {counted(table['rows'], 'row')}") for name, table in cache["tables"].items()]
    rows.append(("health", "healthy" if document["healthy"] else "NOT HEALTHY"))
    return text_table(("part", "state"), rows)


def _position(document: dict[str, int] | None) -> str:
    return "none" if document is None else f"{document['epoch']}:{document['change_id']}"
