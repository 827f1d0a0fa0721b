"""The writing side of a cache path: its lock, its file (or none yet), and the groups on their way into it."""

from __future__ import annotations

import asyncio
import glob
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, Self

import structlog

from consumers import limits
from consumers.applier import Applier
from consumers.cache_path import is_empty
from consumers.groups import Groups
from consumers.live import Live
from consumers.meta import Checkpoint
from consumers.nodelock import NodeLock
from consumers.orders import Orders
from consumers.rebuild import Loading, remove_leftovers
from consumers.store import Store, redb_errors
from schemas.errors import CacheBusyError, CacheCorruptError, CdcError, DamagedRowError, OutdatedFileError
from schemas.progress import under_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
    from pathlib import Path

    from consumers import _redb
    from consumers.batch import Batch
    from consumers.marks import QuarantineMark
    from schemas.definition import TableDefinition
    from schemas.event import Head
    from schemas.snapshot import Database

_log = structlog.get_logger("consumers.writer")

_LOCK_RETRY_SECONDS = 0.05


class Listener(Protocol):
    """What others talk to while a writer is open."""

    async def open(self, writer: CacheWriter) -> None:
        """Listen; the writer holds its lock."""
        ...

    async def close(self) -> None:
        """Stop listening; safe to repeat."""
        ...


