"""Compares a cache with its source, both live: digests of buckets first, keys only where buckets differ.

The cache's state is held first, then the source's, so that the source is never behind. Rows with changes that
the cache has not applied yet are pending, not different. Memory does not grow with the tables: a digest and a
count for each bucket, the keys of a limited number of buckets, and the keys touched since the checkpoint.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Protocol

import msgspec

from consumers import _redb
from consumers.meta import QUARANTINE_TABLE, read_checkpoint, read_definitions
from consumers.verify_bounds import Exempt, exempt_near_bounds
from schemas.errors import CacheCorruptError, CdcError
from schemas.keys import split_record_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from consumers.meta import Checkpoint
    from schemas.definition import TableDefinition

BUCKETS = 4096
"""Buckets of a table, by the CRC-32 of the key."""

DIFFERENCES_MAX = 10_000
"""Keys that are listed of one table; what differs beyond is only said to be there."""

SUSPECT_ROWS_MAX = 200_000
"""Rows of differing buckets that are compared key by key."""

PENDING_MAX = 1_000_000
"""Keys with changes that the cache has not applied; they are held in memory."""

DAMAGED = b""
"""Stands for the content of a row whose check fails."""

SCAN_ROWS = 2_000
SCAN_BYTES_MAX = 4 * 1024 * 1024


class SourceView(Protocol):
    """The source at one moment, as verify reads it."""

    def tables(self) -> Mapping[str, TableDefinition]:
        """The captured tables."""
        ...

    async def relations(self) -> list[tuple[str, str]]:
        """(table, the table that its rows refer to), for the checks on related tables."""
        ...

    def rows(self, table: str) -> AsyncIterator[Iterable[tuple[bytes, bytes | None]]]:
        """Every row of a table that has to be cached: its encoded key, and the row (None: unpublishable)."""
        ...

    def oldest(self, table: str, rows: int) -> AsyncIterator[Iterable[bytes]]:
        """The encoded keys of the oldest rows that are kept of a table with ``keep``."""
        ...

    def pending(self, after: int) -> AsyncIterator[Iterable[tuple[str, bytes]]]:
        """(table, key) touched after a change id; an empty key for a whole table."""
        ...


class TableReport(msgspec.Struct):
    """What differs in one table. Keys are encoded; ``more``: there is more than is listed.

    ``quarantined`` are the source's rows under quarantined keys, and keys whose rows are gone there.
    """

    source_rows: int = 0
    cache_rows: int = 0
    missing: list[bytes] = msgspec.field(default_factory=list)
    unexpected: list[bytes] = msgspec.field(default_factory=list)
    different: list[bytes] = msgspec.field(default_factory=list)
    pending: int = 0
    quarantined: int = 0
    more: bool = False
    newest: bool = True
    """Whether the last row by key is there."""

    @property
    def counts(self) -> bool:
        """Whether the numbers of rows fit together."""
        return bool(self.pending) or self.source_rows == self.cache_rows + self.quarantined

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.unexpected or self.different or self.more)


def checks_of(reports: Mapping[str, TableReport], relations: Iterable[tuple[str, str]]) -> dict[str, bool]:
    """What an application would check after a load, from what was compared row by row."""
    related = [(child, parent) for child, parent in relations if child in reports and parent in reports]
    return {
        "row_counts": all(report.counts for report in reports.values()),
        "newest_rows": all(report.newest for report in reports.values()),
        # As many of either side as at the source: then they belong together as they do there.
        "related_counts": all(reports[child].counts and reports[parent].counts for child, parent in related),
        # A row refers to one that is missing here, or is here although it is gone there.
        "no_orphans": not any(
            reports[parent].missing or reports[parent].more or reports[child].unexpected
            for child, parent in related
        ),
    }


class _Buckets:
    """Order-independent digests of rows, by bucket."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.sums = [0] * BUCKETS
        self.rows = 0

    def add(self, key: bytes, row: bytes) -> None:
        bucket = zlib.crc32(key) % BUCKETS
        self.counts[bucket] += 1
        self.sums[bucket] += int.from_bytes(row_digest(key, row))

    def differing(self, other: _Buckets) -> list[int]:
        return [
            bucket
            for bucket in range(BUCKETS)
            if self.counts[bucket] != other.counts[bucket] or self.sums[bucket] != other.sums[bucket]
        ]


def row_digest(key: bytes, row: bytes) -> bytes:
    """A digest of a key and its row, 8 bytes."""
    digest = hashlib.blake2b(len(key).to_bytes(4), digest_size=8)
    digest.update(key)
    digest.update(row)
    return digest.digest()


