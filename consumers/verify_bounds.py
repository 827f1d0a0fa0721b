"""What verify leaves open in bounded tables: which rows they hold follows from changes that are pending.

With n keys pending in a table with ``keep``, up to n other rows may come among the newest or leave them: the
n oldest on either side are pending too. So are the rows that follow any of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from consumers.bounded import Layout
from consumers.indexes import SCAN_ROWS
from schemas.cells import cell_reader
from schemas.keys import begins_with, encode_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from consumers import _redb
    from consumers.eviction import Bounds
    from schemas.definition import TableDefinition


class Exempt(msgspec.Struct):
    """Keys of a table that are not compared; ``whole``: none is."""

    pending: set[bytes] = msgspec.field(default_factory=set)
    quarantined: set[bytes] = msgspec.field(default_factory=set)
    whole: bool = False

    def __contains__(self, key: bytes) -> bool:
        return key in self.pending or key in self.quarantined


class BoundedSource(Protocol):
    """The source at one moment."""

    def rows(self, table: str) -> AsyncIterator[Iterable[tuple[bytes, bytes | None]]]:
        """The rows of a table that the cache has to hold: encoded keys and rows."""
        ...

    def oldest(self, table: str, rows: int) -> AsyncIterator[Iterable[bytes]]:
        """The encoded keys of the oldest rows that are kept of a table."""
        ...


async def exempt_near_bounds(
    exempt: dict[str, Exempt],
    cache: _redb.Snapshot,
    source: BoundedSource,
    definitions: Mapping[str, TableDefinition],
) -> None:
    """Adds to ``exempt`` what may differ because of it.

    Args:
        exempt: by table; changed in place.
        cache: the held state of the cache.
        source: the source's.
        definitions: the tables that both have, by the settings that both have.
    """
    layout = Layout(definitions)
    bounds = layout.bounds
    for table, definition in bounds.keeps.items():
        found = exempt.get(table)
        if found is None or found.whole:
            continue
        count = min(len(found.pending) + len(found.quarantined), definition.keep or 0)
        if count:
            async for keys in source.oldest(table, count):
                found.pending.update(keys)
            found.pending.update(_first(cache, bounds.order_of(table).name, count))
    for table in bounds.order:
        parents = [exempt[name] for name in bounds.follows[table].tables if name in exempt]
        if parents:
            found = exempt.setdefault(table, Exempt())
            found.whole = found.whole or any(parent.whole for parent in parents)
            if not found.whole:
                keys = set[bytes]().union(*(parent.pending | parent.quarantined for parent in parents))
                await _exempt_followers(found, keys, cache, source, bounds, table)


async def _exempt_followers(
    found: Exempt,
    parents: set[bytes],
    cache: _redb.Snapshot,
    source: BoundedSource,
    bounds: Bounds,
    table: str,
) -> None:
    index = bounds.parent_of(table)
    for parent in parents:
        for entries in _pages(cache, index.name, parent):
            found.pending.update(key for entry, key in entries if begins_with(entry, parent))
    cell = cell_reader(index.column)
    async for rows in source.rows(table):
        found.pending.update(
            key for key, row in rows if row is not None and encode_key((cell(row),)) in parents
        )


def _first(cache: _redb.Snapshot, index: str, count: int) -> Iterator[bytes]:
    for entries in _pages(cache, index):
        yield from (key for _, key in entries[:count])
        count -= len(entries)
        if count <= 0:
            return


def _pages(cache: _redb.Snapshot, index: str, prefix: bytes = b"") -> Iterator[list[tuple[bytes, bytes]]]:
    after: bytes | None = None
    while page := cache.scan(index, after, SCAN_ROWS, prefix):
        after = page[-1][0]
        yield [(entry, key) for entry, key, _ in page]
