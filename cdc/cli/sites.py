"""What a running node, or a poller, shows over HTTP."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from cdc.cli.key_arguments import PARAMETERS, read_key
from cdc.cli.output import row_document
from cdc.cli.status import status_document
from cdc.config_file import listen_address
from cdc.http import limits
from cdc.http.server import Ready, serving
from cdc.units import parse_timeout
from consumers.marks import decode_mark
from consumers.meta import QUARANTINE_TABLE, read_definitions
from consumers.opening import open_to_read
from consumers.store import redb_errors
from consumers.view import definition_of
from schemas.codec import decode_row
from schemas.errors import GaveUpError, NoRowError, UsageError
from schemas.keys import encode_key, record_key
from schemas.position import Position
from schemas.values import json_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from contextlib import AbstractContextManager

    from multidict import MultiMapping
    from prometheus_client.metrics_core import Metric

    from cdc.cli.standing import WriterProcess
    from cdc.config import Config, HttpConfig
    from cdc.http.server import Site
    from cdc.kafka.polling import Progress
    from consumers import _redb
    from schemas.values import Value

Http = Annotated[
    str | None,
    Parameter(
        name="--http", env_var="CDC_HTTP", help="Serve health, metrics and reads at HOST:PORT (http.listen)."
    ),
]
"""The flag of commands that go on."""

_STATES = ("bootstrapping", "catching_up", "live", "stale", "rebuilding", "failed")
_PARAMETERS = frozenset(("key", "key_json", "min_position", "timeout"))


@asynccontextmanager
async def serving_http(http: HttpConfig, flag: str | None, site: Site) -> AsyncIterator[None]:
    """Serve a part for the length of a block, where that is configured, or asked for with ``--http``.

    Raises:
        UsageError, CdcError: as `cdc.http.server.serving`.
    """
    listen = http.listen if flag is None else listen_address(flag, "--http")
    if listen is None:
        yield
        return
    token = None if http.auth_token is None else http.auth_token.reveal()
    async with serving(listen, token, site):
        yield


class NodeSite:
    """A cache node."""

    def __init__(self, config: Config, process: WriterProcess) -> None:
        self._config = config
        self._process = process

    def ready(self) -> Ready:
        """Whether the cache may be read, and is no older than ``cache.max_staleness``."""
        state = self._process.desk.state()
        if state is None:
            return Ready(ready=False, reason=self._process.live.trouble or "the cache is being opened")
        oldest_s = self._config.cache.max_staleness_s
        reason = ""
        if state.state in ("bootstrapping", "failed"):
            reason = state.trouble or state.state
        elif state.lag_seconds is None:
            reason = "it has not caught up yet"
        elif state.lag_seconds > oldest_s:
            reason = f"stale for {state.lag_seconds:.1f} s"
            reason += f": {state.trouble}" if state.trouble else ""
        elif not self._exact():
            reason = "it is catching up: some of its rows are newer than its position"
        return Ready(ready=not reason, reason=reason)

    def metrics(self) -> bytes:
        """Everything that is counted."""
        return _exposed(self._families())

    async def status(self) -> Any:
        """As ``cdc status --json``."""
        return await status_document(self._config, limits.STATUS_SECONDS)

    async def row(self, table: str, query: MultiMapping[str]) -> bytes:
        """One row, as ``cdc get --json``."""
        unknown = set(query) - _PARAMETERS
        if unknown:
            raise UsageError(f"{min(unknown)!r} is no parameter", f"allowed: {', '.join(_PARAMETERS)}")
        if "min_position" in query:
            await self._wait_for(Position.parse(query["min_position"]), query.get("timeout"))
        with self._opened() as database, redb_errors(self._config.cache.path):
            definition = definition_of(read_definitions(database.meta()), table)
            words = tuple(query.getall("key", []))
            key = read_key(definition, words, query.get("key_json"), PARAMETERS)
            data = database.get(table, encode_key(key))
            mark = None
            if data is None:
                mark = database.get(QUARANTINE_TABLE, record_key(table, encode_key(key)))
        if data is None:
            document = row_document(table, key, None)
            if mark is not None:
                document |= {"quarantined": True, "reason": decode_mark(mark).reason}
            raise NoRowError(json_line(document).decode())
        if len(data) > limits.INLINE_BYTES_MAX:
            return await asyncio.to_thread(_encoded, table, key, data)
        return _encoded(table, key, data)

    async def _wait_for(self, position: Position, within: str | None) -> None:
        seconds = limits.WAIT_SECONDS if within is None else parse_timeout(within)
        deadline = time.monotonic() + min(seconds, limits.WAIT_SECONDS_MAX)
        pause = limits.WAIT_LOOK_SECONDS
        while (reached := self._position()) is None or reached < position:
            left = deadline - time.monotonic()
            if left <= 0:
                raise GaveUpError(f"the node did not reach {position} in time", "see /ready")
            await asyncio.sleep(min(left, pause))
            pause = min(2 * pause, 20 * limits.WAIT_LOOK_SECONDS)

    def _position(self) -> Position | None:
        writer = self._process.desk.writer
        checkpoint = None if writer is None else writer.checkpoint
        return None if checkpoint is None else checkpoint.position

    def _exact(self) -> bool:
        writer = self._process.desk.writer
        checkpoint = None if writer is None else writer.checkpoint
        return checkpoint is not None and checkpoint.exact

    def _opened(self) -> AbstractContextManager[_redb.Database]:
        """The node's own handle; while it has none (a full disk, say) the file is opened to be read."""
        writer = self._process.desk.writer
        database = None if writer is None else writer.database
        if database is not None:
            return nullcontext(database)
        return open_to_read(self._config.cache.path)[0]

    def _families(self) -> Iterable[Metric]:
        live, state = self._process.live, self._process.desk.state()
        named = state.state if state is not None else "failed"
        states = GaugeMetricFamily("cdc_state", "1 for the state that the node is in", labels=["state"])
        for one in _STATES:
            states.add_metric([one], float(one == named))
        yield states
        yield _gauge("cdc_ready", "Whether the node is ready", float(self.ready().ready))
        yield _gauge("cdc_paused", "Whether it was told to pause", float(bool(state and state.paused)))
        if state is not None and state.position is not None:
            yield _gauge("cdc_position_epoch", "Epoch of its position", state.position["epoch"])
            yield _gauge("cdc_position_change_id", "Change id of its position", state.position["change_id"])
        if state is not None and state.offset is not None:
            yield _gauge("cdc_offset", "Next Kafka offset to read", state.offset)
        if state is not None and state.lag_events is not None:
            yield _gauge("cdc_lag_events", "Records that are not applied yet", state.lag_events)
        if live.lag_seconds is not None:
            yield _gauge("cdc_lag_seconds", "For how long nothing newer is known", live.lag_seconds)
        for name, text, value in (
            ("events", "Events applied", live.events),
            ("commits", "Durable commits", live.commits),
            ("rows_written", "Rows written, marks of quarantine included", live.rows_written),
            ("loads", "Loads of a whole cache", live.loads),
            ("rows_loaded", "Rows of such loads", live.rows_loaded),
            ("errors", "Failures after which it tried again", live.errors),
            ("void_records", "Records that do not count", live.void),
            ("foreign_records", "Records that are no events", live.foreign),
            ("torn_groups", "Groups that were cut in two", live.torn),
            ("quarantined", "Rows that could not be applied", live.quarantined),
            ("mended_rows", "Rows put right by verify --repair and quarantine retry", live.mended),
        ):
            yield CounterMetricFamily(f"cdc_{name}", text, value=value)
        if live.verified_at is not None:
            equal = float(bool(live.verified_equal))
            yield _gauge("cdc_verified_equal", "Whether the last verification found it equal", equal)
            yield _gauge("cdc_verified_timestamp_seconds", "When that ended (Unix time)", live.verified_at)
            yield _gauge("cdc_verified_differences", "Keys that it found to differ", live.differences)
        writer = self._process.desk.writer
        database = None if writer is None else writer.database
        if database is None:
            return
        rows = GaugeMetricFamily("cdc_rows", "Rows cached", labels=["table"])
        with database.snapshot() as snapshot:
            for table in read_definitions(snapshot.meta()):
                rows.add_metric([table], snapshot.count(table))
            marked = snapshot.count(QUARANTINE_TABLE)
        yield rows
        yield _gauge("cdc_quarantined_rows", "Rows that are quarantined now", marked)