class Verification:
    """Compares one state of a cache with one state of its source.

    Args:
        cache: the held state of the cache, taken before the source's.
    """

    def __init__(self, cache: _redb.Snapshot) -> None:
        self._cache = cache
        meta = cache.meta()
        self.checkpoint: Checkpoint | None = read_checkpoint(meta)
        self.definitions = read_definitions(meta)

    async def compare(self, source: SourceView) -> dict[str, TableReport]:
        """Returns a report for every table of either side.

        Raises:
            CdcError: the cache was never loaded, or rows in it may be newer than its position.
        """
        checkpoint = self.checkpoint
        if checkpoint is None:
            raise CdcError("the cache was never loaded", "run: cdc sync, or cdc consume")
        if not checkpoint.exact:
            raise CdcError("the cache is still catching up with its first load", "verify again in a moment")
        defined = source.tables()
        for table in defined.keys() & self.definitions.keys():
            if defined[table].settings != self.definitions[table].settings:
                raise CdcError(
                    f'the cache holds table "{table}" by other settings than the [tables] given here',
                    "give those of the poller; if these are newer, bring the cache up to date first",
                )
        exempt = await self._exempt(source, checkpoint.change_id)
        both = {table: self.definitions[table] for table in self.definitions if table in defined}
        await exempt_near_bounds(exempt, self._cache, source, both)
        reports: dict[str, TableReport] = {}
        for table in sorted(set(defined) | set(self.definitions)):
            found = exempt.get(table, Exempt())
            if table in defined:
                reports[table] = await self._compare_table(source, table, found)
            elif not found.whole:
                reports[table] = self._unexpected_table(table)
        return reports

    async def _exempt(self, source: SourceView, after: int) -> dict[str, Exempt]:
        exempt: dict[str, Exempt] = {}
        touches = 0
        async for touched in source.pending(after):
            for table, key in touched:
                touches += 1
                entry = exempt.setdefault(table, Exempt())
                if key:
                    entry.pending.add(key)
                else:
                    entry.whole = True
            if touches > PENDING_MAX:
                raise CdcError("the cache is too far behind to be compared", "let it catch up: cdc status")
        for page in _scan(self._cache, QUARANTINE_TABLE):
            for name, _ in page:
                table, key = split_record_key(name)
                exempt.setdefault(table, Exempt()).quarantined.add(key)
        return exempt

    async def _compare_table(  # noqa: C901 -- one pass over both sides
        self, source: SourceView, table: str, exempt: Exempt
    ) -> TableReport:
        report = TableReport(pending=len(exempt.pending), quarantined=len(exempt.quarantined))
        theirs, ours = _Buckets(), _Buckets()
        met: set[bytes] = set()
        newest: bytes | None = None
        async for rows in source.rows(table):
            for key, row in rows:
                report.source_rows += 1
                if key in exempt.quarantined:
                    # Several rows may have one key, if it holds NULL: there is one mark for all of them.
                    report.quarantined += key in met
                    met.add(key)
                elif row is not None and key not in exempt:
                    theirs.add(key, row)
                    newest = key
        for page in _scan(self._cache, table):
            for key, row in page:
                report.cache_rows += 1
                if key not in exempt:
                    ours.add(key, row)
        if exempt.whole:
            report.pending = max(report.source_rows, report.cache_rows)
            return report
        differing = theirs.differing(ours)
        if newest is not None and differing:
            report.newest = _has(self._cache, table, newest)
        if differing:
            await self._compare_keys(
                source, table, exempt, report, _suspects(theirs, ours, differing, report)
            )
        return report

    async def _compare_keys(
        self, source: SourceView, table: str, exempt: Exempt, report: TableReport, suspects: frozenset[int]
    ) -> None:
        unseen: dict[bytes, bytes] = {}
        for page in _scan(self._cache, table):
            for key, row in page:
                if zlib.crc32(key) % BUCKETS in suspects and key not in exempt:
                    unseen[key] = row_digest(key, row)
        async for rows in source.rows(table):
            for key, row in rows:
                if row is None or zlib.crc32(key) % BUCKETS not in suspects or key in exempt:
                    continue
                digest = unseen.pop(key, None)
                if digest is None:
                    _list(report, report.missing, key)
                elif digest != row_digest(key, row):
                    _list(report, report.different, key)
        for key in unseen:
            _list(report, report.unexpected, key)

    def _unexpected_table(self, table: str) -> TableReport:
        report = TableReport()
        for page in _scan(self._cache, table):
            for key, _ in page:
                report.cache_rows += 1
                _list(report, report.unexpected, key)
        # A table that the source does not have differs even when it is empty.
        report.more = report.more or not report.cache_rows
        return report


def _suspects(theirs: _Buckets, ours: _Buckets, differing: list[int], report: TableReport) -> frozenset[int]:
    """As many of the differing buckets as may be compared key by key."""
    chosen: list[int] = []
    rows = 0
    for bucket in differing:
        rows += max(theirs.counts[bucket], ours.counts[bucket])
        if chosen and rows > SUSPECT_ROWS_MAX:
            report.more = True
            break
        chosen.append(bucket)
    return frozenset(chosen)


def _list(report: TableReport, keys: list[bytes], key: bytes) -> None:
    if len(keys) < DIFFERENCES_MAX:
        keys.append(key)
    else:
        report.more = True


def _has(snapshot: _redb.Snapshot, table: str, key: bytes) -> bool:
    try:
        return snapshot.get(table, key) is not None
    except _redb.DamagedRowError:
        return False


def _scan(snapshot: _redb.Snapshot, table: str) -> Iterator[list[tuple[bytes, bytes]]]:
    """All rows in key order; a damaged one comes as `DAMAGED`, which no row is equal to.

    Raises:
        CacheCorruptError: keys are out of order, so that rows cannot be told apart any more.
    """
    after: bytes | None = None
    damaged: bytes | None = None
    while True:
        try:
            page = snapshot.scan(
                table, after=after, before=damaged, limit=SCAN_ROWS, bytes_max=SCAN_BYTES_MAX
            )
        except _redb.DamagedRowError as error:
            if damaged is not None or table.startswith("_cdc_") or (after is not None and error.key <= after):
                raise CacheCorruptError(
                    f"table {table!r} of the cache is damaged beyond single rows", "run: cdc rebuild"
                ) from error
            # The rows before it first.
            damaged = error.key
            continue
        if page:
            after = page[-1][0]
            yield [(key, row) for key, row, _ in page]
        elif damaged is not None:
            yield [(damaged, DAMAGED)]
            after, damaged = damaged, None
        else:
            return
