"""Puts capture into the source, brings it up to date after a schema change, and removes it."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from cdc.capture.ddl import (
    CREATE_LEASES,
    CREATE_LOG,
    CREATE_LOG_STAYS,
    CREATE_META,
    CREATE_TABLES,
    FORMAT,
    INSERT_CONTROL_ROW,
    LEASES_COLUMNS,
    LOG_COLUMNS,
    LOG_STAYS,
    META_COLUMNS,
    NO_TABLE_ID,
    TABLES_COLUMNS,
    add_key_column,
    comparable,
    trigger_names,
    triggers_of,
)
from cdc.capture.log import mint
from cdc.identifiers import LEASES, LOG, META, OWN_TABLES, TABLES, folded, quoted
from schemas.errors import OperatorError, SourceError, UnsupportedVersionError
from schemas.event import Op

if TYPE_CHECKING:
    from collections.abc import Collection

    from cdc.capture.introspect import MasterRow, Schema
    from cdc.capture.select import Selected
    from cdc.capture.table import Skipped, Table
    from cdc.source import Transaction

_CREATE: Final = {LOG: CREATE_LOG, META: CREATE_META, TABLES: CREATE_TABLES, LEASES: CREATE_LEASES}
_WHOLE_SQL: Final = f"SELECT (SELECT count(*) FROM {META}) = 1 AND EXISTS (SELECT 1 FROM {LOG})"
_OWN_TRIGGER: Final = re.compile(r"_cdc_[0-9]+_[a-z_]+")
_COLUMNS: Final = {LOG: LOG_COLUMNS, META: META_COLUMNS, TABLES: TABLES_COLUMNS, LEASES: LEASES_COLUMNS}


class InstallReport(msgspec.Struct, frozen=True):
    """What `Capture.install` did.

    ``created``: the log is new. ``tables``: all captured ones. ``changed``: those whose triggers were made
    now, and those that left. ``skipped``: those that are not captured, with the reason.
    """

    created: bool
    tables: list[str]
    skipped: list[Skipped]
    changed: list[str] = []


class Registered(msgspec.Struct, frozen=True):
    """A table that is or was captured; ``fingerprint`` is empty when it left."""

    id: int
    name: str
    fingerprint: str


class Plan(msgspec.Struct, frozen=True):
    """What is missing for capture to be true; nothing, when `is_empty`.

    ``create``: our tables are not there, or not all of them, or are empty: they are made anew. ``make``:
    tables whose triggers must be made. ``leave``: those captured before that are gone. ``drop``: triggers of
    ours without a captured table of theirs. ``lease``: the table of leases is not there, as in a log that was
    installed before there were any; it is added, and the log goes on. ``stays``: nothing keeps the log's rows
    from being overwritten, where that can happen.
    """

    create: bool
    make: list[Table]
    leave: list[Registered]
    drop: list[str]
    lease: bool = False
    stays: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing to do."""
        return not (self.create or self.make or self.leave or self.drop or self.lease or self.stays)


async def read_installed(transaction: Transaction, schema: Schema) -> list[Registered] | None:
    """Read which tables are or were captured; None: capture is not there, or not whole.

    Raises:
        OperatorError: something of the user's has one of our tables' names.
        UnsupportedVersionError: a newer program installed capture.
    """
    missing = missing_tables(schema)
    if META not in missing:
        await _check_format(transaction)
    if set(missing) - {LEASES}:
        return None
    whole = (await transaction.execute(_WHOLE_SQL)).rows[0][0]
    return await _read_registered(transaction) if whole else None


def missing_tables(schema: Schema) -> list[str]:
    """Give those of our tables that are not there.

    Raises:
        OperatorError: something of the user's has one of their names.
    """
    missing: list[str] = []
    for name in OWN_TABLES:
        there = next(
            (row for row in schema.master if row.kind != "trigger" and folded(row.name) == name), None
        )
        if there is None:
            missing.append(name)
        elif not _is_ours(name, schema):
            raise OperatorError(
                f'the source has a {there.kind} "{there.name}" that is not ours',
                "rename it: capture needs that name",
            )
    return missing


