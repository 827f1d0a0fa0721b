"""The small async interface every source driver has, taken from `libsql_client.Client`.

Values in and out are SQLite's: int, float, str, bytes, None, and `InvalidText` for TEXT that is not UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from contextlib import AbstractAsyncContextManager

    from schemas.values import Value

Row = tuple[Any, ...]
"""One row of a result: a tuple of `Value` (Any, because pages of them are unpacked by position)."""

T = TypeVar("T")

Encode = Callable[[list[Row]], tuple[list[T], int]]
"""Maps a part of a page, where it was fetched, to items and their size in bytes (0 where it does not matter).

It may give fewer or more items than it was given rows.
"""


class Statement(msgspec.Struct, frozen=True):
    """One SQL statement; ``args`` are its positional parameters."""

    sql: str
    args: tuple[Value, ...] = ()


class ResultSet(msgspec.Struct, frozen=True, gc=False):
    """What a statement gave: ``columns`` are names, ``rows`` tuples in their order."""

    columns: tuple[str, ...]
    rows: list[Row]
    rows_affected: int = 0
    last_insert_rowid: int | None = None


class Transaction(Protocol):
    """One transaction at the source; it ends with the `async with` that opened it."""

    async def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement in it."""
        ...

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run several in it, one after the other, in one round trip."""
        ...

    def ahead(self, batch: Sequence[Statement], pages: Sequence[Statement]) -> None:
        """Take note of what is likely to be asked after the next statement, by `batch` and by `pages`.

        Where a transaction does not outlive a commit of others (`Client.reads_move`), it comes all at once.
        """
        ...

    def pages(self, sql: str, args: Sequence[Value], encode: Encode[T]) -> AsyncGenerator[list[T], None]:
        """Run a query and give its rows in pages of bounded size (`cdc.source.limits`), none of them empty.

        ``encode`` runs where the rows are fetched, off the event loop if the driver has a thread; the next
        page is fetched while the caller handles the current one.
        """
        ...


class Client(Protocol):
    """A connected source.

    Every method raises `SourceUnavailableError` when the source cannot be reached or is locked for too long,
    `SourceError` when it refuses, `UsageError` when what was given cannot be right.
    """

    @property
    def url(self) -> str:
        """Where the source is, without credentials (for a file: its real path)."""
        ...

    @property
    def short_reads(self) -> bool:
        """Whether a read transaction should be short: it holds up writers, or it may be cut off."""
        ...

    @property
    def reads_move(self) -> bool:
        """Whether a transaction ends with `SourceMovedError` when others commit what changes its answers."""
        ...

    @property
    def tells_of_commits(self) -> bool:
        """Whether `data_changed` is False while nothing is committed."""
        ...

    @property
    def reads_block(self) -> bool:
        """Whether a commit waits for every read transaction."""
        ...

    async def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement in a transaction of its own."""
        ...

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run several in one write transaction: all of them or none."""
        ...

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """Open one read transaction: everything read in it is of one moment."""
        ...

    def writing(self) -> AbstractAsyncContextManager[Transaction]:
        """Open one write transaction (BEGIN IMMEDIATE); an exception rolls it back."""
        ...

    async def data_changed(self) -> bool:
        """Say whether anything may have been committed since the last call; True on the first."""
        ...

    async def close(self) -> None:
        """Give everything back; running statements are interrupted."""
        ...
