"""What readers are told of a table: its columns, its key, and the settings that nodes act on."""

from __future__ import annotations

from typing import Literal

import msgspec

KeyType = Literal["tuple", "text", "integer", "bytes"]
"""How a table's keys stand in the cache file: order-preserving tuples, or one native value."""


class Follow(msgspec.Struct, frozen=True):
    """Rows of a table are cached only while a row they belong to is.

    ``column`` holds the key of a row in one of ``tables``, each of which has a key of one column.
    """

    tables: tuple[str, ...]
    column: str


class Column(msgspec.Struct, frozen=True):
    """A column as it stands in ``SELECT *``.

    ``affinity`` is SQLite's: INTEGER, TEXT, BLOB, REAL or NUMERIC.
    """

    name: str
    affinity: str


class TableDefinition(msgspec.Struct, frozen=True):
    """A captured table.

    ``key`` are the names of its key columns in the primary key's declared order, ``schema_version`` the
    source's when it was read. Encoded as a map, so that later versions can add fields: those a reader does
    not know are ignored.

    What nodes act on: of the rows only the ``keep`` with the highest ``keep_by`` are cached (ties: the
    highest keys; None: all), and only while what they ``follow`` is. ``index`` are columns that rows are
    looked up by. ``settings`` is a digest of all settings of the table; 0 where there are none.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    schema_version: int = 0
    keep: int | None = None
    keep_by: str | None = None
    follow: Follow | None = None
    index: tuple[str, ...] = ()
    key_type: KeyType = "tuple"
    settings: int = 0
