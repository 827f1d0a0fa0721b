"""Following a table: the keys of its rows as they change in the cache."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Self

from consumers.changes import commits_after, newest
from consumers.store import redb_errors
from schemas.errors import WatchLostError
from schemas.keys import decode_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from consumers import _redb
    from schemas.position import Position
    from schemas.values import Value

PAUSE_S_MIN = 0.001
PAUSE_S_MAX = 0.05


class ChangedKey(tuple["Value", ...]):  # noqa: SLOT001 -- slots of a tuple hold no attributes
    """The key of a row that was written or deleted, and the position that the cache reached with it.

    It is the tuple of the key's values: ``cache.get(table, *changed)``.
    """

    table: str
    position: Position

    def __new__(cls, values: Sequence[Value], table: str, position: Position) -> Self:
        """Made by `Watch`."""
        made = super().__new__(cls, values)
        made.table, made.position = table, position
        return made

    @property
    def key(self) -> tuple[Value, ...]:
        """The same as a plain tuple."""
        return tuple(self)


class Watch:
    """Iterates over the changed keys of a table, each time it changed; made by `Cache.watch`.

    Every change that becomes visible after it was made is told, in the order of commits; a key that changed
    several times in one commit once. What of its state is read then may be newer. Close it, or use ``with``;
    another thread may close it, which ends the iteration.

    Raises (while iterating):
        WatchLostError: changes cannot be told one by one; see `Cache.watch`.
    """

    def __init__(
        self,
        path: Path,
        database: Callable[[], _redb.Database],
        table: str,
        timeout: float | None,
    ) -> None:
        self._path = path
        self._newest_file = database
        self._table = table
        self._timeout = timeout
        self._waiting: deque[ChangedKey] = deque()
        self._closed = False
        self._lost: WatchLostError | None = None
        self._database = database()
        with redb_errors(path), self._database.snapshot() as snapshot:
            self._number = newest(snapshot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration; safe to repeat, and from any thread."""
        self._closed = True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChangedKey:
        since_s = time.monotonic()
        pause_s = PAUSE_S_MIN
        while not self._closed:
            if self._waiting:
                return self._waiting.popleft()
            if self._lost is not None:
                raise self._lost
            if self._look():
                continue
            left_s = PAUSE_S_MAX if self._timeout is None else since_s + self._timeout - time.monotonic()
            if left_s <= 0:
                break
            time.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, PAUSE_S_MAX)
        raise StopIteration

    def _look(self) -> bool:
        """Take in what came; False where nothing did."""
        with redb_errors(self._path):
            database = self._newest_file()
            if database is not self._database:
                self._lost = self._told("the cache was rebuilt")
                return True
            with database.snapshot() as snapshot:
                commits = commits_after(snapshot, self._number)
        for number, commit in commits:
            if number != self._number + 1:
                self._lost = self._told("the watcher was too slow")
                return True
            self._number = number
            keys = commit.tables.get(self._table, [])
            if keys is None:
                self._lost = self._told("too much changed at once, or the table was read anew")
                return True
            self._waiting.extend(ChangedKey(decode_key(key), self._table, commit.position) for key in keys)
        return bool(commits)

    def _told(self, why: str) -> WatchLostError:
        return WatchLostError(
            f"changes of {self._table!r} cannot be told one by one: {why}",
            "watch again, then read the table",
        )
