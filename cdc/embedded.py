"""The embedded default: poller and applier in one process, with nothing between them."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import structlog

from cdc.capture.leases import CACHE, Reader
from cdc.capture.log import has_rows, lacks_row
from cdc.plan import as_new_as, log_head
from cdc.poller import Done, Polled, Poller
from cdc.upkeep import Upkeep, leave_lease
from consumers.groups import Group, Verdict
from schemas.codec import decode_definition
from schemas.errors import CacheError, CdcError, may_heal
from schemas.event import NIL, Op
from schemas.retrying import Backoff, IdlePace, pause
from schemas.snapshot import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from cdc.capture import Capture, Change, LogState, SourceReader
    from consumers.orders import Rebuild
    from consumers.rebuild import Loading
    from consumers.writer import CacheWriter
    from schemas.event import Head

_log = structlog.get_logger("cdc.embedded")


class CachePublication:
    """The cache of this process as a publication.

    Args:
        writer: the open cache path.
        database_url: the source's URL without credentials.
        rebuild: load everything anew, whatever the cache holds.
        leased: the cache goes on from the log, which keeps for it what it lacks; not one that Kafka feeds.
    """

    def __init__(
        self, writer: CacheWriter, database_url: str, *, rebuild: bool = False, leased: bool = True
    ) -> None:
        self._writer = writer
        self.log_reader = Reader(CACHE, writer.node) if leased else None
        """Under which name it has a lease on the log."""
        self._database_url = database_url
        self._rebuild = rebuild

    def load_anew(self) -> None:
        """The next poll loads everything, whatever the cache holds."""
        self._rebuild = True

    def head(self) -> Head | None:
        """Where the cache stands."""
        return None if self._rebuild else self._writer.groups.head

    def source_is_looked_at(self) -> None:
        """There is nobody else who has to know of when."""

    def recognise(self, state: LogState) -> Head | None:
        """Where the cache stands in this database's log: nowhere, if it is a cache of one elsewhere.

        Another id under the same URL (replaced, or capture was removed and put back) is another life of what
        this cache follows: its epoch must rise, so that positions never go back.
        """
        known = self._writer.database_id == state.database_id or self._writer.source_url == self._database_url
        return self.head() if known else None

    def held(self) -> Mapping[str, int] | None:
        """The tables in the cache, with their settings' digests."""
        return {name: table.settings for name, table in self._writer.definitions.items()}

    async def publish(
        self, head: Head, prev: int, pages: AsyncIterator[list[Change]], newest: Callable[[], LogState]
    ) -> int:
        """Applies one group; when this returns it is durable."""
        writer, groups = self._writer, self._writer.groups
        stood = groups.head
        group = Group(
            epoch=head.epoch,
            epoch_nonce=head.epoch_nonce,
            prev=prev,
            high=head.change_id,
            nonce=head.nonce,
            prev_nonce=None if stood is None else stood.nonce,
            settings=head.settings,
            prev_settings=None if stood is None else stood.settings,
        )
        # The plan has compared where the cache stands, and the newest that it holds, with the log.
        groups.prove(group)
        verdict = groups.begin(group)
        if verdict is not Verdict.APPLY:
            raise RuntimeError(f"a poll that chains is not applied: {verdict.value}")
        events = 0
        try:
            async for page in pages:
                for op, table, key, _, after, change_id, ts_ms in page:
                    if op == Op.TRUNCATE:
                        definition = None if after is None or after == NIL else decode_definition(after)
                        groups.truncate(table, definition)
                    else:
                        groups.put(op, table, key, after or b"", change_id, ts_ms)
                        events += 1
                if writer.burdened:
                    await writer.relieve()
            reached = as_new_as(head, newest())
            reached = groups.end(reached.exact_at, reached.exact_nonce)
            await writer.commit(groups.take_ready(), reached, None, None)
        except BaseException:
            await writer.reset()
            raise
        return events

    async def load(self, reader: SourceReader, state: LogState, reason: str) -> int:
        """Builds a new cache file from every row, and swaps it in."""
        reason = "told to rebuild" if self._rebuild else reason
        _log.info("loading everything", reason=reason, epoch=state.epoch, change_id=state.high)
        tables = reader.tables()
        database = Database(id=state.database_id, url=self._database_url)
        async with self._writer.loading(tables.values(), state.epoch) as loading:
            for table in tables:
                async with aclosing(reader.rows(table)) as pages:
                    async for page in pages:
                        await _load_page(loading, table, page)
            async with aclosing(reader.catch_up()) as pages:
                async for page in pages:
                    await _load_changes(loading, page)
            await self._writer.adopt(loading, log_head(reader.settled, reader.settings), database, None, None)
            self._rebuild = False
            return loading.rows


async def _load_page(loading: Loading, table: str, page: list[Change]) -> None:
    rows = [(key, after, change_id) for _, _, key, _, after, change_id, _ in page if after is not None]
    await loading.append(table, rows)
    if len(rows) < len(page):
        for _, _, key, _, after, change_id, ts_ms in page:
            if after is None:
                await loading.quarantine(table, key, change_id, ts_ms)


async def _load_changes(loading: Loading, page: list[Change]) -> None:
    for op, table, key, _, after, change_id, ts_ms in page:
        if op == Op.QUARANTINED:
            await loading.remove(table, key, change_id)
            await loading.quarantine(table, key, change_id, ts_ms)
        elif after is None:
            await loading.remove(table, key, change_id)
        else:
            await loading.replace(table, key, after, change_id)


