"""What capture knows of one table at the source."""

from __future__ import annotations

import msgspec

from cdc.capture.unique import Conflict  # noqa: TC001 -- msgspec resolves annotations at run time
from cdc.hash_key import HashKey  # noqa: TC001 -- the same
from cdc.table_settings import TableSettings
from schemas.definition import Column, TableDefinition


class KeyColumn(msgspec.Struct, frozen=True):
    """One column of a table's key.

    ``position`` is its place among the columns, ``collation`` that of the index which finds it (BINARY where
    there is none). ``native``: the column is compared like that anyway, and no query has to say so: the Turso
    engine uses no index where one does.
    """

    name: str
    position: int
    affinity: str
    collation: str
    native: bool = False

    @property
    def exact(self) -> bool:
        """Whether SQL takes two of its values for the same only when their bytes are."""
        return self.affinity == "TEXT" and self.collation == "BINARY"


class Table(msgspec.Struct, frozen=True):
    """An ordinary table with a usable key.

    ``key`` is in the key's declared order. ``unique`` is False where nothing keeps two rows from having the
    same key (``key_columns`` without a constraint). ``rowid_alias``: the key is the rowid, always an integer.
    ``index`` is the name of the index that finds rows by the key; None: it is the rowid, or there is none.
    ``conflicts`` are those that REPLACE can resolve by deleting a row of another key. ``fingerprint`` changes
    with everything that the triggers depend on; ``settings`` are no part of it.

    ``columns`` are those that are published. ``hashed`` are places among them whose values are replaced by
    their digest under ``hash_key``, ``where`` is the condition for rows to be published, over the table as
    ``t``. ``masked`` tells settings apart; 0 where there are none.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[KeyColumn, ...]
    unique: bool
    rowid_alias: bool
    index: str | None
    conflicts: tuple[Conflict, ...]
    fingerprint: str
    settings: TableSettings = TableSettings()
    hashed: tuple[int, ...] = ()
    hash_key: HashKey | None = None
    where: str | None = None
    masked: int = 0

    @property
    def exact(self) -> bool:
        """Whether SQL takes two keys for the same only when their bytes are."""
        return self.unique and (self.rowid_alias or all(column.exact for column in self.key))

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key columns' names."""
        return tuple(column.name for column in self.key)

    def definition(self, schema_version: int) -> TableDefinition:
        """Give what readers are told of it."""
        settings = self.settings
        return TableDefinition(
            self.name,
            self.columns,
            self.key_names,
            schema_version,
            keep=settings.keep,
            keep_by=settings.keep_by,
            follow=settings.follow,
            index=settings.index,
            key_type=settings.key_type,
            settings=self.masked,
        )


class Skipped(msgspec.Struct, frozen=True, order=True):
    """A table that is not captured, and why."""

    table: str
    reason: str


class Selection(msgspec.Struct, frozen=True):
    """Which tables to capture.

    ``tables``: their names, None for every ordinary one. ``key_columns``: the identity of tables without a
    primary key, by table. ``settings``: what of a table is published, by table. ``hash_key``: what columns
    are hashed with. ``optional``: tables that need not be there, and whose primary keys go before
    ``key_columns``.
    """

    tables: tuple[str, ...] | None = None
    key_columns: dict[str, tuple[str, ...]] = {}
    settings: dict[str, TableSettings] = {}
    hash_key: HashKey | None = None
    optional: frozenset[str] = frozenset()
