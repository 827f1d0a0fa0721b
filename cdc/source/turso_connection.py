"""One connection of the Turso engine, in process: errors translated, pages bounded."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import turso

from cdc.source.client import ResultSet
from cdc.source.errors import SourceLockedError
from schemas.errors import CdcError, SourceError, SourceUnavailableError, UsageError
from schemas.values import InvalidText

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from cdc.source.client import Row
    from schemas.values import Value

# Without them a database that uses one does not even open.
_FEATURES: Final = (
    "views,triggers,strict,custom_types,index_method,autovacuum,attach,generated_columns,without_rowid"
)
_HEADER: Final = b"SQLite format 3\x00"
_VERSIONS_AT: Final = slice(18, 20)
_MVCC_VERSIONS: Final = b"\xff\xff"
_LOCKS: Final = Path("/proc/locks")


def check_is_ours(path: str) -> None:
    """Refuse, before any engine touches it, a path that holds no database that the Turso engine may open.

    Raises:
        UsageError: it does not exist, is no regular file or no database, or has the MVCC journal.
        SourceUnavailableError: another process, or SQLite in this one, has it open (where that can be told).
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 -- a path is text here
        if not stat.S_ISREG(mode):
            raise UsageError(
                f"the source {path!r} is no regular file", "give the path of an existing database file"
            )
        with open(path, "rb") as file:  # noqa: PTH123 -- a path is text here
            header = file.read(100)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path"
        raise UsageError(
            f"the source {path!r} cannot be opened: {reason}", "give the path of an existing database file"
        ) from None
    if header and not header.startswith(_HEADER):
        raise UsageError("the source is no SQLite database", "give the path of a database file")
    if header[_VERSIONS_AT] == _MVCC_VERSIONS:
        raise _mvcc_journal()
    if _is_locked(path + "-shm"):
        raise _open_elsewhere()


def _is_locked(path: str) -> bool:
    """Say whether anyone holds a lock on a file; SQLite does on the -shm file of each WAL database it has.

    The kernel's list is read because asking for the lock would end one that this process holds itself.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 -- a path is text here
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return False
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(name in line.split() for line in lines)


class Connection:
    """A connection in autocommit mode; used on one thread, interrupted from any."""

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        with _translated():
            self._turso: turso.Connection | None = turso.connect(
                path, isolation_level=None, experimental_features=_FEATURES
            )
        self._queries: set[Query] = set()
        try:
            self.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
            self._refuse_mvcc()
        except BaseException:
            self.close()
            raise

    def _refuse_mvcc(self) -> None:
        if self.execute("PRAGMA journal_mode").rows[0][0] == "mvcc":
            raise _mvcc_journal()

    def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement and give all its rows."""
        with _translated():
            cursor = self.start(sql, args)
            columns = tuple(column[0] for column in cursor.description or ())
            rows = cursor.fetchall()
            result = ResultSet(columns, rows, max(0, cursor.rowcount), cursor.lastrowid)
            cursor.close()
            return result

    def start(self, sql: str, args: Sequence[Value]) -> turso.Cursor:
        """Start a query whose rows are fetched bit by bit."""
        if self._turso is None:
            raise SourceUnavailableError("the connection to the source is closed", "try again")
        # The bytes of TEXT that is not UTF-8: the SQL casts them.
        return self._turso.execute(
            sql, tuple(arg.data if isinstance(arg, InvalidText) else arg for arg in args)
        )

    def query(self, sql: str, args: Sequence[Value]) -> Query:
        """Start a query; it is closed when the transaction ends, whoever forgot it."""
        with _translated():
            query = Query(self, self.start(sql, args))
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
        self._close_queries()
        if self._turso is not None and self._turso.in_transaction:
            self.execute("ROLLBACK")

    def interrupt(self) -> None:
        """Stop the statement that runs now, from another thread."""
        connection = self._turso
        if connection is not None:
            with suppress(turso.Error):  # closed meanwhile
                connection.interrupt()

    def close(self) -> None:
        """Close it; once is enough, more do no harm."""
        self._close_queries()
        # Closing alone leaves the file locked: the engine lets go of it with the last reference.
        connection, self._turso = self._turso, None
        if connection is not None:
            connection.close()

    def _close_queries(self) -> None:
        for query in tuple(self._queries):
            query.close()


class Query:
    """A running query; see `cdc.source.threaded.Query`."""

    def __init__(self, connection: Connection, cursor: turso.Cursor) -> None:
        self._connection = connection
        self._cursor: turso.Cursor | None = cursor

    def fetch(self, rows: int) -> list[Row]:
        """Fetch up to so many rows; fewer only at the end."""
        with _translated():
            return [] if self._cursor is None else self._cursor.fetchmany(rows)

    def close(self) -> None:
        """End it; once is enough."""
        self._connection.forget(self)
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None


@contextmanager
def _translated() -> Generator[None, None, None]:
    try:
        yield
    except turso.Error as error:
        # Not chained: one line says it all.
        raise _translate(error) from None


def _translate(error: turso.Error) -> CdcError:
    text = " ".join(str(error).split())
    lowered = text.lower()
    if "locked by another process" in lowered:
        return _open_elsewhere()
    if "locked" in lowered or "busy" in lowered:
        return SourceLockedError(
            "the source is locked by another connection", "try again when its transaction has ended"
        )
    if "interrupt" in lowered:
        return SourceUnavailableError("a statement at the source was interrupted", "try again")
    if "invalid utf-8" in lowered:
        return SourceError(
            "the source holds TEXT that is not UTF-8, which the Turso engine cannot read",
            "mend it, or give the source as file:PATH",
        )
    return SourceError(f"the source refused a statement: {text[:300]}", "see `cdc doctor`")


def _mvcc_journal() -> UsageError:
    return UsageError(
        "the source's file has the MVCC journal, whose ids are not in the order of commits",
        "set PRAGMA journal_mode = 'wal' in its owner",
    )


def _open_elsewhere() -> SourceUnavailableError:
    return SourceUnavailableError(
        "another connection has the source's file open, and two engines would corrupt it",
        "poll inside its owner; give file:PATH where all of them use SQLite; or close it",
    )