class PollSite:
    """A poller: health and metrics only."""

    def __init__(self, progress: Progress, max_staleness_s: float) -> None:
        self._progress = progress
        self._max_staleness_s = max_staleness_s

    def ready(self) -> Ready:
        """Whether it published everything, or stands by, and not too long ago."""
        progress = self._progress
        if progress.standing_by:
            return Ready(ready=True)
        if progress.level_at is None:
            return Ready(ready=False, reason=progress.trouble or "it has published nothing yet")
        seconds = time.monotonic() - progress.level_at
        if seconds > self._max_staleness_s:
            return Ready(ready=False, reason=progress.trouble or f"it last was level {seconds:.1f} s ago")
        return Ready(ready=True)

    def metrics(self) -> bytes:
        """Everything that is counted."""
        return _exposed(self._families())

    async def status(self) -> Any:
        """Nothing: it has no cache."""
        return None

    async def row(self, table: str, query: MultiMapping[str]) -> bytes:
        """Nothing: it has no cache."""
        del table, query
        raise NoRowError('{"error":"this part has health and metrics only"}')

    def _families(self) -> Iterable[Metric]:
        progress = self._progress
        yield _gauge("cdc_ready", "Whether the poller is ready", float(self.ready().ready))
        yield _gauge("cdc_standing_by", "Whether another poller works", float(progress.standing_by))
        if progress.head is not None:
            yield _gauge("cdc_position_epoch", "Epoch of the topic's end", progress.head.epoch)
            yield _gauge("cdc_position_change_id", "Change id of the topic's end", progress.head.change_id)
        if progress.level_at is not None:
            yield _gauge(
                "cdc_lag_seconds",
                "Since when it is not level",
                max(0.0, time.monotonic() - progress.level_at),
            )
        for name, text, value in (
            ("published_events", "Events published", progress.events),
            ("published_rows", "Rows of snapshots published", progress.rows),
            ("published_groups", "Groups and snapshots published", progress.groups),
            ("errors", "Failures after which it tried again", progress.errors),
        ):
            yield CounterMetricFamily(f"cdc_{name}", text, value=value)


class _Families:
    """A collector of what was gathered already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _exposed(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _encoded(table: str, key: tuple[Value, ...], data: bytes) -> bytes:
    return json_line(row_document(table, key, decode_row(data)))
