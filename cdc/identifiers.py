"""Names in SQL: how they are quoted, and which are not the user's."""

from __future__ import annotations

from typing import Final

LOG: Final = "_cdc_log"
META: Final = "_cdc_meta"
TABLES: Final = "_cdc_tables"
LEASES: Final = "_cdc_leases"
OWN_TABLES: Final = (LOG, META, TABLES, LEASES)

_RESERVED: Final = ("sqlite_", "libsql_", "__turso_", "_cdc_")


def quoted(name: str) -> str:
    """Quote an identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def folded(name: str) -> str:
    """Give a name as SQLite compares it: ASCII letters in either case are the same, others are not."""
    return name.translate(_LOWER)


def is_reserved(name: str) -> bool:
    """Say whether a table of this name belongs to the database engine or to us, so that none captures it."""
    return folded(name).startswith(_RESERVED)


_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
