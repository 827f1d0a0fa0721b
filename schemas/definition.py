"""What readers are told of a table: its columns, its key, and the settings that nodes act on."""

from __future__ import annotations

import msgspec


class Column(msgspec.Struct, frozen=True):
    """A column as it stands in ``SELECT *``.

    ``affinity`` is SQLite's: INTEGER, TEXT, BLOB, REAL or NUMERIC.
    """

    name: str
    affinity: str


class TableDefinition(msgspec.Struct, frozen=True):
    """A captured table.

    ``key`` are the names of its key columns in the primary key's declared order, ``schema_version`` the
    source's when it was read. Encoded as a map, so that later versions can add fields (keep, follow, index):
    those a reader does not know are ignored.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    schema_version: int = 0
