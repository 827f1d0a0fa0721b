"""What publications read of a source, whether at one moment or in several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cdc.capture.encode import Change, Page
    from cdc.capture.leases import Reader
    from cdc.capture.log import Backlog, LogState
    from cdc.capture.log_rows import LogRow
    from cdc.capture.prune import Keeping
    from cdc.capture.table import Skipped
    from schemas.definition import TableDefinition


class SourceReader(Protocol):
    """What a publication reads: the log and the captured tables, at one moment or in several."""

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The tables that are not captured, with the reason."""
        ...

    @property
    def newest(self) -> LogState:
        """The log's state at the newest moment that was read."""
        ...

    @property
    def settled(self) -> LogState:
        """What rows that were read, and then `catch_up`, are the exact state of."""
        ...

    def tables(self) -> dict[str, TableDefinition]:
        """Give the captured tables by name, in order of name."""
        ...

    def check_table(self, name: str) -> None:
        """Refuse a table that is not captured."""
        ...

    async def state(self, prev: int | None = None, exact: int | None = None) -> LogState:
        """Read the log's state, and the nonces of the rows ``prev`` and ``exact``."""
        ...

    async def rest(self) -> None:
        """Hold up nobody until the next call, where a moment can be left."""
        ...

    @property
    def settings(self) -> int:
        """A digest of what is configured to be published."""
        ...

    def known(self) -> frozenset[str]:
        """Give the names of all tables that are or ever were captured."""
        ...

    def changes(
        self, prev: int, high: int, reread: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Page, None]:
        """Give every key touched in (prev, high] with its state, which may be as new as ``newest``.

        Tables in ``reread`` come whole.
        """
        ...

    def rows(self, table: str) -> AsyncGenerator[Page, None]:
        """Give every row of a table in the order of its key; each is at least as new as the last state."""
        ...

    def catch_up(self) -> AsyncGenerator[Page, None]:
        """Give what was touched since the last state, to make ``rows`` the exact state at one moment."""
        ...

    async def backlog(self, prev: int) -> Backlog:
        """Say how long the log is, and how far behind a reader at ``prev`` is."""
        ...

    async def is_held_for(self, reader: Reader) -> bool:
        """Say whether a reader has a lease on the log as it is at this moment."""
        ...

    async def keeping(self) -> Keeping:
        """Say what the log holds, and for whom."""
        ...

    async def references(self) -> list[tuple[str, str]]:
        """Give (table, the table that a foreign key of it refers to) of the captured tables."""
        ...

    def oldest(self, table: str, rows: int) -> AsyncGenerator[Page, None]:
        """Give the oldest of the rows that are kept of a table with ``keep``, at most so many, as op r."""
        ...

    def is_whole(self, table: str) -> bool:
        """Whether readers hold every row of a table."""
        ...

    async def row(self, table: str, key: bytes) -> Change | None:
        """Give one row by its encoded key as op r; None when there is none."""
        ...

    def pending(self, prev: int) -> AsyncGenerator[list[tuple[str, bytes]], None]:
        """Give (table, key) of whatever `changes` would give from ``prev`` to the end of the log."""
        ...

    def log_rows(self, prev: int) -> AsyncGenerator[list[LogRow], None]:
        """Give the log's rows above ``prev`` as they stand, in order."""
        ...
