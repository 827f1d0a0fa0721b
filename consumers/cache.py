"""The cache for those who read it: `Cache`."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from consumers import _redb
from consumers.marks import decode_mark
from consumers.meta import QUARANTINE_TABLE, read_checkpoint, read_definitions
from consumers.opening import open_to_read
from consumers.telling import reader_errors
from consumers.view import SNAPSHOT_S_MAX, View, check_key, definition_of
from consumers.watch import Watch
from schemas.codec import decode_row
from schemas.errors import GaveUpError
from schemas.keys import encode_key, record_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from schemas.definition import TableDefinition
    from schemas.position import Position
    from schemas.values import Value

_PAUSE_S_MIN = 0.001
_PAUSE_S_MAX = 0.05

_Result = TypeVar("_Result")


class Cache:
    """A cache file, opened for reading beside the node that writes it; use as ``with``.

    Values are int, float, str, bytes, None, and `schemas.InvalidText` for TEXT that is not UTF-8. Calls may
    come from any thread. A rebuild's swap is followed: the next call reads the new file.

    Raises (every method):
        CacheCorruptError: a row, or the file, is damaged.
        CacheError: the file cannot be read.
    """

    def __init__(self, path: Path, database: _redb.Database, inode: tuple[int, int]) -> None:
        """Use `Cache.open`."""
        self._path = path
        self._name = os.fspath(path)
        self._database = database
        self._inode = inode
        self._definitions: dict[str, TableDefinition] = {}
        self._reopening = threading.Lock()
        self._closed = False

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a cache file to read; one that a killed writer left behind is repaired first.

        Raises:
            UsageError: there is no such file, or it is no cache of ours.
            CacheBusyError: its writer does not share it (``cache.readers = "process"``).
            CacheError: it needs repair, and may not be written.
        """
        cache = Path(path)
        return cls(cache, *open_to_read(cache))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; safe to repeat."""
        self._closed = True
        self._database.close()

    def get(self, table: str, *key: Value) -> dict[str, Value] | None:
        """Return the row with this key (one argument per key column), None where there is none.

        Raises:
            UsageError: the cache has no such table, or its key has another number of columns.
        """
        try:
            data = self._current().get(table, encode_key(key))
        except _redb.RedbError:
            with reader_errors(self._path):
                raise
        if data is not None:
            return decode_row(data)
        self._check_key(table, key)
        return None

    def quarantined(self, table: str, *key: Value) -> str | None:
        """Return why a row is quarantined: not here, though it may be at the source; None where it is not."""
        name = record_key(table, encode_key(key))

        def read(database: _redb.Database) -> bytes | None:
            return database.get(QUARANTINE_TABLE, name)

        data = self._call(read)
        return None if data is None else decode_mark(data).reason

    def get_many(self, table: str, keys: Iterable[Sequence[Value]]) -> list[dict[str, Value] | None]:
        """Return the rows with these keys, in their order, all of one state; None where there is none.

        Raises:
            UsageError: as `get`.
        """
        wanted = [tuple(key) for key in keys]
        encoded = [encode_key(key) for key in wanted]
        rows = self._call(lambda database: database.get_many(table, encoded))
        for key, row in zip(wanted, rows, strict=True):
            if row is None:
                self._check_key(table, key)
        return [None if row is None else decode_row(row) for row in rows]

    def scan(
        self,
        table: str,
        *,
        prefix: str = "",
        after: Sequence[Value] | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[tuple[Value, ...], dict[str, Value]]]:
        """Yield (key, row) of a table's rows in key order, of one state for as long as `View` holds it.

        Args:
            table: its name.
            prefix: only rows whose first key column, as text, starts so.
            after: only rows with a greater key than this; with ``reverse`` a smaller one.
            reverse: from the last row to the first.

        Raises:
            UsageError: the cache has no such table.
        """
        with self.view() as view:
            yield from view.scan(table, prefix=prefix, after=after, reverse=reverse)

    def find(self, table: str, /, **columns: Value) -> list[dict[str, Value]]:
        """Return the rows whose columns have these values, in the order of their keys.

        One of the columns must have an index; `View.found` yields rows one by one.

        Raises:
            UsageError: the cache has no such table, or none of the columns has an index.
        """
        with self.view() as view:
            return view.find(table, **columns)

    def watch(self, table: str, *, timeout: float | None = None) -> Watch:
        """Return an iterator over the keys of a table's rows as they change, from this call on.

        Rows that are written, deleted, or leave a bounded table. To miss nothing, watch first, then read the
        table, then iterate.

        Args:
            table: its name.
            timeout: end when nothing changed for so many seconds; None: go on until it is closed.

        Raises:
            UsageError: the cache has no such table.
            WatchLostError: while iterating, when changes cannot be told one by one: the watcher is too far
                behind (`consumers.limits.CHANGES_COMMITS_MAX`), the table or the whole cache was loaded anew.
                Watch again, and read the table.
        """
        self.definition(table)
        return Watch(self._path, self._current, table, timeout)

    def snapshot(self, *, seconds_max: float = SNAPSHOT_S_MAX) -> View:
        """Return the newest state, to read several things of several tables at one position; use as ``with``.

        While it is held the file grows with every commit, hence the limit.

        Args:
            seconds_max: how long it may be used; after that its reads raise ExpiredError.
        """
        return self._held(seconds_max=seconds_max, renews=False)

    def view(self) -> View:
        """Return the newest state to read from it; a scan that takes long goes on in a newer one."""
        return self._held(seconds_max=SNAPSHOT_S_MAX, renews=True)

    @property
    def position(self) -> Position | None:
        """Where the cache stands; None before its first load was finished."""
        checkpoint = read_checkpoint(self._meta())
        return None if checkpoint is None else checkpoint.position

    def tables(self) -> list[str]:
        """Return the names of the cached tables, sorted."""
        return list(read_definitions(self._meta()))

    def definition(self, table: str) -> TableDefinition:
        """Return a table's columns and key.

        Raises:
            UsageError: the cache has no such table.
        """
        return definition_of(read_definitions(self._meta()), table)

    def count(self, table: str) -> int:
        """Return the number of a table's rows.

        Raises:
            UsageError: the cache has no such table.
        """
        self.definition(table)
        return self._call(lambda database: database.count(table))

    def wait_for(self, position: Position, timeout: float) -> None:
        """Return once the cache has applied ``position``: read your own writes.

        Args:
            position: as ``cdc.position(connection)`` gives it.
            timeout: seconds to wait at most.

        Raises:
            GaveUpError: it has not by then.
        """
        deadline_s = time.monotonic() + timeout
        pause_s = _PAUSE_S_MIN
        while (reached := self.position) is None or reached < position:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise GaveUpError(
                    f"the cache {self._path} did not reach {position} within {timeout:g} s",
                    "see that its node runs: cdc status",
                )
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    def _check_key(self, table: str, key: Sequence[Value]) -> None:
        """Refuse an unknown table, or a key that is none of its; asked only when there was no such row."""
        known = self._definitions.get(table)
        if known is None or len(known.key) != len(key):
            self._definitions = read_definitions(self._meta())
            known = definition_of(self._definitions, table)
        check_key(known, key)

    def _held(self, *, seconds_max: float, renews: bool) -> View:
        take = partial(self._call, _redb.Database.snapshot)
        return View(self._path, take, seconds_max=seconds_max, renews=renews)

    def _meta(self) -> dict[str, bytes]:
        return self._call(_redb.Database.meta)

    def _call(self, work: Callable[[_redb.Database], _Result]) -> _Result:
        with reader_errors(self._path):
            return work(self._current())

    def _current(self) -> _redb.Database:
        """Return the open file, after a look whether another one has taken its place."""
        if self._inode_now() != self._inode and not self._closed:
            with self._reopening:
                if self._inode_now() != self._inode:
                    # The old one is not closed: other threads and scans may still read it.
                    self._database, self._inode = open_to_read(self._path)
                    self._definitions = {}
        return self._database

    def _inode_now(self) -> tuple[int, int]:
        try:
            status = os.stat(self._name)  # noqa: PTH116 -- three times as fast as Path.stat, on every read
        except OSError:
            return self._inode
        return status.st_dev, status.st_ino
