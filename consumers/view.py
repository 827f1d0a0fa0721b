"""Reads of one committed state of a cache file."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self, TypeVar

from consumers import _redb
from consumers.indexes import indexes_of
from consumers.meta import read_checkpoint, read_definitions
from consumers.telling import reader_errors
from schemas.codec import decode_row
from schemas.errors import ExpiredError, UsageError
from schemas.keys import begins_with, decode_key, encode_key, text_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from consumers.indexes import Index
    from schemas.definition import TableDefinition
    from schemas.position import Position
    from schemas.values import Value

SNAPSHOT_S_MAX = 30.0
"""How long one state is held. A held one makes the file grow with every commit (measured: 64 to 257 MB in
2 s), so a scan that takes longer goes on in a newer state, after the key where it was."""

PAGE_ROWS = 1000
PAGE_BYTES_MAX = 4 << 20

FIND_ROWS = 200
"""Rows found by an index that are read at once."""

_Result = TypeVar("_Result")


class View:
    """One state of the cache, all tables at one position; use as ``with``.

    It is held for a limited time. After that a scan or search of a view that ``renews`` itself goes
    on in a newer state, behind the key where it was; any other is let go, and its reads raise ExpiredError.

    Args:
        path: the file, for error lines.
        take: gives a snapshot of the newest state; asked again when a view renews itself.
        seconds_max: how long one state is held at most, where it does not renew itself.
        renews: it is held for as long as `SNAPSHOT_S_MAX`, and then another one.
    """

    def __init__(
        self,
        path: Path,
        take: Callable[[], _redb.Snapshot],
        *,
        seconds_max: float = SNAPSHOT_S_MAX,
        renews: bool = True,
    ) -> None:
        self._path = path
        self._take = take
        self._seconds_max = seconds_max
        self._renews = renews
        self._definitions: dict[str, TableDefinition] | None = None
        self._hold()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the state go; safe to repeat."""
        self._renews = False
        if self._timer is not None:
            self._timer.cancel()
        self._snapshot.close()

    @property
    def position(self) -> Position | None:
        """Where this state stands; None before the first load was finished."""
        checkpoint = read_checkpoint(self._meta())
        return None if checkpoint is None else checkpoint.position

    def definitions(self) -> dict[str, TableDefinition]:
        """Return the cached tables by name, in the order of names."""
        if self._definitions is None:
            self._definitions = read_definitions(self._meta())
        return self._definitions

    def definition(self, table: str) -> TableDefinition:
        """Return one table's definition.

        Raises:
            UsageError: the cache has no such table.
        """
        return definition_of(self.definitions(), table)

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        return self._read(lambda snapshot: snapshot.count(table))

    def get(self, table: str, *key: Value) -> dict[str, Value] | None:
        """Return the row with this key (one argument per key column), None where there is none.

        Raises:
            UsageError: the cache has no such table, or its key has another number of columns.
        """
        return self.get_many(table, (key,))[0]

    def get_many(self, table: str, keys: Iterable[Sequence[Value]]) -> list[dict[str, Value] | None]:
        """Return the rows with these keys, in their order; None where there is none.

        Raises:
            UsageError: as `get`.
        """
        wanted = [tuple(key) for key in keys]
        definition = self.definition(table)
        for key in wanted:
            check_key(definition, key)
        encoded = [encode_key(key) for key in wanted]
        rows = self._read(lambda snapshot: snapshot.get_many(table, encoded))
        return [None if row is None else decode_row(row) for row in rows]

    def find(self, table: str, /, **columns: Value) -> list[dict[str, Value]]:
        """Return the rows whose columns have these values, in the order of their keys.

        Raises:
            UsageError: the cache has no such table, or none of the columns has an index.
        """
        return [row for _, row in self.found(table, columns)]

    def found(
        self, table: str, columns: Mapping[str, Value]
    ) -> Iterator[tuple[tuple[Value, ...], dict[str, Value]]]:
        """Yield (key, row) of what `find` returns.

        Raises:
            UsageError: as `find`.
        """
        index = _index_for(self.definition(table), columns)
        head = index.head(columns[index.column])
        wanted = {name: encode_key((value,)) for name, value in columns.items()}
        after: bytes | None = None
        while True:
            entries = self._read(
                lambda snapshot, after=after: snapshot.scan(index.name, after, FIND_ROWS, head), renewing=True
            )
            keys = [key for entry, key, _ in entries if begins_with(entry, head)]
            if not keys:
                return
            after = entries[-1][0]
            rows = self._read(lambda snapshot, keys=keys: snapshot.get_many(table, keys), renewing=True)
            for key, data in zip(keys, rows, strict=True):
                row = None if data is None else decode_row(data)
                if row is not None and all(
                    encode_key((row.get(name),)) == value for name, value in wanted.items()
                ):
                    yield decode_key(key), row

    def scan(
        self,
        table: str,
        *,
        prefix: str = "",
        after: Sequence[Value] | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[tuple[Value, ...], dict[str, Value]]]:
        """Yield (key, row) of a table's rows in key order.

        Args:
            table: its name.
            prefix: only rows whose first key column, as text, starts so.
            after: only rows with a greater key than this; with ``reverse`` a smaller one.
            reverse: from the last row to the first.

        Raises:
            UsageError: the cache has no such table.
            CacheCorruptError: a row is damaged.
        """
        self.definition(table)
        start = None if after is None else encode_key(after)
        ranges = _ranges(prefix)
        for key_prefix, wanted in reversed(ranges) if reverse else ranges:
            for encoded, data in self._pages(table, key_prefix, start, reverse=reverse):
                key = decode_key(encoded)
                if wanted is None or wanted(key[0]):
                    yield key, decode_row(data)

    def _pages(
        self, table: str, prefix: bytes, after: bytes | None, *, reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        while True:

            def read(snapshot: _redb.Snapshot, after: bytes | None = after) -> list[tuple[bytes, bytes, int]]:
                bounds = {"before": after} if reverse else {"after": after}
                return snapshot.scan(
                    table, limit=PAGE_ROWS, prefix=prefix, reverse=reverse, bytes_max=PAGE_BYTES_MAX, **bounds
                )

            page = self._read(read, renewing=True)
            if not page:
                return
            for key, data, _ in page:
                yield key, data
            after = page[-1][0]

    def _hold(self) -> None:
        self._snapshot = self._take()
        self._taken_s = time.monotonic()
        self._timer: threading.Timer | None = None
        if not self._renews:
            # Also where nobody reads from it any more.
            self._timer = threading.Timer(self._seconds_max, self._snapshot.close)
            self._timer.daemon = True
            self._timer.start()

    def _read(self, read: Callable[[_redb.Snapshot], _Result], *, renewing: bool = False) -> _Result:
        with reader_errors(self._path):
            if renewing and self._renews and time.monotonic() - self._taken_s > SNAPSHOT_S_MAX:
                self._snapshot.close()
                self._definitions = None
                self._hold()
            try:
                return read(self._snapshot)
            except _redb.ClosedError:
                raise ExpiredError(
                    f"this state of the cache was held for {self._seconds_max:g} s, or was closed",
                    "take a new one",
                ) from None

    def _meta(self) -> dict[str, bytes]:
        return self._read(lambda snapshot: snapshot.meta())


def check_key(definition: TableDefinition, key: Sequence[Value]) -> None:
    """Refuse what has another number of values than a table's keys.

    Raises:
        UsageError: it has.
    """
    if len(definition.key) != len(key):
        raise UsageError(
            f"{len(key)} values are no key of {definition.name}, it takes {len(definition.key)}",
            f"give {', '.join(definition.key)}, in this order",
        )


def _index_for(definition: TableDefinition, columns: Mapping[str, Value]) -> Index:
    """Return the index of one of the columns; the others are compared row by row."""
    indexes = [index for index in indexes_of(definition) if not index.ordered]
    found = next((index for index in indexes if index.column in columns), None)
    if found is None:
        given = ", ".join(columns) or "no column"
        indexed = ", ".join(index.column for index in indexes)
        raise UsageError(
            f"table {definition.name} has no index of {given}",
            f"it has: {indexed}" if indexed else f"give tables.{definition.name}.index to its poller",
        )
    unknown = set(columns) - {column.name for column in definition.columns}
    if unknown:
        raise UsageError(f"table {definition.name} has no column {min(unknown)}", "see: cdc scan")
    return found


def definition_of(definitions: dict[str, TableDefinition], table: str) -> TableDefinition:
    """Return a table's definition.

    Raises:
        UsageError: it is not among them.
    """
    definition = definitions.get(table)
    if definition is not None:
        return definition
    raise UsageError(
        f"there is no table {table!r} in the cache",
        f"it has: {', '.join(definitions)}" if definitions else "it has none yet; run: cdc sync",
    )


# The tag that keys of a class begin with; a number's text is no prefix of its key, so all are looked at.
_INTEGERS = encode_key((0,))[:1]
_REALS = encode_key((0.0,))[:1]


def _ranges(prefix: str) -> list[tuple[bytes, Callable[[Value], bool] | None]]:
    """Return the stretches of keys, in order, that hold a prefix, and what else tells its keys in each."""
    if not prefix:
        return [(b"", None)]

    def starts(value: Value) -> bool:
        return str(value).startswith(prefix)

    # A key ends with the end mark of its last value, which is no part of a prefix.
    blobs = encode_key((prefix.encode(),))[:-1]
    return [(_INTEGERS, starts), (_REALS, starts), (text_prefix(prefix), None), (blobs, None)]
