"""The SQL that capture puts into the source: the log, what is known of it, and the triggers.

Trigger bodies run inside the application's SQLite, of any version from 3.24 on: nothing newer in them. They
name only key columns, so that other columns can be added, renamed and dropped under them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cdc.capture.unique import from_table, stored
from cdc.identifiers import LEASES, LOG, META, TABLES, quoted

if TYPE_CHECKING:
    from cdc.capture.table import KeyColumn, Table
    from cdc.capture.unique import Conflict

FORMAT: Final = 1
"""The version of all this; a source with a higher one belongs to a newer program."""

LOG_COLUMNS: Final = ("change_id", "tbl", "op", "ts", "nonce")
META_COLUMNS: Final = ("epoch", "epoch_nonce", "database_id", "pruned_to", "format")
TABLES_COLUMNS: Final = ("id", "name", "fingerprint")
LEASES_COLUMNS: Final = ("kind", "name", "epoch", "epoch_nonce", "change_id", "renewed_ms")

NO_TABLE_ID: Final = 0
"""The table id of log rows that speak of no table."""

OP_EPOCH: Final = "e"
"""The op of the log row that begins an epoch; the others are those of `schemas.event.Op`."""

OP_HEARTBEAT: Final = "h"
"""The op of the log rows by which a reader makes sure that changes come through."""

OP_SETTINGS: Final = "s"
"""The op of a log row that only lets a group follow: what is published has changed, but no row."""

# No constraint beside the key: under INSERT OR IGNORE of the application's, a violated one would silently
# drop the log row. Key columns have no declared type, so that they keep each value as it is. Ids are dense
# without AUTOINCREMENT, which would cost a third of the trigger and leave sqlite_sequence behind: the
# log is never empty, its last row is never pruned, and nonces tell a log that somebody wiped.
CREATE_LOG: Final = (
    f"CREATE TABLE {LOG} (change_id INTEGER PRIMARY KEY, tbl INTEGER, op TEXT, ts INTEGER, nonce INTEGER, k1)"
)
CREATE_META: Final = (
    f"CREATE TABLE {META} (epoch INTEGER, epoch_nonce INTEGER, database_id TEXT, pruned_to INTEGER, "
    "format INTEGER)"
)
CREATE_TABLES: Final = f"CREATE TABLE {TABLES} (id INTEGER PRIMARY KEY, name TEXT, fingerprint TEXT)"
CREATE_LEASES: Final = (
    f"CREATE TABLE {LEASES} (kind TEXT, name TEXT, epoch INTEGER, epoch_nonce INTEGER, change_id INTEGER, "
    "renewed_ms INTEGER, PRIMARY KEY (kind, name))"
)

LOG_STAYS: Final = "_cdc_log_stays"
# A client of Turso Sync has a copy of the log, whose triggers log what is written to the copy. It sends these
# rows too, as an upsert under the ids that its copy gave: they would take the place of rows here.
CREATE_LOG_STAYS: Final = f"CREATE TRIGGER {LOG_STAYS} BEFORE UPDATE ON {LOG} BEGIN SELECT RAISE(IGNORE); END"

# unixepoch('subsec') is NULL before SQLite 3.42; julianday is in all.
NOW_MS: Final = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

INSERT_CONTROL_ROW: Final = f"INSERT INTO {LOG} (tbl, op, ts, nonce) VALUES (?, ?, {NOW_MS}, random())"


def add_key_column(number: int) -> str:
    """Widen the log for tables with more key columns than any before."""
    return f"ALTER TABLE {LOG} ADD COLUMN k{number}"


def comparable(sql: str | None) -> str:
    """Give what is the same of a statement as written and as stored.

    SQLite stores the text; the Turso engine writes it anew, with other spaces and != for <>.
    """
    return "".join((sql or "").split()).replace("<>", "!=")


def trigger_names(table_id: int) -> tuple[str, ...]:
    """Give the names of all triggers a table can have; by id, so that no table name can spoil them."""
    return tuple(f"_cdc_{table_id}_{event}" for event in _EVENTS)


def triggers_of(table: Table, table_id: int) -> dict[str, str]:
    """Give a table's triggers: name to CREATE TRIGGER, in the order in which to create them.

    Those before a row is written are for tables where REPLACE can delete rows of other keys: it does so
    without firing their delete trigger.
    """
    differs = " OR ".join(_differs(column, table) for column in table.key)
    created_or_updated = f"CASE WHEN {differs} THEN {_CREATE} ELSE {_UPDATE} END"
    bodies = {
        "insert": [_log(table, table_id, _CREATE, "NEW")],
        "update": [
            _log(table, table_id, _DELETE, "OLD", where=differs),
            _log(table, table_id, created_or_updated, "NEW"),
        ],
        "delete": [_log(table, table_id, _DELETE, "OLD")],
    }
    if table.conflicts:
        bodies["replacing_insert"] = [
            _log_conflict(table, table_id, one.condition) for one in table.conflicts
        ]
        bodies["replacing_update"] = [
            _log_conflict(table, table_id, _met_by_update(table, one)) for one in table.conflicts
        ]
    triggers: dict[str, str] = {}
    for event, body in bodies.items():
        name = f"_cdc_{table_id}_{event}"
        statements = " ".join(body)
        triggers[name] = (
            f"CREATE TRIGGER {quoted(name)} {_EVENTS[event]} ON {quoted(table.name)} BEGIN {statements} END"
        )
    return triggers


_EVENTS: Final = {
    "insert": "AFTER INSERT",
    "update": "AFTER UPDATE",
    "delete": "AFTER DELETE",
    "replacing_insert": "BEFORE INSERT",
    "replacing_update": "BEFORE UPDATE",
}
_CREATE: Final = "'c'"
_UPDATE: Final = "'u'"
_DELETE: Final = "'d'"


def _log(table: Table, table_id: int, op: str, version: str, where: str = "") -> str:
    into = ", ".join(f"k{number}" for number in range(1, len(table.key) + 1))
    values = ", ".join(f"{version}.{quoted(column.name)}" for column in table.key)
    condition = f" WHERE {where}" if where else ""
    return (
        f"INSERT INTO {LOG} (tbl, op, ts, nonce, {into}) "
        f"SELECT {table_id}, {op}, {NOW_MS}, random(), {values}{condition};"
    )


def _log_conflict(table: Table, table_id: int, condition: str) -> str:
    """Log the keys of stored rows in conflict with NEW; if they survive, the reader finds them there."""
    into = ", ".join(f"k{number}" for number in range(1, len(table.key) + 1))
    values = ", ".join(stored(table.name, column.name) for column in table.key)
    rows = f"{from_table(table.name)} WHERE {condition}"
    return (
        f"INSERT INTO {LOG} (tbl, op, ts, nonce, {into}) "
        f"SELECT {table_id}, {_DELETE}, {NOW_MS}, random(), {values} FROM {rows};"
    )


def _met_by_update(table: Table, conflict: Conflict) -> str:
    """Leave out the row itself, and updates that leave alone what the conflict is about."""
    same = " AND ".join(
        f"{stored(table.name, column.name)} COLLATE {column.collation} IS OLD.{quoted(column.name)}"
        for column in table.key
    )
    changed = f"({conflict.changed}) AND " if conflict.changed else ""
    return f"{changed}{conflict.condition} AND NOT ({same})"


def _differs(column: KeyColumn, table: Table) -> str:
    """Say in SQL whether OLD and NEW differ in a key column byte for byte.

    SQL takes 1 and 1.0 for equal, and 'A' and 'a' under NOCASE. It takes 0.0 and -0.0 for equal too; the
    reader of the log looks for both.
    """
    old, new = f"OLD.{quoted(column.name)}", f"NEW.{quoted(column.name)}"
    if table.rowid_alias:
        return f"{old} <> {new}"
    differs = f"{old} COLLATE BINARY IS NOT {new}"
    if column.affinity == "TEXT":
        return differs
    return f"{differs} OR typeof({old}) <> typeof({new})"
