"""A `Client` of a server: transactions over streams, queries in windows and in the exact form."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from cdc.source.client import ResultSet, Statement
from cdc.source.limits import PAGE_BYTES_MAX, PAGE_ROWS_MAX, PART_ROWS_MAX
from cdc.source.remote_errors import TooLargeError
from cdc.source.remote_limits import (
    RESPONSE_BYTES_TARGET,
    WINDOW_GROWTH_MAX,
    WINDOW_ROWS_FIRST,
    WINDOW_ROWS_MAX,
)
from cdc.source.remote_sql import (
    exact,
    exact_window,
    is_query,
    names_its_columns,
    nothing_of,
    without_numbers,
)
from cdc.source.stream import BEGIN_READ, BEGIN_WRITE
from schemas.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Sequence

    from cdc.source.client import Encode, Row
    from cdc.source.remote_sql import Form
    from cdc.source.stream import Stream, Streams
    from schemas.values import Value

T = TypeVar("T")

_REMEMBERED_MAX: Final = 1024
"""Queries whose columns are remembered."""


class RemoteClient:
    """A `Client` over the streams of a server."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._columns: dict[str, tuple[str, ...]] = {}

    @property
    def url(self) -> str:
        """Host, port and path, without scheme and credentials."""
        return self._streams.shown

    @property
    def short_reads(self) -> bool:
        """Servers end a stream that was idle, and with it whatever was read half."""
        return True

    @property
    def reads_block(self) -> bool:
        """Servers keep a WAL."""
        return False

    @property
    def reads_move(self) -> bool:
        """Where all clients of a server share one connection."""
        return self._streams.reads_move

    @property
    def tells_of_commits(self) -> bool:
        """Not every server does."""
        return False

    async def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement in a transaction of its own."""
        if is_query(sql):
            async with self.reading() as transaction:
                return await transaction.execute(sql, args)
        return (await _in_one_answer(self._streams.run_alone([Statement(sql, tuple(args))])))[0]

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run several in one write transaction: all of them or none."""
        if len(statements) == 1:
            async with self.writing() as transaction:
                return await transaction.batch(statements)
        return await _in_one_answer(self._streams.run_alone(statements)) if statements else []

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[RemoteTransaction, None]:
        """Open one read transaction; it begins with its first statement."""
        stream = self._streams.stream(BEGIN_READ)
        try:
            yield RemoteTransaction(stream, self._columns, self._streams.form)
        finally:
            stream.abandon()

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[RemoteTransaction, None]:
        """Open one write transaction; commit it, or roll it back after an exception."""
        stream = self._streams.stream(BEGIN_WRITE)
        try:
            yield RemoteTransaction(stream, self._columns, self._streams.form)
            await _in_one_answer(stream.commit())
        finally:
            stream.abandon()

    async def data_changed(self) -> bool:
        """Say whether anything may have been committed since the last call; True on the first."""
        return await self._streams.changed()

    async def close(self) -> None:
        """Give everything back."""
        await self._streams.close()


class RemoteTransaction:
    """One transaction on one stream; see `cdc.source.client.Transaction`.

    Args:
        stream: runs its statements.
        columns: what columns queries have that were asked before, by their SQL.
        form: in which the stream gives values exactly.
    """

    def __init__(self, stream: Stream, columns: dict[str, tuple[str, ...]], form: Form) -> None:
        self._stream = stream
        self._form = form
        self._columns = columns
        self._coming: tuple[Sequence[Statement], Sequence[Statement]] = ((), ())

    async def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement."""
        if not is_query(sql):
            return (await self.batch([Statement(sql, tuple(args))]))[0]
        columns = await self._columns_of(sql, args)
        statement = Statement(exact(sql, len(columns), self._form), tuple(args))
        self._foretell()
        try:
            rows, _ = await self._stream.exact(statement, list)
        except TooLargeError:
            rows = [row async for page in self.pages(sql, args, _as_they_are) for row in page]
        return ResultSet(columns, rows)

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run several in one request: their values must be finite, their TEXT UTF-8."""
        self._foretell()
        return await _in_one_answer(self._stream.run(statements)) if statements else []

    def ahead(self, batch: Sequence[Statement], pages: Sequence[Statement]) -> None:
        """Have them fetched with the next statement, where the server had better be asked once."""
        self._coming = (batch, pages)

    def _foretell(self) -> None:
        batch, pages = self._coming
        self._coming = ((), ())
        first_windows = [
            Statement(exact_window(one.sql, len(columns), self._form), (*one.args, WINDOW_ROWS_FIRST, 0))
            for one in pages
            if (columns := self._columns.get(one.sql)) is not None
        ]
        if batch or first_windows:
            self._stream.ahead([*batch, *first_windows])

    async def pages(
        self, sql: str, args: Sequence[Value], encode: Encode[T]
    ) -> AsyncGenerator[list[T], None]:
        """Give a query's rows in pages; the next window is on its way while the caller has one."""
        width = len(await self._columns_of(sql, args))
        windows = _Windows(self._stream, sql, tuple(args), width, encode, self._form)
        coming = asyncio.ensure_future(windows.next())
        try:
            while (pages := await coming) is not None:
                coming = asyncio.ensure_future(windows.next())
                for page in pages:
                    yield page
        finally:
            # Cancelled, it would take the stream with it, which the caller may still need.
            with suppress(Exception):
                await coming

    async def _columns_of(self, sql: str, args: Sequence[Value]) -> tuple[str, ...]:
        columns = self._columns.get(sql)
        if columns is None:
            asked = [Statement(nothing_of(sql), tuple(args))]
            nothing = (await _in_one_answer(self._stream.run(asked)))[0]
            columns = without_numbers(nothing.columns)
            if names_its_columns(sql) and len(self._columns) < _REMEMBERED_MAX:
                self._columns[sql] = columns
        return columns


