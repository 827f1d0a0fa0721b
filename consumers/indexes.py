"""Rows by the value of a column: redb tables of our own, written in the transaction of the rows.

An index is a table whose keys are the value and then the row's key, and whose values are the row's key.
Ordered ones have the value as `schemas.order` encodes it (which rows are the newest), others as a key of one
column (which rows belong to a parent, or have a value). Tables without an index pay nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from consumers import limits
from schemas.cells import cell_reader
from schemas.keys import begins_with, encode_key
from schemas.order import encode_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from consumers.batch import Ops
    from schemas.definition import TableDefinition
    from schemas.values import Value

SCAN_ROWS = 1_000
SCAN_BYTES_MAX = 4 * 1024 * 1024


class Rows(Protocol):
    """The rows of a cache file, as an open write transaction has them now."""

    def get_many(self, table: str, keys: list[bytes]) -> list[bytes | None]:
        """The rows with these keys."""
        ...

    def scan(
        self,
        table: str,
        after: bytes | None = None,
        limit: int = 1000,
        prefix: bytes = b"",
        *,
        bytes_max: int | None = None,
    ) -> list[tuple[bytes, bytes, int]]:
        """The next rows in key order: (key, row, change id)."""
        ...

    def count(self, table: str) -> int:
        """How many rows a table has."""
        ...

    def put(self, ops: Ops) -> None:
        """Writes and deletes rows."""
        ...


class Index(msgspec.Struct, frozen=True):
    """One index of a table: by ``column``, in the order of values or by equal ones."""

    table: str
    column: str
    ordered: bool

    @property
    def name(self) -> str:
        """The redb table's name. The length keeps names that hold the separator apart."""
        kind = "order" if self.ordered else "index"
        return f"_cdc_{kind}:{len(self.table)}:{self.table}:{self.column}"

    def head(self, value: Value) -> bytes:
        """What the entries of a value begin with."""
        return encode_order(value) if self.ordered else encode_key((value,))

    def entry(self, row: bytes, key: bytes) -> bytes:
        """The entry of a row."""
        return self.head(cell_reader(self.column)(row)) + key


def indexes_of(definition: TableDefinition) -> tuple[Index, ...]:
    """The indexes that a table needs for what it is defined to do."""
    indexes: list[Index] = []
    if definition.keep_by is not None and definition.keep is not None:
        indexes.append(Index(definition.name, definition.keep_by, ordered=True))
    columns = list(definition.index)
    if definition.follow is not None:
        columns.append(definition.follow.column)
    indexes += [Index(definition.name, column, ordered=False) for column in dict.fromkeys(columns)]
    return tuple(indexes)


def put_indexed(
    rows: Rows, table: str, ops: list[tuple[bytes, bytes | None, int]], indexes: Iterable[Index]
) -> None:
    """Writes rows of one table and the entries that follow from them."""
    latest = {key: row for key, row, _ in ops}
    keys = list(latest)
    before = rows.get_many(table, keys)
    written: Ops = {table: ops}
    for index in indexes:
        entries: list[tuple[bytes, bytes | None, int]] = []
        for key, old in zip(keys, before, strict=True):
            new = latest[key]
            gone = None if old is None else index.entry(old, key)
            there = None if new is None else index.entry(new, key)
            if gone == there:
                continue
            if gone is not None:
                entries.append((gone, None, 0))
            if there is not None:
                entries.append((there, key, 0))
        if entries:
            written[index.name] = entries
    rows.put(written)


def build(rows: Rows, index: Index) -> None:
    """Makes the entries of every row there is, many at a time: each lot is sorted before it is written."""
    entries: list[tuple[bytes, bytes | None, int]] = []
    size_bytes = 0
    for page in pages(rows, index.table):
        entry = index.entry
        lot = [(entry(row, key), key, 0) for key, row, _ in page]
        entries += lot
        size_bytes += sum([len(made) + len(key) for made, key, _ in lot])
        if size_bytes >= limits.INDEX_LOT_BYTES:
            rows.put({index.name: entries})
            entries, size_bytes = [], 0
    rows.put({index.name: entries})


def keys_with(rows: Rows, index: Index, head: bytes, limit: int = SCAN_ROWS) -> list[bytes]:
    """Some of the keys of the rows with a value, given as its head; none only where there is none."""
    found = rows.scan(index.name, None, limit, head)
    return [key for entry, key, _ in found if begins_with(entry, head)]


def heads(rows: Rows, index: Index) -> Iterator[list[bytes]]:
    """The heads of every value there is, in pages; a value may come again."""
    for page in pages(rows, index.name):
        yield list(dict.fromkeys(entry[: len(entry) - len(key)] for entry, key, _ in page))


def pages(rows: Rows, table: str) -> Iterator[list[tuple[bytes, bytes, int]]]:
    """All rows of a table, in pages; it may be written to meanwhile."""
    after: bytes | None = None
    while page := rows.scan(table, after, SCAN_ROWS, bytes_max=SCAN_BYTES_MAX):
        after = page[-1][0]
        yield page


def all_indexes(definitions: Mapping[str, TableDefinition]) -> dict[str, tuple[Index, ...]]:
    """The indexes of every table that has any."""
    found = {name: indexes_of(definition) for name, definition in definitions.items()}
    return {name: indexes for name, indexes in found.items() if indexes}
