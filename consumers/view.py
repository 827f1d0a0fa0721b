"""Reads of one committed state of a cache file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from consumers.meta import read_checkpoint, read_definitions
from consumers.store import redb_errors
from schemas.codec import decode_row
from schemas.errors import UsageError
from schemas.keys import decode_key, encode_key, text_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from consumers import _redb
    from schemas.definition import TableDefinition
    from schemas.position import Position
    from schemas.values import Value

SNAPSHOT_S_MAX = 30.0
"""How long one state is held. A held one makes the file grow with every commit (measured: 64 to 257 MB in
2 s), so a scan that takes longer goes on in a newer state, after the key where it was."""

PAGE_ROWS = 1000
PAGE_BYTES_MAX = 4 << 20


class View:
    """One state of the cache, all tables at one position; use as ``with``.

    Args:
        path: the file, for error lines.
        take: gives a snapshot of the newest state; asked again when the present one is too old.
    """

    def __init__(self, path: Path, take: Callable[[], _redb.Snapshot]) -> None:
        self._path = path
        self._take = take
        self._snapshot = take()
        self._taken_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._snapshot.close()

    @property
    def position(self) -> Position | None:
        """Where this state stands; None before the first load was finished."""
        checkpoint = read_checkpoint(self._meta())
        return None if checkpoint is None else checkpoint.position

    def definitions(self) -> dict[str, TableDefinition]:
        """Return the cached tables by name, in the order of names."""
        return read_definitions(self._meta())

    def definition(self, table: str) -> TableDefinition:
        """Return one table's definition.

        Raises:
            UsageError: the cache has no such table.
        """
        return definition_of(self.definitions(), table)

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        with redb_errors(self._path):
            return self._snapshot.count(table)

    def scan(
        self, table: str, *, prefix: str = "", after: Sequence[Value] | None = None
    ) -> Iterator[tuple[tuple[Value, ...], dict[str, Value]]]:
        """Yield (key, row) of a table's rows in key order.

        Args:
            table: its name.
            prefix: only rows whose first key column, as text, starts so.
            after: only rows with a greater key than this.

        Raises:
            UsageError: the cache has no such table.
            CacheCorruptError: a row is damaged.
        """
        self.definition(table)
        start = None if after is None else encode_key(after)
        for key_prefix, wanted in _ranges(prefix):
            for encoded, data in self._pages(table, key_prefix, start):
                key = decode_key(encoded)
                if wanted is None or wanted(key[0]):
                    yield key, decode_row(data)

    def _pages(self, table: str, prefix: bytes, after: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        while True:
            with redb_errors(self._path):
                page = self._newest_if_old().scan(table, after, PAGE_ROWS, prefix, bytes_max=PAGE_BYTES_MAX)
            if not page:
                return
            for key, data, _ in page:
                yield key, data
            after = page[-1][0]

    def _newest_if_old(self) -> _redb.Snapshot:
        if time.monotonic() - self._taken_s > SNAPSHOT_S_MAX:
            self._snapshot.close()
            self._snapshot = self._take()
            self._taken_s = time.monotonic()
        return self._snapshot

    def _meta(self) -> dict[str, bytes]:
        with redb_errors(self._path):
            return self._snapshot.meta()


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
