"""Rows on their way into one redb write transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.marks import QuarantineMark
    from schemas.definition import TableDefinition

Ops = dict[str, list[tuple[bytes, bytes | None, int]]]
"""Per table, in order: (key, row or None for a delete, change id); the last operation of a key wins."""


class Batch:
    """What one commit (or one part of a big group) writes.

    Tables in ``truncated`` are emptied before ``ops`` are put, and get the definition given there; None drops
    the table. A truncation forgets the operations gathered before it for that table, so this order is exact.
    """

    __slots__ = ("marked", "ops", "rows", "size_bytes", "truncated")

    def __init__(self) -> None:
        self.ops: Ops = {}
        self.marked: list[tuple[bytes, QuarantineMark]] = []
        """Rows among them that could not be applied, by record key: to be told."""
        self.truncated: dict[str, TableDefinition | None] = {}
        self.rows = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self.rows or self.truncated)

    def put(self, table: str, key: bytes, row: bytes | None, change_id: int) -> None:
        """Adds one row; None deletes it."""
        ops = self.ops.get(table)
        if ops is None:
            ops = self.ops[table] = []
        ops.append((key, row, change_id))
        self.rows += 1
        self.size_bytes += len(key) + (len(row) if row is not None else 0)

    def truncate(self, table: str, definition: TableDefinition | None) -> None:
        """Empties a table (None: drops it); what was gathered for it before no longer matters."""
        self.ops.pop(table, None)
        self.truncated[table] = definition

    def absorb(self, later: Batch) -> None:
        """Adds a batch that comes after this one."""
        for table, definition in later.truncated.items():
            self.truncate(table, definition)
        for table, ops in later.ops.items():
            mine = self.ops.get(table)
            if mine is None:
                self.ops[table] = ops
            else:
                mine.extend(ops)
        self.marked += later.marked
        self.rows += later.rows
        self.size_bytes += later.size_bytes