def plan_install(
    schema: Schema, selected: Selected, registered: list[Registered] | None, *, served: bool = False
) -> Plan:
    """Compare what should be with what is; ``served``: clients may have copies, and send what they wrote."""
    create = registered is None
    by_name = {entry.name: entry for entry in registered or ()}
    ours = {
        row.name: row for row in schema.master if row.kind == "trigger" and _OWN_TRIGGER.fullmatch(row.name)
    }
    make = [
        table
        for table in selected.tables.values()
        if not _is_captured(table, by_name.get(table.name), schema, ours)
    ]
    # A table that is not selected here, but has its triggers, is captured for somebody else.
    leave = [
        entry
        for entry in registered or ()
        if entry.fingerprint and entry.name not in selected.tables and not _has_triggers(entry, schema)
    ]
    captured = {entry.id for entry in registered or () if entry.fingerprint and entry not in leave}
    # Triggers follow a table that is renamed; under its new name it is another table to readers.
    drop = [name for name in ours if _table_id_of(name) not in captured]
    stays = served and (create or all(row.name != LOG_STAYS for row in schema.master))
    lease = not create and LEASES not in schema.own
    return Plan(create, make, leave, drop, lease=lease, stays=stays)


async def carry_out(transaction: Transaction, plan: Plan, schema: Schema) -> None:
    """Make the plan true in a write transaction, with a log row of op t for every table it concerns."""
    for name in plan.drop:
        await transaction.execute(f"DROP TRIGGER {quoted(name)}")
    if plan.create:
        await _create(transaction, schema)
    elif plan.lease:
        await add_leases(transaction, schema)
    if plan.stays:
        await transaction.execute(CREATE_LOG_STAYS)
    await _widen_log(transaction, plan, schema)
    ids = {entry.name: entry.id for entry in await _read_registered(transaction)}
    for table in plan.make:
        table_id = ids.get(table.name) or max(ids.values(), default=NO_TABLE_ID) + 1
        ids[table.name] = table_id
        await _make_triggers(transaction, table, table_id)
        await _register(transaction, table_id, table.name, table.fingerprint)
    for entry in plan.leave:
        await _register(transaction, entry.id, entry.name, "")


async def add_leases(transaction: Transaction, schema: Schema) -> None:
    """Add the table of leases to a log that was installed before there were any."""
    if LEASES not in schema.own:
        await transaction.execute(CREATE_LEASES)


async def remove(transaction: Transaction, schema: Schema) -> bool:
    """Remove all of capture in a write transaction; say whether there was any.

    The log goes last: an application connection fails on a log that vanished under its triggers.

    Raises:
        OperatorError: something of the user's has one of our tables' names.
    """
    missing = missing_tables(schema)
    for row in schema.master:
        if row.kind == "trigger" and _OWN_TRIGGER.fullmatch(row.name):
            await transaction.execute(f"DROP TRIGGER {quoted(row.name)}")
    for name in (LEASES, TABLES, META, LOG):
        if name not in missing:
            await transaction.execute(f"DROP TABLE {name}")
    return len(missing) < len(OWN_TABLES)


def _is_ours(name: str, schema: Schema) -> bool:
    columns = tuple(schema.own.get(name, ()))
    expected = _COLUMNS[name]
    keys = tuple(f"k{number}" for number in range(1, len(columns) - len(expected) + 1)) if name == LOG else ()
    return columns == expected + keys


def _is_captured(table: Table, entry: Registered | None, schema: Schema, ours: dict[str, MasterRow]) -> bool:
    if entry is None or entry.fingerprint != table.fingerprint:
        return False
    wanted = triggers_of(table, entry.id)
    there = [ours[name] for name in wanted if name in ours]
    if list(map(comparable, [row.sql for row in there])) != list(map(comparable, wanted.values())):
        return False
    # SQLite fires the trigger created last first; ours must come before the application's.
    others = [row.created for row in schema.tables[table.name].triggers if row.name not in wanted]
    return max(others, default=0) < min(row.created for row in there)


