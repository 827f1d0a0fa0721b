"""A transaction on a connection that belongs to one thread, whichever engine the connection is of."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from cdc.source.limits import (
    PAGE_BYTES_MAX,
    PAGE_ROWS_MAX,
    PART_ROWS_MAX,
    SHORT_PAGE_BYTES_MAX,
    SHORT_PAGE_SECONDS_MAX,
    SHORT_PART_ROWS_MAX,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Sequence

    from cdc.source.client import Encode, ResultSet, Row, Statement
    from schemas.values import Value

T = TypeVar("T")

_FIRST_PART_ROWS: Final = 16


class Query(Protocol):
    """A running query whose rows are fetched bit by bit, on its connection's thread."""

    def fetch(self, rows: int) -> list[Row]:
        """Fetch up to so many rows; fewer only at the end."""
        ...

    def close(self) -> None:
        """End it; once is enough."""
        ...


class Connection(Protocol):
    """A connection in a transaction; used on its thread alone."""

    def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement and give all its rows."""
        ...

    def query(self, sql: str, args: Sequence[Value]) -> Query:
        """Start a query; it is closed when the transaction ends, whoever forgot it."""
        ...


class Submit(Protocol):
    """Gives a thread work."""

    def __call__(self, work: Callable[[], T], /) -> asyncio.Future[T]:
        """Have it done there."""
        ...


C = TypeVar("C", bound=Connection)


class ThreadTransaction(Generic[C]):
    """One transaction on one connection; see `cdc.source.client.Transaction`.

    Args:
        submit: gives the connection's thread work.
        begin: opens the transaction there, with the first piece of work: a trip to the thread costs more
            than an empty poll's statements.
        short: it holds up writers, so its pages end soon.
    """

    def __init__(self, submit: Submit, begin: Callable[[], C], *, short: bool = False) -> None:
        self._short = short
        self._submit = submit
        self._begin = begin
        self._connection: C | None = None
        self._left = False

    async def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement."""
        return await self._submit(lambda: self._begun().execute(sql, args))

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run several in one trip to the thread."""
        return await self._submit(lambda: [self._begun().execute(one.sql, one.args) for one in statements])

    def ahead(self, batch: Sequence[Statement], pages: Sequence[Statement]) -> None:
        """Do nothing: every statement is of the same moment."""

    async def pages(
        self, sql: str, args: Sequence[Value], encode: Encode[T]
    ) -> AsyncGenerator[list[T], None]:
        """Give a query's rows in pages; the thread prepares one while the caller has the one before."""
        pages = _Pages(lambda: self._begun().query(sql, args), encode, short=self._short)
        coming = self._submit(pages.next)
        ended = False
        try:
            while not ended:
                page, ended = await coming
                if not ended:
                    coming = self._submit(pages.next)
                if page:
                    yield page
        finally:
            if not ended and not self._left:
                coming.cancel()
                await self._submit(pages.close)

    def leave(self, end: Callable[[C], None]) -> None:
        """End it, on its thread, by handing the connection to ``end``; a second call does nothing."""
        self._left = True
        connection, self._connection = self._connection, None
        if connection is not None:
            end(connection)

    @property
    def connection(self) -> C | None:
        """The connection, once the transaction has begun: to be interrupted from another thread."""
        return self._connection

    def _begun(self) -> C:
        if self._left:
            raise RuntimeError("this transaction has ended")
        if self._connection is None:
            self._connection = self._begin()
        return self._connection


class _Pages(Generic[T]):
    """A running query that gives encoded pages, bounded by rows and by bytes; ``short``: by time too."""

    def __init__(self, start: Callable[[], Query], encode: Encode[T], *, short: bool) -> None:
        self._seconds_max = SHORT_PAGE_SECONDS_MAX if short else inf
        self._bytes_max = SHORT_PAGE_BYTES_MAX if short else PAGE_BYTES_MAX
        self._part_rows_max = SHORT_PART_ROWS_MAX if short else PART_ROWS_MAX
        self._start = start
        self._encode = encode
        self._query: Query | None = None
        self._part_rows = min(_FIRST_PART_ROWS, self._part_rows_max // 4)
        self._ended = False

    def next(self) -> tuple[list[T], bool]:
        """Give the next page, and whether it is the last."""
        items: list[T] = []
        rows_read, size_bytes = 0, 0
        until = time.monotonic() + self._seconds_max
        while not self._ended and rows_read < PAGE_ROWS_MAX and size_bytes < self._bytes_max:
            part = self._fetch(min(self._part_rows, PAGE_ROWS_MAX - rows_read))
            if not part:
                break
            encoded, part_bytes = self._encode(part)
            items += encoded
            rows_read += len(part)
            size_bytes += part_bytes
            # Rows of a megabyte must not come by the hundred.
            fitting = self._bytes_max * len(part) // (part_bytes or 1)
            self._part_rows = max(1, min(self._part_rows_max, fitting, 4 * self._part_rows))
            if time.monotonic() > until:
                break
        return items, self._ended

    def close(self) -> None:
        """End the query; once is enough."""
        self._ended = True
        if self._query is not None:
            self._query.close()

    def _fetch(self, rows: int) -> list[Row]:
        if self._query is None:
            self._query = self._start()
        part = self._query.fetch(rows)
        if len(part) < rows:
            self.close()
        return part
