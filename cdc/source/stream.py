"""What `cdc.source.remote` asks of a connection to a server: statements on one SQLite connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cdc.source.client import ResultSet, Row, Statement
    from cdc.source.remote_sql import Form

T = TypeVar("T")

BEGIN_READ = "BEGIN"
BEGIN_WRITE = "BEGIN IMMEDIATE"


class Stream(Protocol):
    """One transaction's statements, one request at a time; it begins with its first statement.

    Every method raises what `cdc.source.client.Client` does. A stream whose request was cut off or cancelled
    is lost, and says so when it is used again.
    """

    async def run(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run statements one after the other, none after one that failed.

        Raises:
            TooLargeError: the answer is larger than the server gives.
        """
        ...

    async def exact(self, statement: Statement, work: Callable[[list[Row]], T]) -> tuple[T, int]:
        """Run one query that is in the exact form.

        Args:
            statement: the query.
            work: gets the rows as they are, where they are decoded: perhaps on another thread.

        Returns:
            What ``work`` gave, and the size of the answer in bytes.

        Raises:
            TooLargeError: the answer is larger than the server gives.
        """
        ...

    def ahead(self, statements: Sequence[Statement]) -> None:
        """Take note of what is likely to be asked next, where one request may well fetch all of it."""
        ...

    async def commit(self) -> None:
        """Commit, and give the stream back; nothing where it never began."""
        ...

    def abandon(self) -> None:
        """Give the stream back without waiting; the server rolls back what was not committed."""
        ...


class Streams(Protocol):
    """A server's connections: what `cdc.source.remote.RemoteClient` is made of."""

    @property
    def shown(self) -> str:
        """The server's address without scheme and credentials."""
        ...

    def stream(self, begin: str) -> Stream:
        """Make a stream whose transaction begins with ``begin``."""
        ...

    async def run_alone(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run statements in one request: one by itself, several as one write transaction."""
        ...

    @property
    def form(self) -> Form:
        """The exact form that `Stream.exact` reads."""
        ...

    @property
    def reads_move(self) -> bool:
        """See `cdc.source.client.Client`."""
        ...

    async def changed(self) -> bool:
        """Say whether anything may have been committed since the last call."""
        ...

    async def close(self) -> None:
        """End whatever runs, and close every connection."""
        ...
