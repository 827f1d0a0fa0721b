"""Reads the log and the captured tables in one read transaction."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from cdc.capture import queries
from cdc.capture.bounded import Carried, Newest, Refill, Touched, Whole, cached, table_of
from cdc.capture.bounded_sql import limit_of, rows_of
from cdc.capture.encode import ReadEncoder, TouchedEncoder, truncation
from cdc.capture.introspect import read_references
from cdc.capture.leases import is_held
from cdc.capture.log import read_backlog, read_state
from cdc.capture.log_rows import LOG_ROWS_SQL, LogRowEncoder
from cdc.capture.prune import read_keeping
from cdc.capture.survey import Survey, surveyed
from cdc.identifiers import LOG
from cdc.source import Statement
from schemas import Op, decode_key, encode_definition, encode_key
from schemas.errors import UsageError
from schemas.order import place

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from cdc.capture.bounded import Query
    from cdc.capture.encode import Change, Page
    from cdc.capture.install import Registered
    from cdc.capture.leases import Reader
    from cdc.capture.log import Backlog, LogState
    from cdc.capture.log_rows import LogRow
    from cdc.capture.prune import Keeping
    from cdc.capture.select import Selected
    from cdc.capture.table import Skipped, Table
    from cdc.source import Row, Transaction
    from schemas.definition import TableDefinition
    from schemas.values import Value


_RANGE_SQL: Final = (
    f"SELECT tbl, count(*), max(CASE WHEN op = 't' THEN change_id END), max(ts) FROM {LOG} "
    "WHERE change_id > ? AND change_id <= ? GROUP BY tbl"
)
# Beyond the range too: the touches of a table before it changed need not fit its key of now.
_LATER_SQL: Final = (
    f"SELECT tbl, max(change_id), max(ts) FROM {LOG} WHERE change_id > ? AND op = 't' GROUP BY tbl"
)


_NO_END: Final = 2**63 - 1
"""In place of the log's end: no change id is above it."""


