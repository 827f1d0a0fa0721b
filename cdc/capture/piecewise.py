"""Reads a source in many short moments, where one long one would hold up the application or be cut off.

That is the case for a file in rollback-journal mode, where a commit waits for every reader, and for servers,
which end a stream that was idle. What is read is never older than what was asked for, but later moments may
see more: `PiecewiseReader.newest` says how far.
"""

from __future__ import annotations

import sys
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from cdc.capture import limits
from cdc.capture.errors import CaptureStaleError
from cdc.capture.moments import Moments
from cdc.capture.pieces import Held, PieceRows
from cdc.capture.survey import Survey
from cdc.source import SourceMovedError
from schemas import Op, decode_key
from schemas.errors import SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from cdc.capture.encode import Change, Page
    from cdc.capture.leases import Reader
    from cdc.capture.log import Backlog, LogState
    from cdc.capture.log_rows import LogRow
    from cdc.capture.prune import Keeping
    from cdc.capture.reader import CaptureReader
    from cdc.capture.table import Skipped
    from schemas.definition import TableDefinition


class PiecewiseReader:
    """A `SourceReader` over successive moments, each of which must continue the one before.

    Use as ``async with``. A moment is left before its rows are handed out.

    Args:
        open_moment: see `Moments`.
        tries: likewise; many for those who would have to begin anew, and find room between the commits of a
            busy application.
        moment_seconds: how long one lasts; None: as little as holds up nobody.
        moving: see `Moments`.

    Raises (every method):
        CaptureStaleError: the schema or the log was changed between two moments: begin anew.
    """

    def __init__(
        self,
        open_moment: Callable[[], AbstractAsyncContextManager[CaptureReader]],
        tries: int = 1,
        moment_seconds: float | None = None,
        *,
        moving: bool = False,
    ) -> None:
        seconds = limits.MOMENT_SECONDS if moment_seconds is None else moment_seconds
        self._moments = Moments(open_moment, tries, seconds, moving=moving)
        self._begun: LogState | None = None
        self._settled: LogState | None = None
        self._piece = PieceRows(seconds)

    async def __aenter__(self) -> Self:
        await self._moments.now()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._moments.rest()

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The tables that are not captured, with the reason."""
        return self._known.skipped

    @property
    def newest(self) -> LogState:
        """The log's state at the newest moment that was read."""
        return self._moments.state

    @property
    def settled(self) -> LogState:
        """What the rows that were read are the exact state of, once `catch_up` has ended."""
        if self._settled is None:
            raise RuntimeError("rows read in several moments are of one only after catch_up")
        return self._settled

    @property
    def settings(self) -> int:
        """A digest of what is configured to be published."""
        return self._known.settings

    def known(self) -> frozenset[str]:
        """Give the names of all tables that are or ever were captured."""
        return self._known.known()

    def tables(self) -> dict[str, TableDefinition]:
        """Give the captured tables by name, in order of name."""
        return self._known.tables()

    def check_table(self, name: str) -> None:
        """Refuse a table that is not captured.

        Raises:
            UsageError: it is not.
        """
        self._known.check_table(name)

    async def state(self, prev: int | None = None, exact: int | None = None) -> LogState:
        """Read the log's state, and the nonces of the rows ``prev`` and ``exact``."""
        self._begun = await self._moments.look(prev, exact)
        return self._begun

    async def rest(self) -> None:
        """Leave the moment; the next call begins another one."""
        await self._moments.rest()

    async def changes(
        self, prev: int, high: int, reread: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Page, None]:
        """Give every key touched in (prev, high] with its state, which may be as new as ``newest``.

        Keys come in the order of the log's pieces, so one may come again, in a newer state.

        Raises:
            LogBrokenError: ids are missing in the range.
        """
        self._moments.floor = prev
        if self._moments.newest is not None and prev < self._moments.newest.pruned_to:
            # Between the moment that `prev` is from and this one, which was begun before it mattered.
            raise CaptureStaleError("the change log was pruned between two reads")
        # All tables that are read anew must be known before any touch is read: touches from before a table
        # changed need not fit its key of now.
        anew: dict[int, tuple[int, int]] = {}
        known: Survey | None = None
        low = prev
        if self._moments.moving and high - prev > limits.SURVEY_ROWS:
            # Where the log ends was asked at this one, which the next commit ends.
            await self._moments.rest()
        while low < high:
            top = min(high, low + limits.SURVEY_ROWS)
            moment = await self._moments.now()
            last = top == high
            try:
                known = await (moment.survey(low, top, reread) if last else moment.survey_within(low, top))
            except SourceMovedError as error:
                await self._moments.were_moved(error)
                continue
            self._moments.times_moved = 0
            anew |= known.anew
            low = top
        if high - prev > limits.SURVEY_ROWS:
            known = None
        async for page in self._anew(anew, high):
            yield page
        low = prev
        while low < high:
            top = min(high, low + self._piece.rows)
            pages = await self._touched(low, top, anew, known)
            if pages is None:
                continue
            low = top
            await self._moments.rest()
            for page in pages:
                yield page
        await self._moments.settle()

    async def rows(self, table: str) -> AsyncGenerator[Page, None]:
        """Give every row of a table as op r in the order of its key.

        Raises:
            UsageError: there is no such captured table, or ``key_columns`` do not tell its rows apart.
        """
        high = (self._begun or await self.state()).high
        async for page in self._rows(table, high, strict=True):
            yield page
        await self._moments.settle()

    async def catch_up(self) -> AsyncGenerator[Page, None]:
        """Give what was touched since the last state, again and again until a moment shows all that is left.

        Raises:
            SourceUnavailableError: the source changes faster than it can be read.
        """
        low = self._begun or await self.state()
        left, grown = sys.maxsize, 0
        for _ in range(limits.CATCH_UP_ROUNDS_MAX):
            state = await self._moments.look(low.high)
            if self._moments.moving and low.high > state.pruned_to and not state.continues(low):
                raise CaptureStaleError("the change log was rewritten between two reads")
            before, left = left, state.high - low.high
            grown += left >= before > 0
            if grown > limits.CATCH_UP_GROWTHS_MAX:
                break
            count = self._moments.count
            async with aclosing(self.changes(low.high, state.high)) as pages:
                async for page in pages:
                    if any(change[0] == Op.TRUNCATE for change in page):
                        raise CaptureStaleError("a table was ordered to be read anew during a load")
                    yield page
            low = state
            if count == self._moments.count:
                # A second time it goes on from here.
                self._begun = self._settled = state
                return
        raise SourceUnavailableError("the source changes faster than it can be read", "it is tried again")

    async def backlog(self, prev: int) -> Backlog:
        """Say how long the log is, and how far behind a reader at ``prev`` is."""
        async with self._moments.aside() as moment:
            return await moment.backlog(prev)

    async def is_held_for(self, reader: Reader) -> bool:
        """Say whether a reader has a lease on the log as it is at this moment."""
        async with self._moments.aside() as moment:
            return await moment.is_held_for(reader)

    async def keeping(self) -> Keeping:
        """Say what the log holds, and for whom."""
        async with self._moments.aside() as moment:
            return await moment.keeping()

    async def references(self) -> list[tuple[str, str]]:
        """Give (table, the table that a foreign key of it refers to) of the captured tables."""
        async with self._moments.aside() as moment:
            return await moment.references()

    async def oldest(self, table: str, rows: int) -> AsyncGenerator[Page, None]:
        """Give the oldest of the rows that are kept of a table with ``keep``, of one moment."""
        async for page in self._at_once(lambda moment: moment.oldest(table, rows)):
            yield page
        await self._moments.settle()

    def is_whole(self, table: str) -> bool:
        """Whether readers hold every row of a table."""
        return self._known.is_whole(table)

    async def row(self, table: str, key: bytes) -> Change | None:
        """Give one row by its encoded key as op r; None when there is none."""
        async with self._moments.aside() as moment:
            row = await moment.row(table, key)
        self._moments.read_aside()
        await self._moments.settle()
        return row

    async def pending(self, prev: int) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        """Give (table, key) of whatever `changes` would give from ``prev`` to the end of the log."""
        state = await self._moments.look(prev)
        async with aclosing(self.changes(prev, state.high)) as pages:
            async for page in pages:
                yield [(change[1], change[2]) for change in page if change[0] != Op.READ]

    async def log_rows(self, prev: int) -> AsyncGenerator[list[LogRow], None]:
        """Give the log's rows above ``prev`` as they stand, in order."""
        while True:
            page: list[LogRow] = []
            async with aclosing((await self._moments.now()).log_rows(prev, limits.PIECE_ROWS_FIRST)) as pages:
                async for rows in pages:
                    page += rows
            await self._moments.rest()
            if not page:
                return
            yield page
            prev = page[-1].change_id

    @property
    def _known(self) -> CaptureReader:
        return self._moments.first

    async def _anew(self, anew: dict[int, tuple[int, int]], high: int) -> AsyncGenerator[Page, None]:
        """Give the tables that are read anew, and what follows them."""
        whole: list[str] = []
        for truncated in self._known.truncations(Survey(frozenset(), anew)):
            await self._moments.rest()
            yield [truncated]
            if truncated[4] is not None:
                whole.append(truncated[1])
                async for page in self._rows(truncated[1], high, strict=False):
                    yield page
        if whole:
            async for page in self._at_once(lambda moment: moment.followers(whole, high)):
                yield page

    async def _touched(
        self, low: int, top: int, anew: dict[int, tuple[int, int]], known: Survey | None
    ) -> list[Page] | None:
        """Read a piece of the log's range; None where it is too much for one moment: less is read then.

        ``known``: the survey of all of the range, where one was enough.
        """
        moment = await self._moments.now()
        began = time.monotonic()
        held = Held()
        fewer = max(1, (top - low) // 4)
        try:
            survey = known or Survey((await moment.survey_within(low, top)).touched, anew)
            async with aclosing(moment.piece(low, top, survey)) as found:
                async for page in found:
                    held.add(page)
                    too_large = held.is_full and top - low > 1
                    if too_large or (self._moments.is_over and fewer >= limits.PIECE_ROWS_MIN):
                        self._piece.rows = fewer
                        return None
        except SourceMovedError as error:
            await self._moments.were_moved(error)
            if self._moments.often_moved:
                self._piece.rows = fewer
            return None
        self._moments.times_moved = 0
        self._piece.took(time.monotonic() - began)
        return held.pages

    async def _rows(self, table: str, change_id: int, *, strict: bool) -> AsyncGenerator[Page, None]:
        if not (await self._moments.now()).is_whole(table):
            # Which rows these are is known at one moment only, and they are few.
            async for page in self._at_once(lambda moment: moment.bounded_rows(table, change_id)):
                yield page
            return
        after: bytes | None = None
        wanted = self._piece.rows
        while True:
            moment = await self._moments.now()
            began = time.monotonic()
            held = Held()
            cut = False
            last = None if after is None else decode_key(after)
            found = moment.rows_after(table, last, wanted, change_id, strict=strict)
            try:
                async with aclosing(found) as coming:
                    async for page in coming:
                        held.add(page)
                        enough = held.is_full or self._moments.lasted > self._moments.seconds / 2
                        # A piece that ended with the key it began with would come again and again.
                        cut = enough and page[-1][2] != after
                        if cut:
                            break
                self._moments.times_moved = 0
            except SourceMovedError as error:
                await self._moments.were_moved(error)
                # What came is of one moment all the same.
                cut = bool(held.pages) and held.pages[-1][-1][2] != after
                if not cut:
                    wanted = max(1, wanted // 4) if self._moments.often_moved else wanted
                    continue
            self._piece.took(time.monotonic() - began)
            await self._moments.rest()
            for page in held.pages:
                yield page
            if not held.pages or (held.rows < wanted and not cut):
                return
            newest = held.pages[-1][-1][2]
            # Where keys are not unique a piece begins with the last key of the one before, and all its rows.
            wanted = 2 * wanted if newest == after else self._piece.rows
            after = newest

    async def _at_once(
        self, read: Callable[[CaptureReader], AsyncGenerator[Page, None]]
    ) -> AsyncGenerator[Page, None]:
        """Give pages of one moment, which is left first unless they are too many to be held in memory."""
        while True:
            held = Held()
            begun = False
            try:
                async with aclosing(read(await self._moments.now())) as pages:
                    async for page in pages:
                        held.add(page)
                        if held.is_full:
                            begun = True
                            for one in held.pages:
                                yield one
                            held = Held()
            except SourceMovedError as error:
                if begun:
                    raise
                await self._moments.were_moved(error)
                continue
            self._moments.times_moved = 0
            await self._moments.rest()
            for page in held.pages:
                yield page
            return
