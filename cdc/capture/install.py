"""Puts capture into the source, brings it up to date after a schema change, and removes it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cdc.capture.ddl import (
    CREATE_LOG,
    CREATE_META,
    CREATE_TABLES,
    FORMAT,
    INSERT_CONTROL_ROW,
    LOG_COLUMNS,
    META_COLUMNS,
    TABLES_COLUMNS,
    add_key_column,
    trigger_names,
    triggers_of,
)
from cdc.capture.identifiers import LOG, META, OWN_TABLES, TABLES, folded, quoted
from cdc.capture.log import mint
from schemas.errors import OperatorError, UnsupportedVersionError
from schemas.event import Op

if TYPE_CHECKING:
    from cdc.capture.introspect import Schema
    from cdc.capture.select import Selected
    from cdc.capture.table import Skipped, Table
    from cdc.source import Transaction

_CREATE: Final = {LOG: CREATE_LOG, META: CREATE_META, TABLES: CREATE_TABLES}
_COLUMNS: Final = {LOG: LOG_COLUMNS, META: META_COLUMNS, TABLES: TABLES_COLUMNS}


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

    ``make``: tables whose triggers must be made anew. ``leave``: captured ones that exist no longer.
    ``ids`` has every table that will be captured. ``drop``: triggers of ours in the way.
    """

    create: list[str]
    make: list[Table]
    leave: list[Registered]
    drop: list[str]

    @property
    def is_empty(self) -> bool:
        """Nothing to do."""
        return not (self.create or self.make or self.leave or self.drop)


def check_own_tables(schema: Schema) -> list[str]:
    """Give those of our tables that are missing.

    Raises:
        OperatorError: something of the user's has one of their names.
    """
    missing: list[str] = []
    for name in OWN_TABLES:
        there = [row for row in schema.master if folded(str(row.name)) == name and row.kind != "trigger"]
        if not there:
            missing.append(name)
            continue
        columns = tuple(schema.own.get(name, ()))
        expected = _COLUMNS[name]
        if columns[: len(expected)] != expected or not all(
            column == f"k{number}" for number, column in enumerate(columns[len(expected) :], 1)
        ):
            raise OperatorError(
                f'the source has a {there[0].kind} "{there[0].name}" that is not ours',
                "rename it: capture needs that name",
            )
    return missing


async def read_registered(transaction: Transaction) -> list[Registered]:
    """Read which tables are or were captured."""
    rows = (await transaction.execute(f"SELECT id, name, fingerprint FROM {TABLES} ORDER BY id")).rows
    return [Registered(*row) for row in rows]


def plan_install(schema: Schema, selected: Selected, registered: list[Registered]) -> Plan:
    """Compare what should be with what is; pure.

    Raises:
        OperatorError: something of the user's has one of our tables' names.
    """
    by_name = {entry.name: entry for entry in registered}
    ours = {row.name: row for row in schema.master if row.kind == "trigger" and row.name.startswith("_cdc_")}
    make = [
        table
        for table in selected.tables.values()
        if not _is_captured(table, by_name.get(table.name), schema, ours)
    ]
    leave = [entry for entry in registered if entry.fingerprint and entry.name not in schema.tables]
    # Triggers follow a table that is renamed; under its new name it is another table to readers.
    remade = {name for entry in leave for name in trigger_names(entry.id)}
    drop = [name for name in ours if name in remade]
    return Plan(check_own_tables(schema), make, leave, drop)


def _is_captured(table: Table, entry: Registered | None, schema: Schema, ours: dict[str, Any]) -> bool:
    if entry is None or entry.fingerprint != table.fingerprint:
        return False
    wanted = triggers_of(table, entry.id)
    there = [ours.get(name) for name in wanted]
    if any(row is None or row.sql != wanted[row.name] for row in there):
        return False
    # SQLite fires the trigger created last first; ours must come before the application's.
    others = [row.created for row in schema.tables[table.name].triggers if row.name not in wanted]
    return not others or max(others) < min(row.created for row in there if row is not None)


async def carry_out(transaction: Transaction, plan: Plan, schema: Schema) -> None:
    """Make the plan true in a write transaction, with a log row of op t for every table it concerns."""
    for name in plan.create:
        await transaction.execute(_CREATE[name])
    if META in plan.create:
        await transaction.execute(
            f"INSERT INTO {META} (epoch, epoch_nonce, database_id, pruned_to, format) VALUES (0, 0, ?, 0, ?)",
            (secrets.token_hex(16), FORMAT),
        )
    if LOG in plan.create or META in plan.create:
        epoch = (await transaction.execute(f"SELECT max(epoch) FROM {META}")).rows[0][0]
        await transaction.execute(f"UPDATE {META} SET pruned_to = 0")
        await mint(transaction, epoch + 1)
    for name in plan.drop:
        await transaction.execute(f"DROP TRIGGER {quoted(name)}")
    await _widen_log(transaction, plan, schema)
    ids = {entry.name: entry.id for entry in await read_registered(transaction)}
    for table in plan.make:
        table_id = ids.get(table.name) or max(ids.values(), default=0) + 1
        ids[table.name] = table_id
        for name in trigger_names(table_id):
            await transaction.execute(f"DROP TRIGGER IF EXISTS {quoted(name)}")
        for sql in triggers_of(table, table_id).values():
            await transaction.execute(sql)
        await _register(transaction, table_id, table.name, table.fingerprint)
    for entry in plan.leave:
        await _register(transaction, entry.id, entry.name, "")


async def _register(transaction: Transaction, table_id: int, name: str, fingerprint: str) -> None:
    await transaction.execute(
        f"INSERT OR REPLACE INTO {TABLES} (id, name, fingerprint) VALUES (?, ?, ?)",
        (table_id, name, fingerprint),
    )
    await transaction.execute(INSERT_CONTROL_ROW, (table_id, Op.TRUNCATE))


async def _widen_log(transaction: Transaction, plan: Plan, schema: Schema) -> None:
    present = 1 if LOG in plan.create else len(schema.own[LOG]) - len(LOG_COLUMNS)
    needed = max((len(table.key) for table in plan.make), default=0)
    for number in range(present + 1, needed + 1):
        await transaction.execute(add_key_column(number))


async def check_format(transaction: Transaction) -> None:
    """Refuse capture that a newer program put there.

    Raises:
        UnsupportedVersionError: it did.
    """
    newest = (await transaction.execute(f"SELECT max(format) FROM {META}")).rows[0][0]
    if newest is not None and newest > FORMAT:
        raise UnsupportedVersionError(
            f"capture at the source has format {newest}; this program knows {FORMAT}", "upgrade this program"
        )


async def remove(transaction: Transaction, schema: Schema) -> bool:
    """Remove all of capture in a write transaction; say whether there was any.

    The log goes last: an application connection fails on a log that vanished under its triggers.

    Raises:
        OperatorError: something of the user's has one of our tables' names.
    """
    missing = check_own_tables(schema)
    if TABLES not in missing:
        own = {name for entry in await read_registered(transaction) for name in trigger_names(entry.id)}
        for row in schema.master:
            if row.kind == "trigger" and row.name in own:
                await transaction.execute(f"DROP TRIGGER {quoted(row.name)}")
    for name in (TABLES, META, LOG):
        if name not in missing:
            # Takes its entry in sqlite_sequence with it.
            await transaction.execute(f"DROP TABLE {name}")
    return len(missing) < len(OWN_TABLES)