class CacheWriter:
    """Owns a cache path while it is open. Use as ``async with``.

    Args:
        path: the cache file; it need not exist yet.
        node: the node's name.
        shared: other processes may read while we write.
        check: verify every page at the start also after a clean end.
        lock_seconds: how long to wait for another writer to go.
        commit_rows: how many rows of whole groups are gathered for one commit at most; None: as many as
            commits grow faster with.
        listener: others may talk to the node through it while this is open.
        live: where counters are kept, which outlive this writer where a node opens it again.
        orders: what the node was asked for, likewise.
    """

    def __init__(
        self,
        path: Path,
        node: str,
        *,
        shared: bool = True,
        check: bool = False,
        lock_seconds: float = 0.0,
        commit_rows: int | None = None,
        listener: Listener | None = None,
        live: Live | None = None,
        orders: Orders | None = None,
    ) -> None:
        self.path = path
        self.node = node
        self.live = live or Live()
        self.orders = orders or Orders()
        self._listener = listener
        self.unsaid: list[tuple[bytes, QuarantineMark]] = []
        """Rows that could not be applied, which the quarantine topic was not told of yet."""
        self.groups = Groups(None)
        self._shared = shared
        self._check = check
        self._lock_seconds = lock_seconds
        self._commit_rows = commit_rows
        self._lock = NodeLock(path)
        self._applier: Applier | None = None
        self.database_id = ""
        self.source_url = ""

    async def __aenter__(self) -> Self:
        await self._acquire()
        try:
            if await asyncio.to_thread(self._find):
                await self._open_file(check=self._check)
            if self._listener is not None:
                await self._listener.open(self)
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._leave()

    async def _leave(self) -> None:
        try:
            # While the lock is ours: the next writer's socket lies at the same path.
            if self._listener is not None:
                await self._listener.close()
        finally:
            try:
                await self._close_file()
            finally:
                self._lock.release()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The last durable checkpoint; None before the first load."""
        return None if self._applier is None else self._applier.checkpoint

    @property
    def definitions(self) -> Mapping[str, TableDefinition]:
        """The tables in the file, as of the last commit."""
        return {} if self._applier is None else self._applier.definitions

    @property
    def applier(self) -> Applier:
        """The thread that writes the file."""
        if self._applier is None:
            raise RuntimeError("there is no cache file yet")
        return self._applier

    @property
    def database(self) -> _redb.Database | None:
        """The open file, to be read from any thread; None while there is none."""
        return None if self._applier is None else self._applier.database

    @property
    def gathered(self) -> bool:
        """Whether the whole groups in memory are as many rows as one commit should have."""
        return self.groups.ready.rows >= (self._commit_rows or limits.COMMIT_ROWS_MAX)

    @property
    def feed_rows_max(self) -> int:
        """After how many rows to look whether they are enough for a commit, or too much for memory."""
        return min(self._commit_rows or limits.FEED_ROWS_MAX, limits.FEED_ROWS_MAX, limits.STREAM_ROWS_MAX)

    @property
    def burdened(self) -> bool:
        """Whether the group under way is too big to be held in memory."""
        batch = self.groups.open
        return batch is not None and (
            batch.rows >= limits.STREAM_ROWS_MAX or batch.size_bytes >= limits.STREAM_BYTES_MAX
        )

    async def relieve(self) -> int:
        """Streams what there is of the group under way into the open transaction; returns its rows.

        Whole groups before it must have been committed.
        """
        if self.groups.ready:
            raise RuntimeError("whole groups are committed before a part of the next one is streamed")
        batch = self.groups.take_open()
        await self._apply(self.applier.stream(batch))
        self._count(batch)
        return batch.rows

    async def commit(
        self,
        batch: Batch,
        head: Head,
        offset: int | None,
        topic_id: int | None,
        *,
        between: bool = False,
    ) -> None:
        """Makes a batch of whole groups durable, with the checkpoint at ``head`` that they lead to.

        ``between``: no group of a topic led there; always so without an ``offset``, which is of the topic
        with ``topic_id``.
        """
        checkpoint = self._checkpoint(head, offset, topic_id, between=between)
        await self._apply(self.applier.commit(batch, checkpoint))
        self.live.commits += 1
        self._count(batch)

    async def amend(self, batch: Batch) -> None:
        """Makes rows durable without moving the checkpoint: what was wrong at it, not what came after it.

        Nothing of a group may be streamed, and nothing whole may wait to be committed.
        """
        checkpoint = self.checkpoint
        if checkpoint is None or self.groups.streamed or self.groups.ready:
            raise RuntimeError("rows are amended between two commits, at a checkpoint")
        await self._apply(self.applier.commit(batch, checkpoint))
        self.live.commits += 1

    async def abandon(self) -> None:
        """Drops the group under way, and what was streamed of it."""
        if self.groups.abandon():
            await self.applier.take_back()

    async def reset(self) -> None:
        """Goes back to the last durable checkpoint: forgets everything that was not committed."""
        if self._applier is None:
            self.groups = Groups(None)
            return
        await self._applier.take_back()
        self.groups = self._groups(await self._applier.quarantined())

    @asynccontextmanager
    async def loading(
        self, definitions: Iterable[TableDefinition], epoch: int, rows_expected: int | None = None
    ) -> AsyncIterator[Loading]:
        """A new file beside the old one, to be given to ``adopt`` when every row is in it.

        Args:
            definitions: its tables.
            epoch: of the rows that come.
            rows_expected: how many; where it is not known, the old file's rows are taken for an estimate.
        """
        self.live.loading = True
        try:
            async with Loading(self.path, self.node, definitions, epoch) as loading:
                expected = self._rows_now() if rows_expected is None else rows_expected
                with under_way("loading the cache", lambda: loading.rows, expected):
                    yield loading
        finally:
            self.live.loading = False

    async def adopt(
        self,
        loading: Loading,
        head: Head,
        database: Database,
        offset: int | None,
        topic_id: int | None,
    ) -> None:
        """Swaps the loaded file in and goes on with it; readers follow.

        With an ``offset`` it was a snapshot of the topic with ``topic_id``, and stands where a group of that
        ended.
        """
        self.database_id, self.source_url = database.id, database.url
        await loading.finish(self._checkpoint(head, offset, topic_id))
        await self._close_file()
        await self._open_file(check=False)
        self.live.loads += 1
        self.live.rows_loaded += loading.rows
        self.live.repaired()

    def _rows_now(self) -> int | None:
        database = self.database
        if database is None:
            return None
        try:
            with redb_errors(self.path):
                return sum(database.count(table) for table in self.definitions) or None
        except CdcError as error:
            # Nothing but an estimate: a damaged file is no reason not to load a new one.
            _log.warning("the old file's rows cannot be counted", reason=error.message)
            return None

    def _count(self, batch: Batch) -> None:
        self.live.rows_written += batch.rows
        self.live.quarantined += len(batch.marked)
        self.unsaid += batch.marked[: max(0, limits.UNSAID_MAX - len(self.unsaid))]

    async def _acquire(self) -> None:
        # A reader that looks whether a writer lives holds the lock for an instant, hence at least one retry.
        deadline = time.monotonic() + max(self._lock_seconds, 4 * _LOCK_RETRY_SECONDS)
        while True:
            try:
                self._lock.acquire()
            except CacheBusyError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_LOCK_RETRY_SECONDS)
            else:
                return

    def _find(self) -> bool:
        """Whether there is a cache; what a killed load left beside it may be as large, and goes.

        An empty file is none: a crash of the machine may have left it, or a person.
        """
        remove_leftovers(self.path)
        return self.path.exists() and not is_empty(self.path)

    async def _open_file(self, *, check: bool) -> None:
        try:
            store = await asyncio.to_thread(Store.open, self.path, shared=self._shared, check=check)
            self._applier = Applier(store)
            quarantined = await self._applier.quarantined()
        except OutdatedFileError as error:
            # It stays where it is until what is loaded takes its place.
            _log.info("loading the cache file anew", reason=error.message)
            await self._close_file()
            self.groups = Groups(None)
            return
        except CacheCorruptError as error:
            await self._set_aside(error)
            return
        checkpoint = store.checkpoint
        if checkpoint is not None:
            self.database_id, self.source_url = checkpoint.database_id, checkpoint.source_url
        self.groups = self._groups(quarantined)

    async def _set_aside(self, error: CacheCorruptError) -> None:
        """Puts a damaged file out of the way, to be looked at; a load makes a new one."""
        await self._close_file()
        aside = self.path.with_name(f"{self.path.name}.corrupt-{int(time.time())}")
        self.path.rename(aside)
        _log.error("the cache file is damaged: kept aside, rebuilding", reason=error.message, file=str(aside))
        # Each may be as large as the cache.
        kept = sorted(self.path.parent.glob(f"{glob.escape(self.path.name)}.corrupt-*"), key=str)
        for older in kept[: -limits.CORRUPT_FILES_MAX]:
            older.unlink(missing_ok=True)
        self.groups = Groups(None)

    async def _apply(self, work: Awaitable[None]) -> None:
        try:
            await work
        except DamagedRowError:
            raise
        except CacheCorruptError as error:
            # What comes next opens no file, and loads one.
            await self._set_aside(error)
            raise

    async def _close_file(self) -> None:
        if self._applier is not None:
            applier, self._applier = self._applier, None
            async with applier:
                pass

    def _groups(self, quarantined: set[bytes]) -> Groups:
        checkpoint = self.checkpoint
        if checkpoint is None:
            return Groups(None, quarantined)
        return Groups(checkpoint.head, quarantined, self.definitions, between=checkpoint.between)

    def _checkpoint(
        self, head: Head, offset: int | None, topic_id: int | None, *, between: bool = False
    ) -> Checkpoint:
        return Checkpoint(
            epoch=head.epoch,
            epoch_nonce=head.epoch_nonce,
            change_id=head.change_id,
            nonce=head.nonce,
            exact_at=head.exact_at,
            offset=offset,
            database_id=self.database_id,
            source_url=self.source_url,
            between=between or offset is None,
            settings=head.settings,
            exact_nonce=head.exact_nonce,
            topic_id=topic_id,
        )
