"""The driver of ``turso:`` sources: the Turso engine in this process, on one thread.

The engine locks its file against other processes, so this polls a database whose owner we are, or which
nobody has open. Never open one file by this and by ``file:`` at once: the two engines corrupt it.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cdc.source.file import absolute
from cdc.source.limits import BUSY_TIMEOUT_S, IDLE_READERS_MAX
from cdc.source.remote_limits import LOOK_ANYWAY_S
from cdc.source.threaded import ThreadTransaction
from cdc.source.turso_connection import Connection, check_is_ours

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from cdc.source.client import ResultSet, Statement
    from schemas.values import Value

T = TypeVar("T")


class TursoClient:
    """A `Client` of one file of the Turso engine. Made by `open`, ended by `close`."""

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cdc-source-turso")
        self._write_turn = asyncio.Lock()
        # All of these belong to the thread.
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._writer: Connection | None = None
        self._seen: tuple[int, ...] = ()
        self._looked_s = 0.0

    @classmethod
    async def open(cls, path: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> TursoClient:
        """Open an existing database file.

        Raises:
            UsageError: there is none, or it has the MVCC journal.
            SourceUnavailableError: another process has it open.
        """
        client = cls(absolute(path), busy_timeout_s)
        try:
            await client.submit(client._begin_with)
        except BaseException:
            await client.close()
            raise
        return client

    @property
    def url(self) -> str:
        """``file:`` and the real path: the same database, whichever engine reads it."""
        return "file:" + os.path.realpath(self._path)

    @property
    def short_reads(self) -> bool:
        """Its journal is a WAL: readers hold up nobody."""
        return False

    @property
    def reads_block(self) -> bool:
        """Its journal is a WAL."""
        return False

    @property
    def reads_move(self) -> bool:
        """A transaction has a connection of its own."""
        return False

    @property
    def tells_of_commits(self) -> bool:
        """By the size and time of its files."""
        return True

    async def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement in a transaction of its own."""
        async with self._write_turn:
            return await self.submit(lambda: self._take_writer().execute(sql, args))

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run several in one write transaction: all of them or none."""
        async with self.writing() as transaction:
            return await transaction.batch(statements)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[ThreadTransaction[Connection], None]:
        """Open one read transaction on a connection of its own; it begins with its first statement."""
        transaction = ThreadTransaction(self.submit, self._begin_read)
        try:
            yield transaction
        finally:
            await self.submit(partial(transaction.leave, self._end_read))

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[ThreadTransaction[Connection], None]:
        """Open one write transaction; commit it, or roll it back after an exception."""
        async with self._write_turn:
            transaction = ThreadTransaction(self.submit, self._begin_write)
            try:
                yield transaction
                await self.submit(partial(transaction.leave, Connection.commit))
            except BaseException:
                # After a commit that ran although we were cancelled there is nothing left to roll back.
                await self.submit(partial(transaction.leave, Connection.rollback))
                raise

    async def data_changed(self) -> bool:
        """Say whether the file or its WAL was written since the last call, and True now and then.

        The engine has no PRAGMA data_version, and the clock of files is too coarse to be trusted alone.
        """
        return await self.submit(self._look)

    async def close(self) -> None:
        """Interrupt what runs and close every connection."""
        for connection in tuple(self._open):
            connection.interrupt()
        with suppress(RuntimeError):  # closed before: it takes no more work
            await self.submit(self._close_all)
        self._thread.shutdown(wait=False)

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do something on the thread."""
        return asyncio.wrap_future(self._thread.submit(work))

    def _begin_with(self) -> None:
        check_is_ours(self._path)
        self._idle.append(self._connect())

    def _connect(self) -> Connection:
        connection = Connection(self._path, self._busy_timeout_s)
        self._open.add(connection)
        return connection

    def _begin_read(self) -> Connection:
        connection = self._idle.pop() if self._idle else self._connect()
        connection.execute("BEGIN")
        return connection

    def _end_read(self, connection: Connection) -> None:
        connection.rollback()
        # The last connection closed ends the engine's hold on the file.
        if len(self._idle) < IDLE_READERS_MAX:
            self._idle.append(connection)
        else:
            self._open.discard(connection)
            connection.close()

    def _begin_write(self) -> Connection:
        connection = self._take_writer()
        connection.execute("BEGIN IMMEDIATE")
        return connection

    def _take_writer(self) -> Connection:
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    def _look(self) -> bool:
        now_s = time.monotonic()
        written = (*_written(self._path), *_written(self._path + "-wal"))
        changed = written != self._seen or now_s >= self._looked_s + LOOK_ANYWAY_S
        if changed:
            self._seen, self._looked_s = written, now_s
        return changed

    def _close_all(self) -> None:
        # Nothing may refer to a connection any more: the engine lets go of the file with the last of them.
        self._idle.clear()
        self._writer = None
        while self._open:
            self._open.pop().close()


def _written(path: str) -> tuple[int, ...]:
    """Give what changes when a file is written."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a path is text here
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