async def sync(
    open_capture: Callable[[], Capture],
    writer: CacheWriter,
    *,
    rebuild: bool = False,
    leased: bool = True,
    done: Done | None = None,
) -> Polled:
    """Brings the cache to everything that is committed at the source now.

    Args:
        open_capture: opens the source.
        writer: the open cache path.
        rebuild: load everything anew, whatever the cache holds.
        leased: see `CachePublication`.
        done: what was done already, where this begins again.
    """
    async with open_capture() as capture:
        if not await capture.installed():
            await capture.install()
        publication = CachePublication(writer, capture.client.url, rebuild=rebuild, leased=leased)
        polled = await Poller(capture, publication).settle(done or Done())
        await leave_lease(capture.client, publication.log_reader, polled.head)
        return polled


class NodeSource:
    """The source of a node that Kafka feeds; see `consumers.source_access.SourceAccess`."""

    def __init__(self, open_capture: Callable[[], Capture]) -> None:
        self._open_capture = open_capture

    async def load(self, writer: CacheWriter) -> int:
        """Brings the cache to the state of the source by loading all of it; returns the rows."""
        return (await sync(self._open_capture, writer, rebuild=True, leased=False)).rows

    async def leads_through(self, head: Head, group: Group) -> bool:
        """Whether the log has the row at ``head``, the newest that its rows are of, and the group's last."""
        rows = [(head.change_id, head.nonce), (group.high, group.nonce)]
        if head.exact_nonce is not None:
            rows.append((head.exact_at, head.exact_nonce))
        async with self._open_capture() as capture, capture.client.reading() as transaction:
            return await has_rows(transaction, rows)

    async def has_lost(self, head: Head) -> bool:
        """Whether the log has no row at ``head`` any more, and another life of it has not begun."""
        async with self._open_capture() as capture, capture.client.reading() as transaction:
            return await lacks_row(transaction, head)


async def run(
    open_capture: Callable[[], Capture],
    open_writer: Callable[[], CacheWriter],
    pause_seconds: float,
    stop: asyncio.Event,
    *,
    retention_seconds: float,
) -> None:
    """Keeps the cache equal to the source until told to stop, and prunes its log now and then.

    A source that is away, or a disk that is full, is waited for; readers are served from the file meanwhile.

    Raises:
        CacheBusyError: another process writes this cache.
    """
    backoff = Backoff()
    begun = asyncio.Event()
    while not stop.is_set():
        try:
            async with open_writer() as writer:
                await _keep_following(
                    open_capture, writer, pause_seconds, retention_seconds, stop, backoff, begun
                )
        except CdcError as error:
            # A full disk, say.
            if not may_heal(error, begun=begun.is_set()):
                raise
            await pause(stop, _told(error, backoff))


async def _keep_following(
    open_capture: Callable[[], Capture],
    writer: CacheWriter,
    pause_seconds: float,
    retention_seconds: float,
    stop: asyncio.Event,
    backoff: Backoff,
    begun: asyncio.Event,
) -> None:
    """Follows the source, and comes back to it; the cache stays open while the source is away."""
    while not stop.is_set():
        try:
            async with open_capture() as capture:
                if not await capture.installed():
                    await capture.install()
                publication = CachePublication(writer, capture.client.url)
                async with Upkeep(capture.client, publication.log_reader, retention_seconds) as upkeep:
                    await _follow(capture, publication, writer, pause_seconds, stop, begun, upkeep)
        except CacheError as error:
            writer.live.stumbled(error.message, failed=True)
            raise
        except CdcError as error:
            if not may_heal(error, begun=begun.is_set()):
                raise
            writer.live.stumbled(error.message, failed=False)
            await _rest(writer, stop, _told(error, backoff))


def _told(error: CdcError, backoff: Backoff) -> float:
    seconds = backoff.next()
    _log.warning("trying again", reason=error.message, remedy=error.remedy, seconds=round(seconds, 2))
    return seconds


async def _rest(writer: CacheWriter, stop: asyncio.Event, seconds: float) -> None:
    """Waits before the next try; what is asked for meanwhile, and needs no source, is done."""
    await writer.orders.rest(stop, seconds)
    if writer.orders.waiting:
        await writer.orders.attend(stop)


async def _follow(
    capture: Capture,
    publication: CachePublication,
    writer: CacheWriter,
    pause_seconds: float,
    stop: asyncio.Event,
    begun: asyncio.Event,
    upkeep: Upkeep,
) -> None:
    poller = Poller(capture, publication)
    pace = IdlePace(pause_seconds)
    orders, live = writer.orders, writer.live
    orders.begin_again()
    rebuild: Rebuild | None = None
    changed = True
    while not stop.is_set():
        if orders.waiting:
            await orders.attend(stop)
            if (rebuild := orders.take_rebuild()) is not None:
                publication.load_anew()
                changed = True
        # Looking comes before polling, so that a commit between the two is seen by the next look.
        looked_at = time.monotonic()
        changed = await capture.data_changed() or changed or upkeep.wants_a_look()
        if changed:
            polled = await poller.poll()
            changed = not polled.idle
            live.events += polled.events
            begun.set()
            if rebuild is not None:
                rebuild.succeed(polled.head.position, polled.rows)
                rebuild = None
            if changed:
                pace.active()
            live.level(looked_at)
            if not changed and not capture.client.tells_of_commits:
                await orders.rest(stop, pace.next())
        else:
            live.level(looked_at)
            await orders.rest(stop, pace.next())
        upkeep.tick(publication.head())
