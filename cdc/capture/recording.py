"""A transaction that remembers what it was told to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.values import InvalidText

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from cdc.source import ResultSet, Statement, Transaction
    from cdc.source.client import Encode, T
    from schemas.values import Value


class RecordingTransaction:
    """Passes everything on, and keeps the statements that change something, their parameters written in.

    Args:
        transaction: what runs them.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.statements: list[str] = []

    async def execute(self, sql: str, args: Sequence[Value] = ()) -> ResultSet:
        """Run one statement."""
        if not sql.lstrip().upper().startswith("SELECT"):
            self.statements.append(_written_out(sql, args))
        return await self._transaction.execute(sql, args)

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        """Run several, one after the other."""
        return [await self.execute(statement.sql, statement.args) for statement in statements]

    def ahead(self, batch: Sequence[Statement], pages: Sequence[Statement]) -> None:
        """Pass it on."""
        self._transaction.ahead(batch, pages)

    def pages(self, sql: str, args: Sequence[Value], encode: Encode[T]) -> AsyncGenerator[list[T], None]:
        """Run a query."""
        return self._transaction.pages(sql, args, encode)


def _written_out(sql: str, args: Sequence[Value]) -> str:
    """The statement with its parameters as literals; ours have no question mark but for them."""
    pieces = sql.split("?")
    if len(pieces) != len(args) + 1:
        return sql
    return "".join(piece + literal for piece, literal in zip(pieces, [*map(_literal, args), ""], strict=True))


def _literal(value: Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, InvalidText):
        return f"CAST(x'{value.data.hex()}' AS TEXT)"
    return repr(value)