class _Windows(Generic[T]):
    """Reads a query window by window, each as large as an answer may well be."""

    def __init__(
        self,
        stream: Stream,
        sql: str,
        args: tuple[Value, ...],
        width: int,
        encode: Encode[T],
        form: Form,
    ) -> None:
        self._stream = stream
        self._form = form
        self._sql = sql
        self._args = args
        self._width = width
        self._encode = encode
        self._rows_wanted = WINDOW_ROWS_FIRST
        self._rows_read = 0
        self._ended = False

    async def next(self) -> list[list[T]] | None:
        """Give the pages of the next window; None after the last."""
        while not self._ended:
            wanted = self._rows_wanted
            try:
                (count, pages), size_bytes = await self._stream.exact(self._statement(wanted), self._paged)
            except TooLargeError:
                if wanted == 1:
                    return await self._one_large_row()
                self._rows_wanted = max(1, wanted // WINDOW_GROWTH_MAX)
                continue
            self._rows_read += count
            self._ended = count < wanted
            fitting = RESPONSE_BYTES_TARGET * count // max(1, size_bytes)
            self._rows_wanted = max(1, min(WINDOW_ROWS_MAX, fitting, WINDOW_GROWTH_MAX * wanted))
            if pages:
                return pages
        return None

    async def _one_large_row(self) -> list[list[T]]:
        """Read the next row, which no answer can hold, column by column."""
        row: list[Value] = []
        for number in range(self._width):
            try:
                values, _ = await self._stream.exact(self._statement(1, [number]), list)
            except TooLargeError:
                raise SourceError(
                    "a value at the source is larger than its server gives in one answer",
                    "allow the server larger responses (sqld: --max-response-size)",
                ) from None
            row.append(values[0][0])
        self._rows_read += 1
        self._rows_wanted = WINDOW_GROWTH_MAX
        return self._paged([tuple(row)])[1]

    def _statement(self, rows: int, columns: list[int] | None = None) -> Statement:
        sql = exact_window(self._sql, self._width, self._form, columns)
        return Statement(sql, (*self._args, rows, self._rows_read))

    def _paged(self, rows: list[Row]) -> tuple[int, list[list[T]]]:
        """Encode a window's rows, as pages that are not too large; say how many rows there were."""
        pages: list[list[T]] = []
        page: list[T] = []
        page_rows, page_bytes = 0, 0
        for begin in range(0, len(rows), PART_ROWS_MAX):
            part = rows[begin : begin + PART_ROWS_MAX]
            encoded, part_bytes = self._encode(part)
            page += encoded
            page_rows += len(part)
            page_bytes += part_bytes
            if page_rows >= PAGE_ROWS_MAX or page_bytes >= PAGE_BYTES_MAX:
                pages.append(page)
                page, page_rows, page_bytes = [], 0, 0
        return len(rows), [page for page in (*pages, page) if page]


def _as_they_are(rows: list[Row]) -> tuple[list[Row], int]:
    return rows, 0


async def _in_one_answer(results: Awaitable[T]) -> T:
    try:
        return await results
    except TooLargeError:
        raise SourceError(
            "the source's answer is larger than its server gives", "allow the server larger responses"
        ) from None
