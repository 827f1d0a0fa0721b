"""Capture at one source: install it, read it, remove it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import msgspec

from cdc.capture import limits, queries
from cdc.capture.ddl import INSERT_CONTROL_ROW, NO_TABLE_ID, OP_SETTINGS
from cdc.capture.errors import CaptureStaleError
from cdc.capture.install import (
    InstallReport,
    Plan,
    Registered,
    add_leases,
    carry_out,
    order_reread,
    plan_install,
    read_installed,
    remove,
)
from cdc.capture.introspect import Schema, read_schema, read_stamp
from cdc.capture.log import mint_unless_healthy
from cdc.capture.mask import settings_digest
from cdc.capture.piecewise import PiecewiseReader
from cdc.capture.prune import prune
from cdc.capture.reader import CaptureReader
from cdc.capture.recording import RecordingTransaction
from cdc.capture.select import Selected, check_conditions, leave_out_unreadable, select_tables
from cdc.capture.table import Selection, Table
from cdc.identifiers import LEASES, LOG
from cdc.source import Statement, open_client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
    from typing import Any

    from cdc.capture.prune import Pruned
    from cdc.capture.source_reader import SourceReader
    from cdc.hash_key import HashKey
    from cdc.source import Client, Transaction
    from cdc.table_settings import TableSettings
    from schemas.event import Head


class _TakeBackError(Exception):
    """Rolls a transaction back."""


class _Known(msgspec.Struct, frozen=True):
    """The schema as it was last read, in full agreement with the triggers.

    ``ranged`` are tables to be joined by ranges of rowids (`queries.scans`).
    """

    stamp: tuple[Any, ...]
    selected: Selected
    registered: tuple[Registered, ...]
    ranged: frozenset[str]


class Capture:
    """Capture of a selection of tables at one source, by triggers and a change log.

    Use it with ``async with``; every method raises what `cdc.source.Client` does.

    Args:
        url: the source.
        tables: names of the tables to capture; None for every ordinary one.
        key_columns: the identity of tables without a primary key, by table.
        settings: what of a table is published, by table.
        optional: those of ``tables`` that need not be there, and whose ``key_columns`` a primary key
            overrides.
        hash_key: what columns are hashed with, where settings say so.
        auth_token: what a server knows us by.
        strict: listed tables must be there when they are looked at first.
    """

    def __init__(
        self,
        url: str,
        *,
        tables: Sequence[str] | None = None,
        key_columns: Mapping[str, Sequence[str]] | None = None,
        settings: Mapping[str, TableSettings] | None = None,
        optional: Collection[str] = (),
        hash_key: HashKey | None = None,
        auth_token: str | None = None,
        strict: bool = True,
    ) -> None:
        self._url = url
        self._auth_token = auth_token
        self._selection = Selection(
            None if tables is None else tuple(tables),
            {name: tuple(columns) for name, columns in (key_columns or {}).items()},
            dict(settings or {}),
            hash_key,
            frozenset(optional),
        )
        self._settings = settings_digest(self._selection)
        self._client: Client | None = None
        self._known: _Known | None = None
        # What was asked for is checked strictly once: a table dropped later just leaves.
        self._checked = not strict

    async def __aenter__(self) -> Self:
        self._client = await open_client(self._url, auth_token=self._auth_token, watch=LOG)
        return self

    async def __aexit__(self, *exception: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def client(self) -> Client:
        """The open source."""
        if self._client is None:
            raise RuntimeError("this Capture is not open: use it with `async with`")
        return self._client

    @property
    def _served(self) -> bool:
        return self.client.short_reads and not self.client.reads_block

    async def install(self) -> InstallReport:
        """Make capture true: the log, what is known of it, triggers; nothing where all is well.

        A table whose triggers are made logs a row of op t in the same transaction, so that every reader of
        the log reads it anew. A new log begins an epoch.

        Raises:
            UsageError: a listed table does not exist or has no usable key (when this Capture is new).
            OperatorError: something of the user's has one of our names.
        """
        async with self.client.reading() as transaction:
            schema, selected, plan = await self._look(transaction)
        if not plan.is_empty:
            async with self.client.writing() as transaction:
                schema, selected, plan = await self._look(transaction)
                await carry_out(transaction, plan, schema)
        self._known = None
        return InstallReport(
            created=plan.create,
            tables=list(selected.tables),
            skipped=list(selected.skipped),
            changed=[table.name for table in plan.make] + [entry.name for entry in plan.leave],
        )

    async def install_sql(self) -> list[str]:
        """Give the statements that `install` would run now; it runs them, and takes all of it back.

        Raises:
            UsageError, OperatorError: as `install`.
        """
        recording: RecordingTransaction | None = None
        try:
            async with self.client.writing() as transaction:
                schema, _, plan = await self._look(transaction)
                recording = RecordingTransaction(transaction)
                await carry_out(recording, plan, schema)
                raise _TakeBackError  # noqa: TRY301 -- ends the transaction without a commit
        except _TakeBackError:
            return [] if recording is None else recording.statements

    async def _look(self, transaction: Transaction) -> tuple[Schema, Selected, Plan]:
        schema = await read_schema(transaction)
        selected = await self._select(transaction, schema)
        registered = await read_installed(transaction, schema)
        return schema, selected, plan_install(schema, selected, registered, served=self._served)

    async def _select(self, transaction: Transaction, schema: Schema) -> Selected:
        selected = select_tables(schema, self._selection, strict=not self._checked)
        self._checked = True
        readable = await leave_out_unreadable(transaction, schema, selected)
        await check_conditions(transaction, readable)
        return readable

    async def installed(self) -> bool:
        """Say whether capture is there (it may be older than the schema).

        Raises:
            OperatorError: something of the user's has one of our names.
        """
        async with self.client.reading() as transaction:
            return await read_installed(transaction, await read_schema(transaction)) is not None

    async def uninstall(self) -> bool:
        """Remove all of it, whichever tables it captures; say whether there was any.

        Raises:
            OperatorError: something of the user's has one of our names.
        """
        self._known = None
        async with self.client.writing() as transaction:
            return await remove(transaction, await read_schema(transaction))

    @asynccontextmanager
    async def reading(self, tries: int = 1) -> AsyncGenerator[SourceReader, None]:
        """Read the source at one moment, or in several short ones where a long one would do harm.

        Args:
            tries: how often each of several is begun before the source counts as locked.

        Raises:
            CaptureStaleError: capture is not installed, or the schema has outgrown it; `install` helps.
            UsageError: as `install` does.
        """
        if self.client.short_reads:
            seconds = None if self.client.reads_block else limits.SERVER_MOMENT_SECONDS
            moving = self.client.reads_move
            async with PiecewiseReader(self.moment, tries, seconds, moving=moving) as reader:
                yield reader
        else:
            async with self.moment() as moment:
                yield moment

    @asynccontextmanager
    async def moment(self) -> AsyncGenerator[CaptureReader, None]:
        """Open one read transaction, and leave it soon.

        Raises:
            CaptureStaleError: capture is not installed, or the schema has outgrown it; `install` helps.
            UsageError: as `install` does.
        """
        async with self.client.reading() as transaction:
            stamp = await read_stamp(transaction)
            if self._known is None or self._known.stamp != stamp:
                self._known = await self._learn(transaction)
            known = self._known
            yield CaptureReader(
                transaction,
                known.stamp[0],
                known.selected,
                known.registered,
                known.ranged,
                self._settings,
                moves=self.client.reads_move,
            )

    async def _learn(self, transaction: Transaction) -> _Known:
        schema = await read_schema(transaction)
        selected = await self._select(transaction, schema)
        registered = await read_installed(transaction, schema)
        if registered is None:
            raise CaptureStaleError("capture is not installed at the source", "run `cdc install`")
        plan = plan_install(schema, selected, registered, served=self._served)
        # What only guards the log against others is no reason to keep those from reading who may not write.
        if not msgspec.structs.replace(plan, stays=False).is_empty:
            names = ", ".join(f'"{one.name}"' for one in (*plan.make, *plan.leave)) or (
                "the table of leases is not there" if plan.lease else "a renamed table"
            )
            raise CaptureStaleError(f"the schema has changed under capture: {names}", "run `cdc install`")
        by_rowid = [table for table in selected.tables.values() if table.rowid_alias]
        ranged = await _scanned(transaction, by_rowid)
        return _Known(schema.stamp, selected, tuple(registered), ranged)

    async def mint_epoch(self, above: int, seen: Head | None) -> bool:
        """Begin a new epoch, max(the source's, ``above``) + 1, after a second look under the write lock.

        Args:
            above: the highest epoch that the topic or the cache knows.
            seen: where the reader stands that found fault with the log; None to mint in any case.

        Returns:
            Whether one was minted: not when the log does continue ``seen``, or the source's epoch is above
            ``above`` already.
        """
        async with self.client.writing() as transaction:
            return await mint_unless_healthy(transaction, above, seen)

    async def order_reread(self, tables: Collection[str]) -> None:
        """Log a row of op t for captured tables, so that every reader reads them anew."""
        async with self.client.writing() as transaction:
            await order_reread(transaction, tables)

    async def mark(self) -> None:
        """Log a row that speaks of no table, so that there is something for a group to lead to."""
        async with self.client.writing() as transaction:
            await transaction.execute(INSERT_CONTROL_ROW, (NO_TABLE_ID, OP_SETTINGS))

    async def prune(self, keep_s: float) -> Pruned:
        """Delete the log's rows that no reader needs and that are older than ``keep_s``.

        Raises:
            CaptureStaleError: capture is not installed.
            OperatorError: something of the user's has one of our names.
        """
        async with self.client.reading() as transaction:
            schema = await read_schema(transaction)
            if await read_installed(transaction, schema) is None:
                raise CaptureStaleError("capture is not installed at the source", "run `cdc install`")
            leased = LEASES in schema.own
        if not leased:
            # Nobody has a lease there yet; the retention alone speaks for readers.
            async with self.client.writing() as transaction:
                await add_leases(transaction, await read_schema(transaction))
        return await prune(self.client, keep_s)

    async def data_changed(self) -> bool:
        """Say whether anything may have been committed at the source since the last call; True at first."""
        return await self.client.data_changed()


async def _scanned(transaction: Transaction, tables: list[Table]) -> frozenset[str]:
    """Give the names of those tables that SQLite would read whole for every key of the log."""
    asked = [Statement(queries.explained(table), (0, 0, 0)) for table in tables]
    plans = await transaction.batch(asked)
    return frozenset(one.name for one, plan in zip(tables, plans, strict=True) if queries.scans(plan.rows))
