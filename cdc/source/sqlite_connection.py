"""One sqlite3 connection as a driver needs it: errors translated, any TEXT readable, pages bounded."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from cdc.source.client import ResultSet
from cdc.source.file import check_is_file
from cdc.source.limits import BUSY_PAUSE_S, BUSY_ROUND_S, PART_ROWS_MAX, READ_CACHE_KIB
from cdc.source.sqlite_errors import is_locked, is_undecodable, translate
from schemas.errors import CdcError, SourceError
from schemas.values import InvalidText, text_from_bytes

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from cdc.source.client import Row
    from schemas.values import Value

_VERSION_MIN: Final = (3, 37, 0)
"""The first with pragma_table_list, which tells shadow tables from a user's."""


def identity_of(path: str) -> tuple[int, int] | None:
    """Give what distinguishes the file behind a path from another put in its place; None: there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a path is text here, and this is asked at every poll
    except OSError:
        return None
    return status.st_dev, status.st_ino


def check_is_database(path: str, busy_timeout_s: float) -> None:
    """Refuse, before any work, a path at which no database is.

    Raises:
        UsageError: it does not exist, is no regular file, may not be read, or is no database.
        SourceUnavailableError: it is locked.
    """
    if sqlite3.sqlite_version_info < _VERSION_MIN:
        raise SourceError(
            f"this Python has SQLite {sqlite3.sqlite_version}", "use one with SQLite 3.37 or later"
        )
    check_is_file(path)
    Connection(path, busy_timeout_s, query_only=True).close()


class Connection:
    """A connection in autocommit mode; used by one thread at a time, interrupted from any.

    Every method but `interrupt` raises `SourceUnavailableError`, `SourceError` or `UsageError`.
    """

    def __init__(self, path: str, busy_timeout_s: float, *, query_only: bool) -> None:
        self.identity = identity_of(path)
        self._busy_timeout_s = busy_timeout_s
        uri = f"file:{quote(os.fsencode(path))}?mode=rw"
        with _translated():
            self._sqlite = sqlite3.connect(
                uri,
                uri=True,
                timeout=min(busy_timeout_s, BUSY_ROUND_S),
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
        try:
            self._look(query_only=query_only)
        except BaseException:
            self._sqlite.close()
            raise
        self._closed = False
        self._queries: set[Query] = set()

    def _look(self, *, query_only: bool) -> None:
        with _translated():
            # The first statement that reads the file: here it shows whether it is a database.
            self._patiently("PRAGMA schema_version", ())
            self._patiently(f"PRAGMA query_only = {int(query_only)}", ())
            # It reads the schema.
            self._patiently(f"PRAGMA cache_size = -{READ_CACHE_KIB}", ())

    def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement and give all its rows."""
        with _translated():
            try:
                return self._patiently(sql, args)
            except sqlite3.OperationalError as error:
                if not is_undecodable(error):
                    raise
            with self.any_text():
                return self._fetch_all(sql, args)

    def _patiently(self, sql: str, args: Sequence[Value]) -> ResultSet:
        """Run a statement, again and again while another connection's lock is in the way."""
        until = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                return self._fetch_all(sql, args)
            except sqlite3.OperationalError as error:
                # One that met a lock has done nothing; a transaction goes on, to be tried again.
                if not is_locked(error) or time.monotonic() >= until:
                    raise
                # Where waiting could be a deadlock SQLite does not wait at all.
                time.sleep(BUSY_PAUSE_S)

    def _fetch_all(self, sql: str, args: Sequence[Value]) -> ResultSet:
        cursor = self._sqlite.execute(sql, bindable(args))
        columns = tuple(column[0] for column in cursor.description or ())
        rows = cursor.fetchall()
        result = ResultSet(columns, rows, max(0, cursor.rowcount), cursor.lastrowid)
        cursor.close()
        return result

    def start(self, sql: str, args: Sequence[Value]) -> sqlite3.Cursor:
        """Start a query whose rows are fetched bit by bit."""
        return self._sqlite.execute(sql, bindable(args))

    @contextmanager
    def any_text(self) -> Generator[None, None, None]:
        """Read TEXT that is not UTF-8 as `InvalidText` meanwhile: slower, so only where it is met."""
        self._sqlite.text_factory = text_from_bytes
        try:
            yield
        finally:
            self._sqlite.text_factory = str

    def query(self, sql: str, args: Sequence[Value]) -> Query:
        """Start a query; it is closed when the transaction ends, whoever forgot it."""
        query = Query(self, sql, args)
        self._queries.add(query)
        return query

    def forget(self, query: Query) -> None:
        """A query is closed."""
        self._queries.discard(query)

    def commit(self) -> None:
        """End the transaction and keep what it wrote; if that fails, nothing is kept."""
        self._close_queries()
        try:
            self.execute("COMMIT")
        except CdcError:
            self.rollback()
            raise

    def rollback(self) -> None:
        """End the transaction, if there is one, without keeping anything."""
        # An open statement would keep its read lock beyond the end of the transaction.
        self._close_queries()
        if not self._closed and self._sqlite.in_transaction:
            self.execute("ROLLBACK")

    def data_version(self) -> int:
        """Give a number that differs after another connection has committed."""
        return self.execute("PRAGMA data_version").rows[0][0]

    def is_wal(self) -> bool:
        """Say whether readers do not hold up writers."""
        return self.execute("PRAGMA journal_mode").rows[0][0] == "wal"

    def interrupt(self) -> None:
        """Stop the statement that runs now, from another thread."""
        try:
            self._sqlite.interrupt()
        except sqlite3.ProgrammingError:  # closed already
            return

    def close(self) -> None:
        """Close it; once is enough, more do no harm."""
        self._closed = True
        self._close_queries()
        self._sqlite.close()

    def _close_queries(self) -> None:
        for query in tuple(self._queries):
            query.close()