def _has_triggers(entry: Registered, schema: Schema) -> bool:
    info = schema.tables.get(entry.name)
    return info is not None and any(row.name in trigger_names(entry.id) for row in info.triggers)


def _table_id_of(trigger: str) -> int:
    return int(trigger.split("_")[2])


async def _create(transaction: Transaction, schema: Schema) -> None:
    """Make our tables anew; what is left of earlier ones only says how high the epoch was."""
    epoch = 0
    if META in schema.own:
        epoch = (await transaction.execute(f"SELECT max(epoch) FROM {META}")).rows[0][0] or 0
    for name, create in _CREATE.items():
        if name in schema.own:
            await transaction.execute(f"DROP TABLE {name}")
        await transaction.execute(create)
    await transaction.execute(
        f"INSERT INTO {META} (epoch, epoch_nonce, database_id, pruned_to, format) VALUES (0, 0, ?, 0, ?)",
        (secrets.token_hex(16), FORMAT),
    )
    await mint(transaction, epoch + 1)


async def _make_triggers(transaction: Transaction, table: Table, table_id: int) -> None:
    """Make a table's triggers, and have SQLite compile them: one that cannot be would fail every write."""
    for name in trigger_names(table_id):
        await transaction.execute(f"DROP TRIGGER IF EXISTS {quoted(name)}")
    writable = await _find_fault(transaction, table) is None
    for sql in triggers_of(table, table_id).values():
        await transaction.execute(sql)
    fault = await _find_fault(transaction, table)
    # What needs the application's functions cannot be compiled here, with our triggers or without.
    if fault is not None and writable:
        raise SourceError(
            f'table "{table.name}" cannot be captured: {fault.message}', "leave it out of tables; report this"
        )


async def _find_fault(transaction: Transaction, table: Table) -> SourceError | None:
    """Compile a write of each kind with its triggers; run none.

    EXPLAIN alone would do, but SQLite 3.40 crashes where it shows some partial indexes.
    """
    name, key = quoted(table.name), quoted(table.key[0].name)
    writes = (f"INSERT INTO {name} DEFAULT VALUES", f"UPDATE {name} SET {key} = {key}", f"DELETE FROM {name}")
    for sql in writes:
        try:
            await transaction.execute(f"EXPLAIN QUERY PLAN {sql}")
        except SourceError as error:
            return error
    return None


async def _register(transaction: Transaction, table_id: int, name: str, fingerprint: str) -> None:
    await transaction.execute(
        f"INSERT OR REPLACE INTO {TABLES} (id, name, fingerprint) VALUES (?, ?, ?)",
        (table_id, name, fingerprint),
    )
    await transaction.execute(INSERT_CONTROL_ROW, (table_id, Op.TRUNCATE))


async def _widen_log(transaction: Transaction, plan: Plan, schema: Schema) -> None:
    present = 1 if plan.create else len(schema.own[LOG]) - len(LOG_COLUMNS)
    needed = max((len(table.key) for table in plan.make), default=0)
    for number in range(present + 1, needed + 1):
        await transaction.execute(add_key_column(number))


async def order_reread(transaction: Transaction, tables: Collection[str]) -> None:
    """Log a row of op t for registered tables, so that every reader of the log reads them anew."""
    ids = {entry.name: entry.id for entry in await _read_registered(transaction)}
    for name in sorted(set(tables) & set(ids)):
        await transaction.execute(INSERT_CONTROL_ROW, (ids[name], Op.TRUNCATE))


async def _read_registered(transaction: Transaction) -> list[Registered]:
    rows = (await transaction.execute(f"SELECT id, name, fingerprint FROM {TABLES} ORDER BY id")).rows
    return [Registered(*row) for row in rows]


async def _check_format(transaction: Transaction) -> None:
    newest = (await transaction.execute(f"SELECT max(format) FROM {META}")).rows[0][0]
    if newest is not None and newest > FORMAT:
        raise UnsupportedVersionError(
            f"capture at the source has format {newest}; this program knows {FORMAT}", "upgrade this program"
        )
