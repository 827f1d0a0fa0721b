"""The driver of ``file:`` sources: Python's sqlite3 on threads of its own.

Reads run on one thread and writes on another, so that the event loop never waits for a disk or a lock, and a
write that waits for a reader of ours does not stop that reader. Connections are opened by literal path and
never create a file. A file that was replaced under its name is noticed before the next transaction.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cdc.source.file import absolute
from cdc.source.limits import BUSY_TIMEOUT_S, IDLE_READERS_MAX, INTERRUPT_EVERY_S
from cdc.source.sqlite_connection import Connection, check_is_database, identity_of
from cdc.source.threaded import ThreadTransaction
from schemas.errors import SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from cdc.source.client import ResultSet, Statement
    from schemas.values import Value

T = TypeVar("T")


class SqliteClient:
    """A `Client` of one SQLite file. Made by `open`, ended by `close`."""

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="cdc-source-read")
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="cdc-source-write")
        self._write_turn = asyncio.Lock()
        self._closed = False
        self._short_reads = True
        # Each of these belongs to one thread: connections are used and closed where they were opened.
        self._readers: set[Connection] = set()
        self._idle: list[Connection] = []
        self._watcher: Connection | None = None
        self._data_version: int | None = None
        self._writer: Connection | None = None

    @classmethod
    async def open(cls, path: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> SqliteClient:
        """Open an existing database file.

        Raises:
            UsageError: the path does not exist, is no regular file, or holds no database.
            SourceUnavailableError: it is locked for longer than ``busy_timeout_s``.
        """
        client = cls(absolute(path), busy_timeout_s)
        try:
            await client._on_reads(partial(check_is_database, client._path, busy_timeout_s))
            await client._on_reads(client._look_at_journal)
        except BaseException:
            await client.close()
            raise
        return client

    @property
    def url(self) -> str:
        """``file:`` and the real path."""
        return "file:" + os.path.realpath(self._path)

    @property
    def short_reads(self) -> bool:
        """In rollback-journal mode, which is SQLite's default, a commit waits for every reader."""
        return self._short_reads

    @property
    def reads_block(self) -> bool:
        """In rollback-journal mode."""
        return self._short_reads

    @property
    def reads_move(self) -> bool:
        """A transaction has a connection of its own."""
        return False

    @property
    def tells_of_commits(self) -> bool:
        """By PRAGMA data_version."""
        return True

    async def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement in a write transaction of its own."""
        async with self._write_turn:
            return await self._on_writes(lambda: self._take_writer().execute(sql, args))

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run several in one write transaction: all of them or none."""
        async with self.writing() as transaction:
            return await transaction.batch(statements)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[ThreadTransaction[Connection], None]:
        """Open one read transaction on a connection of its own; it begins with its first statement."""
        transaction = ThreadTransaction(
            partial(submit, self._reads), self._begin_read, short=self._short_reads
        )
        try:
            yield transaction
        except (asyncio.CancelledError, GeneratorExit):
            if not self._closed:
                leaving = submit(self._reads, partial(transaction.leave, self._close_reader))
                await _interrupt_until(leaving, partial(_interrupt, transaction))
            raise
        finally:
            if not self._closed:
                await self._on_reads(partial(transaction.leave, self._end_read))

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[ThreadTransaction[Connection], None]:
        """Open one write transaction; commit it, or roll it back after an exception."""
        async with self._write_turn:
            transaction = ThreadTransaction(partial(submit, self._writes), self._begin_write)
            try:
                yield transaction
                await self._on_writes(partial(transaction.leave, Connection.commit))
            except BaseException:
                # After a commit that ran although we were cancelled there is nothing left to roll back.
                if not self._closed:
                    await self._on_writes(partial(transaction.leave, Connection.rollback))
                raise

    async def data_changed(self) -> bool:
        """Say whether another connection, ours for writing included, committed since the last call."""
        return await self._on_reads(self._look_at_data_version)

    async def close(self) -> None:
        """Interrupt what runs and close every connection; once is enough, more do no harm."""
        if self._closed:
            return
        self._closed = True
        await _interrupt_until(submit(self._reads, self._close_readers), self._interrupt_readers)
        # One after the other: the last connection to a WAL database to close tidies up, if it is alone.
        await submit(self._writes, self._close_writer)
        self._reads.shutdown(wait=False)
        self._writes.shutdown(wait=False)

    async def _on_reads(self, work: Callable[[], T]) -> T:
        return await submit(self._reads, work)

    async def _on_writes(self, work: Callable[[], T]) -> T:
        return await submit(self._writes, work)

    def _interrupt_readers(self) -> None:
        for connection in tuple(self._readers):
            connection.interrupt()

    def _open_reader(self) -> Connection:
        connection = Connection(self._path, self._busy_timeout_s, query_only=True)
        self._readers.add(connection)
        return connection

    def _close_reader(self, connection: Connection) -> None:
        self._readers.discard(connection)
        connection.close()

    def _close_readers(self) -> None:
        for connection in tuple(self._readers):
            self._close_reader(connection)

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _is_current(self, connection: Connection) -> bool:
        """Say whether a kept connection still has the file that the path names."""
        identity = identity_of(self._path)
        if identity is None:
            raise SourceUnavailableError(
                "the source's file is gone", "put the file back; the program goes on by itself"
            )
        return connection.identity == identity

    def _begin_read(self) -> Connection:
        connection = None
        while connection is None and self._idle:
            connection = self._idle.pop()
            if not self._is_current(connection):
                self._close_reader(connection)
                connection = None
        connection = connection or self._open_reader()
        connection.execute("BEGIN")
        return connection

    def _look_at_journal(self) -> None:
        connection = self._open_reader()
        self._short_reads = not connection.is_wal()
        self._idle.append(connection)

    def _end_read(self, connection: Connection) -> None:
        connection.rollback()
        # The application may change it at any time; a connection learns of it when it reads.
        self._short_reads = not connection.is_wal()
        if len(self._idle) < IDLE_READERS_MAX:
            self._idle.append(connection)
        else:
            self._close_reader(connection)

    def _begin_write(self) -> Connection:
        connection = self._take_writer()
        connection.execute("BEGIN IMMEDIATE")
        return connection

    def _take_writer(self) -> Connection:
        if self._writer is not None and not self._is_current(self._writer):
            self._close_writer()
        if self._writer is None:
            self._writer = Connection(self._path, self._busy_timeout_s, query_only=False)
        return self._writer

    def _look_at_data_version(self) -> bool:
        if self._watcher is not None and not self._is_current(self._watcher):
            self._close_reader(self._watcher)
            self._watcher = None
        if self._watcher is None:
            self._watcher = self._open_reader()
            self._data_version = None
        seen = self._data_version
        self._data_version = self._watcher.data_version()
        return seen != self._data_version


def submit(pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
    """Give a thread work.

    Raises:
        SourceUnavailableError: the client was closed.
    """
    try:
        return asyncio.wrap_future(pool.submit(work))
    except RuntimeError:
        raise SourceUnavailableError("the source was closed", "open it again") from None


def _interrupt(transaction: ThreadTransaction[Connection]) -> None:
    """Stop what runs in it, from another thread."""
    connection = transaction.connection
    if connection is not None:
        connection.interrupt()


async def _interrupt_until(done: asyncio.Future[None], interrupt: Callable[[], None]) -> None:
    """Stop what runs, again and again: an interrupt that comes before its statement has begun is lost."""
    while not done.done():
        interrupt()
        await asyncio.wait([done], timeout=INTERRUPT_EVERY_S)
    done.result()