class Query:
    """A running query; see `cdc.source.threaded.Query`."""

    def __init__(self, connection: Connection, sql: str, args: Sequence[Value]) -> None:
        self._connection = connection
        self._sql = sql
        self._args = args
        self._cursor: sqlite3.Cursor | None = None
        self._rows_read = 0
        self._any_text = False

    def fetch(self, rows: int) -> list[Row]:
        """Fetch up to so many rows; fewer only at the end."""
        with _translated():
            return self._fetch_any_text(rows) if self._any_text else self._fetch_text(rows)

    def close(self) -> None:
        """End it; once is enough."""
        self._connection.forget(self)
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None

    def _fetch_text(self, rows: int) -> list[Row]:
        try:
            part = self._running().fetchmany(rows)
        except sqlite3.OperationalError as error:
            if not is_undecodable(error):
                raise
        else:
            self._rows_read += len(part)
            return part
        # sqlite3 has lost the rows of the part it failed in: run the query anew, past those already given.
        # The transaction makes it the same rows.
        self._any_text = True
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        left = self._rows_read
        while left:
            left -= len(self._fetch_any_text(min(left, PART_ROWS_MAX)))
        return self._fetch_any_text(rows)

    def _fetch_any_text(self, rows: int) -> list[Row]:
        with self._connection.any_text():
            return self._running().fetchmany(rows)

    def _running(self) -> sqlite3.Cursor:
        if self._cursor is None:
            self._cursor = self._connection.start(self._sql, self._args)
        return self._cursor


def bindable(args: Sequence[Value]) -> tuple[Any, ...]:
    """Make parameters that sqlite3 takes: the bytes of TEXT that is not UTF-8 (the SQL casts them)."""
    return tuple(arg.data if isinstance(arg, InvalidText) else arg for arg in args)


@contextmanager
def _translated() -> Generator[None, None, None]:
    try:
        yield
    except sqlite3.Error as error:
        # Not chained: sqlite3's own message may hold a cell's text.
        raise translate(error) from None