class CaptureReader:
    """The source at one moment. Made by `Capture.reading`, good as long as that lasts."""

    def __init__(
        self,
        transaction: Transaction,
        schema_version: int,
        selected: Selected,
        registered: tuple[Registered, ...],
        ranged: frozenset[str],
        settings: int = 0,
        *,
        moves: bool = False,
    ) -> None:
        self._transaction = transaction
        # Others can end the moment by a commit (`Client.reads_move`).
        self._moves = moves
        self._assumed = False
        self._schema_version = schema_version
        self._tables = selected.tables
        self._registered = {entry.id: entry.name for entry in registered}
        self._skipped = selected.skipped
        self._ranged = ranged
        self.settings = settings
        """A digest of what is configured to be published."""
        self._state: LogState | None = None

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The tables that are not captured, with the reason."""
        return self._skipped

    def tables(self) -> dict[str, TableDefinition]:
        """Give the captured tables by name, in order of name."""
        return {name: table.definition(self._schema_version) for name, table in self._tables.items()}

    def check_table(self, name: str) -> None:
        """Refuse a table that is not captured.

        Raises:
            UsageError: it is not.
        """
        self._table(name)

    def known(self) -> frozenset[str]:
        """Give the names of all tables that are or ever were captured."""
        return frozenset(self._registered.values())

    async def references(self) -> list[tuple[str, str]]:
        """Give (table, the table that a foreign key of it refers to) of the captured tables."""
        return await read_references(self._transaction, self._tables)

    @property
    def newest(self) -> LogState:
        """The log's state: everything that is read is of this moment."""
        return self.settled

    @property
    def settled(self) -> LogState:
        """The log's state as it was read: that of this moment."""
        if self._state is None:
            raise RuntimeError("the log's state is read first")
        return self._state

    def agrees_with(self, other: CaptureReader) -> bool:
        """Whether the same tables are captured in the same way."""
        return self._tables == other._tables and self._registered == other._registered

    async def state(
        self, prev: int | None = None, exact: int | None = None, *, alone: bool = False
    ) -> LogState:
        """Read the log's state, and the nonces of the rows ``prev`` and ``exact``.

        ``alone``: nothing else is read at this moment.
        """
        if self._moves and prev is not None and not alone:
            self._transaction.ahead([Statement(_RANGE_SQL, (prev, _NO_END))], self._touched_after(prev))
        self._state = await read_state(self._transaction, prev, exact)
        self._assumed = False
        return self._state

    def assume(self, state: LogState) -> None:
        """Take the log's state from a moment a little earlier, so that commits do not end this one."""
        self._state = state
        self._assumed = True

    def ask_again(self, asked: Sequence[Statement]) -> None:
        """Have all that a moment was asked which others ended come at once, if it is asked again."""
        self._transaction.ahead(asked, ())

    async def rest(self) -> None:
        """Do nothing: this moment lasts until it is left."""

    async def backlog(self, prev: int) -> Backlog:
        """Say how long the log is, and how far behind a reader at ``prev`` is."""
        return await read_backlog(self._transaction, prev)

    async def is_held_for(self, reader: Reader) -> bool:
        """Say whether a reader has a lease on the log as it is at this moment."""
        return await is_held(self._transaction, reader)

    async def keeping(self) -> Keeping:
        """Say what the log holds, and for whom."""
        return await read_keeping(self._transaction)

    async def changes(
        self, prev: int, high: int, reread: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Page, None]:
        """Give the state, at this moment, of every key touched in (prev, high], by table and key.

        A table with a row of op t after ``prev``, or named in ``reread``, comes as op t and then all its rows
        as op r. So do rows of bounded tables that readers lack, and have to hold now (`cdc.capture.bounded`).
        Changes carry the highest change id of their key in the range; rows read anew carry ``high``.

        Raises:
            LogBrokenError: ids are missing in the range (a reader below ``pruned_to`` must not ask).
        """
        survey = await self.survey(prev, high, reread)
        carried = Carried(self._tables)
        for name, table_id in self._in_order(survey.touched | set(survey.anew)):
            table = self._tables.get(name)
            if table_id in survey.anew:
                yield [self.truncation(table_id, survey)]
                if table is not None:
                    carried.whole(table)
                    async for page in self._all(table, high, refuse_duplicates=False):
                        yield page
            elif table is not None:
                async for page in self._touched(Touched(table, table_id, prev, high), carried):
                    yield page
        async for page in self._followers(carried, high):
            yield page

    async def survey(self, low: int, top: int, reread: frozenset[str] = frozenset()) -> Survey:
        """Say which tables the log speaks of in (low, top], and which are read anew: ``reread`` in any case.

        Raises:
            LogBrokenError: ids are missing in the range.
        """
        asked = [Statement(_RANGE_SQL, (low, self._until(top)))]
        if self._until(top) != _NO_END:
            asked.append(Statement(_LATER_SQL, (top,)))
        touched, *further = [result.rows for result in await self._transaction.batch(asked)]
        later = [row for rows in further for row in rows]
        within = surveyed(low, top, touched)
        anew = {one: (top, _now_ms()) for one, name in self._registered.items() if name in reread}
        anew |= within.anew | {row[0]: (row[1], row[2]) for row in later}
        return Survey(within.touched, anew)

    async def survey_within(self, low: int, top: int) -> Survey:
        """Say the same of a part of a range, without a look at what follows: that takes time by its length.

        Raises:
            LogBrokenError: ids are missing in it.
        """
        return surveyed(low, top, (await self._transaction.execute(_RANGE_SQL, (low, top))).rows)

    def truncations(self, survey: Survey) -> list[Change]:
        """Give op t for every table that is read anew; its row is the definition, None where it left."""
        return [self.truncation(table_id, survey) for _, table_id in self._in_order(survey.anew)]

    def truncation(self, table_id: int, survey: Survey) -> Change:
        """Give op t for one of them."""
        name = self._registered[table_id]
        definition = self._encoded_definition(self._tables.get(name))
        return truncation(name, definition, *survey.anew[table_id])

    async def piece(self, low: int, top: int, survey: Survey) -> AsyncGenerator[Page, None]:
        """Give `changes` of a part of a range, as of this later moment; tables read anew are left out."""
        carried = Carried(self._tables)
        # Whatever else was touched by now is not counted with this part's keys, and may have made room too.
        refilled = self._assumed or top < self.settled.high
        for name, table_id in self._in_order(survey.touched - set(survey.anew)):
            table = self._tables.get(name)
            if table is not None:
                touched = Touched(table, table_id, low, top)
                async for page in self._touched(touched, carried, refilled=refilled):
                    yield page
        async for page in self._followers(carried, top):
            yield page

    async def followers(self, tables: Iterable[str], high: int) -> AsyncGenerator[Page, None]:
        """Give the rows that follow those of tables which are read anew."""
        carried = Carried(self._tables)
        for name in tables:
            carried.whole(self._tables[name])
        async for page in self._followers(carried, high):
            yield page

    def bounded_rows(self, table: str, change_id: int) -> AsyncGenerator[Page, None]:
        """Give the rows of a table that readers hold, at this moment."""
        return self._all(self._table(table), change_id, refuse_duplicates=False)

    def is_whole(self, table: str) -> bool:
        """Whether readers hold every row of a table."""
        return isinstance(cached(self._table(table), self._tables), Whole)

    async def rows_after(
        self, table: str, after: tuple[Value, ...] | None, limit: int, change_id: int, *, strict: bool
    ) -> AsyncGenerator[Page, None]:
        """Give the next rows of a table in the order of its key, ``limit`` of them if there are so many.

        Args:
            table: its name.
            after: the key of the last row so far, None to begin. Where keys are not unique, it comes again.
            limit: a number of rows.
            change_id: what they are stamped with.
            strict: several rows with one key are an error.
        """
        found = self._table(table)
        wanted = limit
        for condition, args in queries.steps_after(found, after):
            encoder = ReadEncoder(found, change_id, _now_ms(), refuse_duplicates=strict)
            sql = queries.select_some(found, condition)
            async for page in self._transaction.pages(sql, (*args, wanted), encoder):
                wanted -= len(page)
                yield page
            if wanted <= 0:
                return

    async def rows(self, table: str) -> AsyncGenerator[Page, None]:
        """Give the rows of a table as op r in the order of its key; they carry the log's highest id.

        They are all rows, or those of a bounded table that readers hold.

        Raises:
            UsageError: there is no such captured table, or ``key_columns`` do not tell its rows apart.
        """
        found = self._table(table)
        high = (await self.state()).high
        async for page in self._all(found, high, refuse_duplicates=True):
            yield page

    async def catch_up(self) -> AsyncGenerator[Page, None]:
        """Give nothing: all rows are of this moment."""
        return
        yield

    async def oldest(self, table: str, rows: int) -> AsyncGenerator[Page, None]:
        """Give the oldest of the rows that are kept of a table with ``keep``, at most so many, as op r.

        Raises:
            UsageError: there is no such captured table.
        """
        found = self._table(table)
        keep = found.settings.keep or 0
        async for page in self._query(Newest(found, min(rows, keep), keep - min(rows, keep)), 0):
            yield page

    async def row(self, table: str, key: bytes) -> Change | None:
        """Give one row by its encoded key as op r; None when there is none.

        Raises:
            UsageError: there is no such captured table, or the key has another number of values.
        """
        found = self._table(table)
        values = decode_key(key)
        if len(values) != len(found.key):
            raise UsageError(
                f'a key of table "{table}" has {len(found.key)} values, not {len(values)}',
                "give one for each of " + ", ".join(found.key_names),
            )
        high = (await self.state()).high
        rows = (await self._transaction.execute(queries.select_by_key(found, values), values)).rows
        changes, _ = ReadEncoder(found, high, _now_ms())(rows)
        # Several rows of one key, where nothing keeps them apart: the last is marked as such.
        return next((change for change in reversed(changes) if change[2] == key), None)

    async def pending(self, prev: int) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        """Give (table, key) of whatever `changes` would give from ``prev`` to the end of the log.

        The key is empty for a whole table that would be read anew.
        """
        async for page in self.changes(prev, (await self.state()).high):
            yield [(change[1], change[2]) for change in page if change[0] != Op.READ]

    async def log_rows(self, prev: int, rows_max: int = -1) -> AsyncGenerator[list[LogRow], None]:
        """Give the log's rows above ``prev`` as they stand, in order; at most so many, unless below 0."""
        widths = {
            entry: len(self._tables[name].key)
            for entry, name in self._registered.items()
            if name in self._tables
        }
        encode = LogRowEncoder(self._registered, widths)
        async for page in self._transaction.pages(LOG_ROWS_SQL, (prev, rows_max), encode):
            yield page

    async def _followers(self, carried: Carried, high: int) -> AsyncGenerator[Page, None]:
        for following in carried.followers():
            async for page in self._query(following, high):
                yield page

    async def _touched(
        self, touched: Touched, carried: Carried, *, refilled: bool = False
    ) -> AsyncGenerator[Page, None]:
        """Give the touched rows of a table, and those that may take the place of some of them.

        ``refilled``: of a table with ``keep``, give all the newest rows.
        """
        table = touched.table
        refill = None if table.settings.keep is None else Refill(table, await self._limit(table))
        sql = queries.select_touched(table, ranged=table.name in self._ranged)
        args = (touched.prev, self._until(touched.high), touched.table_id)
        async for page in self._transaction.pages(sql, args, TouchedEncoder(table)):
            if refill is not None:
                refill.see(page)
            yield page
        newest = None if refill is None else refill.query()
        if refilled and table.settings.keep is not None:
            newest = Newest(table, table.settings.keep)
        carried.touched(touched, newest)
        if newest is not None:
            async for page in self._query(newest, touched.high):
                yield page

    def _until(self, top: int) -> int:
        """Give what to read a range of the log up to: where it ends anyway what was asked ahead."""
        ends = self._moves and not self._assumed and self._state is not None and top == self._state.high
        return _NO_END if ends else top

    def _touched_after(self, prev: int) -> list[Statement]:
        return [
            Statement(
                queries.select_touched(self._tables[name], ranged=name in self._ranged),
                (prev, _NO_END, table_id),
            )
            for table_id, name in self._registered.items()
            if name in self._tables
        ]

    def _in_order(self, ids: Iterable[int]) -> list[tuple[str, int]]:
        return sorted((self._registered[one], one) for one in ids if one in self._registered)

    def _all(self, table: Table, change_id: int, *, refuse_duplicates: bool) -> AsyncGenerator[Page, None]:
        encoder = ReadEncoder(table, change_id, _now_ms(), refuse_duplicates=refuse_duplicates)
        sql, args = _select_cached(table, self._tables)
        return self._transaction.pages(sql, args, encoder)

    def _query(self, query: Query, change_id: int) -> AsyncGenerator[Page, None]:
        """Give the rows of a query that readers may lack."""
        sql, args = rows_of(query)
        encoder = ReadEncoder(table_of(query), change_id, _now_ms())
        return self._transaction.pages(sql, args, encoder)

    async def _limit(self, table: Table) -> bytes | None:
        """Give the place of the oldest row of a table that is kept; None where all are."""

        def places(rows: list[Row]) -> tuple[list[bytes], int]:
            return [place(value, encode_key(key)) for value, *key in rows], 0

        sql, args = limit_of(table)
        # In pages, since any value may decide: only they have every one of them exactly.
        found = [one async for page in self._transaction.pages(sql, args, places) for one in page]
        return found[0] if found else None

    def _encoded_definition(self, table: Table | None) -> bytes | None:
        return None if table is None else encode_definition(table.definition(self._schema_version))

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            raise UsageError(f'table "{name}" is not captured', "see `cdc status` for those that are")
        return self._tables[name]


def _select_cached(table: Table, tables: dict[str, Table]) -> tuple[str, tuple[int, ...]]:
    query = cached(table, tables)
    return (queries.select_all(table), ()) if isinstance(query, Whole) else rows_of(query)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
