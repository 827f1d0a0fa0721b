"""Compares a cache with its source, both live: digests of buckets first, keys only where buckets differ.

The cache's state is held first, then the source's, so that the source is never behind. Rows with changes that
the cache has not applied yet are pending, not different. Memory does not grow with the tables: a digest and a
count for each bucket, the keys of a limited number of buckets, and the keys touched since the checkpoint.

A source that is read in several moments may show rows that are newer than those before. What was touched
meanwhile is looked up after its table was read, and is pending too: any other row was the same all along.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from consumers import _redb
from consumers.meta import QUARANTINE_TABLE, read_checkpoint, read_definitions
from consumers.verify_bounds import Exempt, exempt_near_bounds
from consumers.verify_buckets import Buckets, bucket_of, row_digest, suspects
from consumers.verify_report import DIFFERENCES_MAX, TableReport
from schemas.errors import CacheCorruptError, CdcError
from schemas.keys import split_record_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Iterable, Iterator, Mapping

    from consumers.meta import Checkpoint
    from schemas.definition import TableDefinition

PENDING_MAX = 1_000_000
"""Keys with changes that the cache has not applied; they are held in memory."""

_OTHER_SETTINGS = "give those of the poller; if these are newer, bring the cache up to date first"

DAMAGED = b""
"""Stands for the content of a row whose check fails."""

SCAN_ROWS = 2_000
SCAN_BYTES_MAX = 4 * 1024 * 1024


class SourceView(Protocol):
    """The source at one moment, or in several successive ones, as verify reads it."""

    @property
    def exact_at(self) -> int:
        """The log's end at the newest moment that was read."""
        ...

    def is_whole(self, table: str) -> bool:
        """Whether the cache holds every row of a table, not only the newest, or those that follow others."""
        ...

    @property
    def settings(self) -> int:
        """A digest of what is configured to be published."""
        ...

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
        self._exempt: dict[str, Exempt] = {}
        self._touches = 0
        self._began_at = self._seen_to = -1

    async def compare(self, source: SourceView, only: Container[str] | None = None) -> dict[str, TableReport]:
        """Returns a report for every table of either side, or for some of them.

        Raises:
            CdcError: the cache was never loaded, or rows in it may be newer than its position.
        """
        checkpoint = self.checkpoint
        if checkpoint is None:
            raise CdcError("the cache was never loaded", "run: cdc sync, or cdc consume")
        if not checkpoint.exact:
            raise CdcError(
                "the cache is catching up: some of its rows are newer than its position",
                "verify again in a moment",
            )
        defined = source.tables()
        self._refuse_other_settings(source, checkpoint)
        exempt = self._exempt = dict[str, Exempt]()
        self._touches = 0
        self._seen_to = checkpoint.change_id
        self._began_at = source.exact_at
        await self._see_touched(source)
        self._see_quarantined()
        both = {table: self.definitions[table] for table in self.definitions if table in defined}
        await exempt_near_bounds(exempt, self._cache, source, both)
        reports: dict[str, TableReport] = {}
        for table in sorted(set(defined) | set(self.definitions)):
            found = exempt.setdefault(table, Exempt())
            if only is not None and table not in only:
                continue
            if table in defined:
                reports[table] = await self._compare_table(source, table, found)
            elif not found.whole:
                reports[table] = self._unexpected_table(table)
        return reports

    def undecided(self, source: SourceView, reports: Mapping[str, TableReport]) -> set[str]:
        """Which tables must be compared at one moment after all: which rows they have to hold was moving."""
        checkpoint = self.checkpoint
        if checkpoint is None or source.exact_at == self._began_at:
            return set()
        return {
            table
            for table, report in reports.items()
            if table in source.tables()
            and not source.is_whole(table)
            and not (report.equal and report.counts)
        }

    def _refuse_other_settings(self, source: SourceView, checkpoint: Checkpoint) -> None:
        defined = source.tables()
        for table in defined.keys() & self.definitions.keys():
            if defined[table].settings != self.definitions[table].settings:
                raise CdcError(
                    f'the cache holds table "{table}" by other settings than the [tables] given here',
                    _OTHER_SETTINGS,
                )
        if checkpoint.settings != source.settings:
            # Where settings are the same, a table that only one of them has joined or left just now.
            for table in sorted(defined.keys() ^ self.definitions.keys()):
                holds = "leaves out" if table in defined else "holds"
                raise CdcError(
                    f'the cache {holds} table "{table}", by other settings than those given here '
                    "(source.tables, key_columns)",
                    _OTHER_SETTINGS,
                )

    async def _see_touched(self, source: SourceView) -> bool:
        """Adds what was touched by the newest moment; says whether there was a newer one."""
        exempt, upto = self._exempt, source.exact_at
        if upto == self._seen_to:
            return False
        async for touched in source.pending(self._seen_to):
            for table, key in touched:
                self._touches += 1
                entry = exempt.setdefault(table, Exempt())
                if key:
                    entry.pending.add(key)
                else:
                    entry.whole = True
            if self._touches > PENDING_MAX:
                raise CdcError("the cache is too far behind to be compared", "let it catch up: cdc status")
        # What came while they were read may be looked at twice.
        self._seen_to = upto
        return True

    def _see_quarantined(self) -> None:
        exempt = self._exempt
        for page in _scan(self._cache, QUARANTINE_TABLE):
            for name, _ in page:
                table, key = split_record_key(name)
                exempt.setdefault(table, Exempt()).quarantined.add(key)

    async def _compare_table(self, source: SourceView, table: str, exempt: Exempt) -> TableReport:
        report = TableReport(quarantined=len(exempt.quarantined))
        theirs, ours, newest = await self._digest(source, table, exempt, report)
        differing = theirs.differing(ours)
        suspicious = bool(differing)
        moving = await self._see_touched(source)
        while differing and not exempt.whole:
            chosen = suspects(theirs, ours, differing)
            await self._compare_keys(source, table, exempt, report, frozenset(chosen))
            differing = differing[len(chosen) :]
            moving = await self._see_touched(source) or moving
            report.leave_out(exempt)
            # Where nothing was touched meanwhile, every one of the other buckets differs, too.
            if differing and (not moving or report.listed > DIFFERENCES_MAX):
                report.more = True
                break
        if exempt.whole:
            rows = max(report.source_rows, report.cache_rows)
            return TableReport(
                report.source_rows, report.cache_rows, pending=rows, quarantined=report.quarantined
            )
        report.pending = len(exempt.pending)
        report.cut()
        last = next((key for key in reversed(newest) if key not in exempt), None)
        if last is not None and suspicious:
            report.newest = _has(self._cache, table, last)
        return report

    async def _digest(
        self, source: SourceView, table: str, exempt: Exempt, report: TableReport
    ) -> tuple[Buckets, Buckets, deque[bytes]]:
        """One pass over both sides: their buckets, and the last keys of the source's."""
        theirs, ours = Buckets(), Buckets()
        met: set[bytes] = set()
        newest = deque[bytes](maxlen=SCAN_ROWS)
        async for rows in source.rows(table):
            for key, row in rows:
                report.source_rows += 1
                if key in exempt.quarantined:
                    # Several rows may have one key, if it holds NULL: there is one mark for all of them.
                    report.quarantined += key in met
                    met.add(key)
                elif row is not None and key not in exempt:
                    theirs.add(key, row)
                    newest.append(key)
        for page in _scan(self._cache, table):
            for key, row in page:
                report.cache_rows += 1
                if key not in exempt:
                    ours.add(key, row)
        return theirs, ours, newest

    async def _compare_keys(
        self, source: SourceView, table: str, exempt: Exempt, report: TableReport, chosen: frozenset[int]
    ) -> None:
        unseen: dict[bytes, bytes] = {}
        for page in _scan(self._cache, table):
            for key, row in page:
                if bucket_of(key) in chosen and key not in exempt:
                    unseen[key] = row_digest(key, row)
        async for rows in source.rows(table):
            for key, row in rows:
                if row is None or bucket_of(key) not in chosen or key in exempt:
                    continue
                digest = unseen.pop(key, None)
                if digest is None:
                    report.missing.append(key)
                elif digest != row_digest(key, row):
                    report.different.append(key)
        report.unexpected.extend(unseen)

    def _unexpected_table(self, table: str) -> TableReport:
        report = TableReport()
        for page in _scan(self._cache, table):
            for key, _ in page:
                report.cache_rows += 1
                if len(report.unexpected) <= DIFFERENCES_MAX:
                    report.unexpected.append(key)
        report.cut()
        # A table that the source does not have differs even when it is empty.
        report.more = report.more or not report.cache_rows
        return report


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
