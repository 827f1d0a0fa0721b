"""A simulated source database: tables, triggers, the change log, backups; read by the shipped CaptureReader.

The shipped reader and the shipped second look at the log talk SQL; here that is a handful of known
statements, answered from plain dictionaries of one moment.
"""

from __future__ import annotations

import asyncio
import bisect
import functools
import inspect
import operator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from cdc.capture import log as capture_log
from cdc.capture import piecewise, queries, reader
from cdc.capture.ddl import INSERT_CONTROL_ROW, NO_TABLE_ID, OP_EPOCH, OP_SETTINGS
from cdc.capture.errors import CaptureStaleError
from cdc.capture.install import InstallReport, Registered
from cdc.capture.select import Selected
from cdc.capture.table import KeyColumn, Table
from cdc.identifiers import META
from cdc.source.client import ResultSet, Statement
from schemas.definition import Column
from schemas.errors import SourceUnavailableError
from tests.simulation import bounds, leases
from tests.simulation.leases import SimLease  # noqa: TC001 -- msgspec resolves annotations at run time
from tests.simulation.loop import PROCESS
from tests.simulation.settings import SETTINGS, Settings, project

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from cdc.capture import SourceReader
    from schemas.event import Head
    from tests.simulation.loop import Process
    from tests.simulation.world import World

Rows = dict[int, tuple[Any, ...]]


class LogRow(NamedTuple):
    """A row of the change log."""

    change_id: int
    tbl: int
    op: str
    ts: int
    nonce: int
    k1: int | None


class Contents(msgspec.Struct):
    """Everything in the database file. Its parts are replaced, never changed, so a copy is a moment."""

    tables: dict[str, Rows]
    schema: dict[str, Table]
    schema_version: int = 1
    triggers: dict[str, str] = msgspec.field(default_factory=dict)
    """By table with triggers of ours: the fingerprint they were made for."""
    registered: tuple[Registered, ...] = ()
    log: tuple[LogRow, ...] = ()
    next_id: int = 1
    meta: tuple[int, int, str, int] | None = None
    """(epoch, epoch_nonce, database_id, pruned_to)."""
    leases: dict[tuple[str, str], SimLease] = {}

    def copy(self) -> Contents:
        return msgspec.structs.replace(self)


_TABLE_EXTRAS: dict[str, Any] = {
    name: value for name, value in {"index": None, "conflicts": ()}.items() if name in Table.__struct_fields__
}
_READER_EXTRAS: dict[str, Any] = (
    {"ranged": frozenset()} if "ranged" in inspect.signature(reader.CaptureReader).parameters else {}
)


@functools.cache
def make_table(name: str, columns: int) -> Table:
    """A table with an INTEGER PRIMARY KEY and that many columns."""
    names = ("id", *(f"c{i}" for i in range(1, columns)))
    return Table(
        name=name,
        columns=tuple(Column(column, "INTEGER" if column == "id" else "BLOB") for column in names),
        key=(KeyColumn("id", 0, "INTEGER", "BINARY"),),
        unique=True,
        rowid_alias=True,
        fingerprint=f"{name}/{columns}",
        **_TABLE_EXTRAS,
    )


class SimSource:
    """The database, and what people do to it."""

    url = "/data/app.db"
    tells_of_commits = True

    def __init__(self, world: World) -> None:
        self.world = world
        self.writer: Process | None = None
        self.version = 0
        self.away_until = 0.0
        self.backups: list[Contents] = []
        self.exchanged = False
        """Something else took the place of the database or its log: leases went with it."""
        self.edited = False
        """Somebody deleted rows of the log that were not theirs to delete."""
        self.now = self._new()
        self.record_truth: Callable[[Contents], None] = lambda _: None

    def _new(self) -> Contents:
        names = ("a", "b")
        schema = {name: make_table(name, 3) for name in names}
        return Contents(tables={name: {} for name in names}, schema=schema)

    @property
    def locked(self) -> bool:
        return self.writer is not None and self.writer.alive

    def commit(self, contents: Contents) -> None:
        self.world.checks.leases_written(self.now, contents)
        self.now = contents
        self.version += 1
        self.record_truth(contents)

    async def travel(self) -> None:
        """The way of a question and its answer."""
        world = self.world
        if world.loop.now < self.away_until:
            raise SourceUnavailableError("the source is away")
        if world.short_reads and world.faults.answers and world.rng.random() < STREAM_EXPIRES:
            raise SourceUnavailableError("the stream has expired")
        await world.loop.sleep(world.latency() if world.rng.random() < 0.3 else 0)

    # What upkeep asks of the driver's client.

    async def execute(self, sql: str, args: Sequence[Any] = ()) -> ResultSet:
        async with self.writing() as transaction:
            return await transaction.execute(sql, args)

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        async with self.writing() as transaction:
            return await transaction.batch(statements)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[SimTransaction, None]:
        await self.world.loop.sleep(0)
        yield SimTransaction(self, self.now)

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[SimTransaction, None]:
        await self.travel()
        while self.locked:  # noqa: ASYNC110 -- SQLite polls its lock too
            await asyncio.sleep(0.02)
        self.writer = PROCESS.get()
        try:
            transaction = SimTransaction(self, self.now.copy())
            yield transaction
            await transaction._travel()
            self.commit(transaction.contents)
        finally:
            self.writer = None

    # What applications and operators do; each is one atomic step.

    def transaction(self, changes: list[tuple[str, int, tuple[Any, ...] | None]]) -> None:
        """Writes and deletes rows; triggers log the keys of those tables that have them."""
        contents = self.now.copy()
        log: list[LogRow] = []
        contents.tables = {name: dict(rows) for name, rows in contents.tables.items()}
        for table, key, row in changes:
            if table not in contents.tables:
                continue
            rows = contents.tables[table]
            op = "d" if row is None else ("u" if key in rows else "c")
            if row is None:
                if key not in rows:
                    continue
                del rows[key]
            else:
                rows[key] = row
            if table in contents.triggers:
                self.append(contents, log, self._id_of(contents, table), op, key)
        contents.log += tuple(log)
        self.commit(contents)

    def append(self, contents: Contents, log: list[LogRow], tbl: int, op: str, key: int | None) -> None:
        nonce = self.world.rng.getrandbits(64) - 2**63
        log.append(LogRow(contents.next_id, tbl, op, int(self.world.loop.now * 1000), nonce, key))
        contents.next_id += 1

    def log_control(self, contents: Contents, tbl: int, op: str) -> None:
        log: list[LogRow] = []
        self.append(contents, log, tbl, op, None)
        contents.log += tuple(log)

    def _id_of(self, contents: Contents, table: str) -> int:
        return next(entry.id for entry in contents.registered if entry.name == table)

    def backup(self) -> None:
        self.backups.append(self.now)

    def restore(self, backup: Contents) -> None:
        # SQLite's own sequence is in the file too, so ids are given again.
        self.now = backup
        self.exchanged = True
        self.version += 1
        self.world.checks.restored(backup)

    def replace(self) -> None:
        """Another database under the same URL."""
        self.exchanged = True
        self.now = self._new()
        self.version += 1

    def wipe_capture(self) -> None:
        """Somebody uninstalls: triggers, log and what is known of it are gone."""
        self.exchanged = True
        contents = self.now.copy()
        contents.triggers, contents.registered, contents.log = {}, (), ()
        contents.meta, contents.next_id, contents.leases = None, 1, {}
        self.now = contents
        self.version += 1

    def prune(self, to: int) -> None:
        contents = self.now.copy()
        if contents.meta is None or not contents.log:
            return
        to = min(to, contents.log[-1].change_id - 1)
        if to <= contents.meta[3]:
            return
        contents.log = tuple(row for row in contents.log if row.change_id > to)
        contents.meta = (*contents.meta[:3], to)
        self.world.checks.pruned_by_hand(contents)
        self.now = contents
        self.version += 1

    def break_log(self, change_id: int) -> None:
        """Somebody deletes a row of the log that is not ours to delete."""
        contents = self.now.copy()
        contents.log = tuple(row for row in contents.log if row.change_id != change_id)
        if contents.log and len(contents.log) < len(self.now.log):
            self.now = contents
            self.edited = True
            self.version += 1

    def alter(self, table: str) -> None:
        """Adds a column; what exists has NULL there."""
        contents = self.now.copy()
        old = contents.schema[table]
        contents.schema = {**contents.schema, table: make_table(table, len(old.columns) + 1)}
        rows = {key: (*row, None) for key, row in contents.tables[table].items()}
        contents.tables = {**contents.tables, table: rows}
        contents.schema_version += 1
        self.now = contents
        self.version += 1

    def drop_or_create(self, table: str) -> None:
        contents = self.now.copy()
        if table in contents.schema:
            contents.schema = {name: one for name, one in contents.schema.items() if name != table}
            contents.tables = {name: rows for name, rows in contents.tables.items() if name != table}
            contents.triggers = {name: one for name, one in contents.triggers.items() if name != table}
        else:
            contents.schema = dict(sorted({**contents.schema, table: make_table(table, 3)}.items()))
            contents.tables = {**contents.tables, table: {}}
        contents.schema_version += 1
        self.now = contents
        self.version += 1

    def drop_triggers(self, table: str) -> None:
        contents = self.now.copy()
        contents.triggers = {name: one for name, one in contents.triggers.items() if name != table}
        contents.schema_version += 1
        self.now = contents
        self.version += 1


def stale(contents: Contents) -> bool:
    """Whether triggers are missing or older than the schema."""
    known = {entry.name for entry in contents.registered if entry.fingerprint}
    wanted = {name: table.fingerprint for name, table in contents.schema.items()}
    return contents.meta is None or contents.triggers != wanted or known != set(wanted)


_PAGE_ROWS = 2

_select_all = functools.cache(queries.select_all)
_select_touched = functools.cache(queries.select_touched)
_select_some = functools.cache(queries.select_some)

STREAM_EXPIRES = 0.01
"""How likely a trip to a source that is read in many short moments ends it."""


@functools.cache
def _queries(table: Table) -> dict[str, tuple[str, Table, str]]:
    """What a table's rows are asked for with: all, those touched, or piece by piece under a condition."""
    # Piece by piece: from the beginning, and behind a key.
    steps = [step for key in (None, (0,)) for step, _ in queries.steps_after(table, key)]
    return {
        **{_select_some(table, step): ("some", table, step) for step in steps},
        _select_all(table): ("all", table, ""),
        _select_touched(table): ("touched", table, ""),
    }


class SimTransaction:
    """Stands for the driver's Transaction: one moment of the source, and what a transaction adds to it."""

    def __init__(self, source: SimSource, contents: Contents) -> None:
        self.source = source
        self.contents = contents
        self._tables: Mapping[str, Table] = contents.schema

    def show(self, tables: Mapping[str, Table]) -> None:
        """Answer queries of tables as they are published."""
        self._tables = tables

    async def _travel(self) -> None:
        await self.source.travel()

    async def execute(self, sql: str, args: Sequence[Any] = ()) -> ResultSet:
        await self._travel()
        return self._result(sql, tuple(args))

    async def batch(self, statements: Sequence[Statement]) -> list[ResultSet]:
        await self._travel()
        return [self._result(one.sql, tuple(one.args)) for one in statements]

    def _result(self, sql: str, args: tuple[Any, ...]) -> ResultSet:
        answer = leases.answer(self.source, self.contents, sql, args)
        return ResultSet((), self._answer(sql, args)) if answer is None else ResultSet((), *answer)

    def _answer(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:  # noqa: PLR0911 -- a table
        contents = self.contents
        log = contents.log
        if sql is capture_log._STATE_SQL:
            if not log or contents.meta is None:
                return []
            nonces = [_nonce_of(log, asked) for asked in args]
            epoch, epoch_nonce, database_id, pruned_to = contents.meta
            return [(epoch, epoch_nonce, database_id, log[-1].change_id, log[-1].nonce, pruned_to, *nonces)]
        if sql is capture_log._COUNT_SQL:
            return [(len(_between(log, args[0], args[1])),)]
        if sql is reader._RANGE_SQL:
            found: dict[int, list[LogRow]] = {}
            for row in _between(log, args[0], args[1]):
                found.setdefault(row.tbl, []).append(row)
            return [
                (tbl, len(rows), max((r.change_id for r in rows if r.op == "t"), default=None), rows[-1].ts)
                for tbl, rows in found.items()
            ]
        if sql is reader._LATER_SQL:
            anew = {row.tbl: row for row in _between(log, args[0], contents.next_id) if row.op == "t"}
            return [(tbl, row.change_id, row.ts) for tbl, row in anew.items()]
        if sql.startswith(f"UPDATE {META} SET epoch"):
            assert contents.meta is not None
            contents.meta = (*args, *contents.meta[2:])
            return []
        if sql is INSERT_CONTROL_ROW:
            self.source.log_control(contents, *args)
            return []
        raise AssertionError(f"unknown to the simulation: {sql}")

    async def pages(self, sql: Any, args: Sequence[Any], encode: Any) -> AsyncGenerator[list[Any], None]:
        contents, kind = self.contents, "bounded"
        if not isinstance(sql, str):
            found = bounds.answer(contents, sql)
            whole = contents.schema[sql.table.name]
            limit = isinstance(sql, bounds.Limit)
            rows = found if limit else [project(row, whole, sql.table) for row in found]
        else:
            kind, table, step = next(one for t in self._tables.values() if (one := _queries(t).get(sql)))
            if kind == "all":
                whole = contents.schema[table.name]
                rows = [project(row, whole, table) for _, row in sorted(contents.tables[table.name].items())]
            elif kind == "some":
                rows = self._select_some(table, step, *args)
            else:
                rows = self._select_touched(table, *args)
        world = self.source.world
        for at in range(0, len(rows), _PAGE_ROWS):
            await self._travel()
            if kind in ("all", "some") and world.page_seconds and world.faults.crashes:
                await world.loop.sleep(world.page_seconds * world.rng.random())
            changes, _ = encode(rows[at : at + _PAGE_ROWS])
            if changes:
                yield changes

    def _select_some(self, table: Table, step: str, *args: int) -> list[tuple[Any, ...]]:
        after = args[0] if step else None
        rows = self.contents.tables[table.name]
        whole = self.contents.schema[table.name]
        keys = [key for key in sorted(rows) if after is None or key > after]
        return [project(rows[key], whole, table) for key in keys[: args[-1]]]

    def _select_touched(self, table: Table, prev: int, high: int, tbl: int) -> list[tuple[Any, ...]]:
        touched: dict[Any, list[LogRow]] = {}
        for row in _between(self.contents.log, prev, high):
            if row.tbl == tbl:
                touched.setdefault(row.k1, []).append(row)
        touched.pop(None, None)
        whole = self.contents.schema[table.name]
        rows, nothing = self.contents.tables[table.name], (None,) * len(table.columns)
        return [
            (
                *(project(rows[key], whole, table) if key in rows else nothing),
                key,
                lines[-1].change_id,
                lines[-1].ts,
                int(lines[0].op != "c"),
                0,
            )
            for key, lines in sorted(touched.items())
        ]


def _between(log: tuple[LogRow, ...], after: int, to: int) -> tuple[LogRow, ...]:
    """The rows behind one change id, up to another one; the log is in their order."""
    begin = bisect.bisect_right(log, after, key=_CHANGE_ID)
    return log[begin : bisect.bisect_right(log, to, lo=begin, key=_CHANGE_ID)]


def _nonce_of(log: tuple[LogRow, ...], change_id: int | None) -> int | None:
    found = () if change_id is None else _between(log, change_id - 1, change_id)
    return found[0].nonce if found else None


_CHANGE_ID = operator.attrgetter("change_id")


class SimCapture:
    """Stands for Capture: schema and triggers are simulated, reading and minting are the shipped code."""

    def __init__(self, source: SimSource, settings: Settings = SETTINGS[0]) -> None:
        self.source = source
        self.settings = settings
        self._seen_version = -1

    @property
    def client(self) -> SimSource:
        return self.source

    async def __aenter__(self) -> Self:
        await self._travel()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.sleep(0)

    async def _travel(self) -> None:
        await self.source.travel()

    async def installed(self) -> bool:
        await self._travel()
        return self.source.now.meta is not None

    async def data_changed(self) -> bool:
        await self._travel()
        changed = self.source.version != self._seen_version
        self._seen_version = self.source.version
        return changed

    async def install(self) -> InstallReport:
        async with self.source.writing() as transaction:
            contents, source = transaction.contents, self.source
            if contents.meta is None:
                contents.meta = (0, 0, source.world.rng.randbytes(4).hex(), 0)
                contents.log, contents.next_id, contents.triggers, contents.registered = (), 1, {}, ()
                contents.leases = {}
                await capture_log.mint(transaction, 1)
            if not contents.log:
                await capture_log.mint(transaction, contents.meta[0] + 1)
            registered = {entry.name: entry for entry in contents.registered}
            triggers = dict(contents.triggers)
            source.world.install_tables(contents, registered, triggers)
            contents.registered = tuple(sorted(registered.values(), key=lambda entry: entry.id))
            contents.triggers = triggers
        return InstallReport(created=False, tables=list(self.source.now.schema), skipped=[])

    async def mark(self) -> None:
        async with self.source.writing() as transaction:
            self.source.log_control(transaction.contents, NO_TABLE_ID, OP_SETTINGS)

    def reading(self) -> AbstractAsyncContextManager[SourceReader]:
        return piecewise.PiecewiseReader(self.moment) if self.source.world.short_reads else self.moment()

    def moment(self) -> SimMoment:
        return SimMoment(self)

    async def mint_epoch(self, above: int, seen: Head | None) -> bool:
        async with self.source.writing() as transaction:
            minted = await capture_log.mint_unless_healthy(transaction, above, seen)
        if minted:
            self.source.world.minted(PROCESS.get(), above)
        return minted


class SimMoment:
    """One moment of the source, as it is published."""

    def __init__(self, capture: SimCapture) -> None:
        self._capture = capture

    async def __aenter__(self) -> reader.CaptureReader:
        source, settings = self._capture.source, self._capture.settings
        await source.travel()
        contents = source.now
        if stale(contents):
            raise CaptureStaleError("the schema has changed under capture")
        transaction = source.world.read_transaction(source, contents)
        selected = Selected(settings.shown(contents.schema), ())
        transaction.show(selected.tables)
        return reader.CaptureReader(
            transaction,
            contents.schema_version,
            selected,
            contents.registered,
            settings=settings.digest,
            **_READER_EXTRAS,
        )

    async def __aexit__(self, *exc: object) -> None:
        pass


def install_tables(
    source: SimSource, contents: Contents, registered: dict[str, Registered], triggers: dict[str, str]
) -> None:
    """Makes triggers where they are missing or old, with a log row of op t, as `Capture.install` does."""
    for name, table in contents.schema.items():
        if (
            triggers.get(name) != table.fingerprint
            or name not in registered
            or not registered[name].fingerprint
        ):
            entry = registered.get(name)
            table_id = entry.id if entry else max((one.id for one in registered.values()), default=0) + 1
            registered[name] = Registered(table_id, name, table.fingerprint)
            triggers[name] = table.fingerprint
            source.log_control(contents, table_id, "t")
    for name, entry in list(registered.items()):
        if entry.fingerprint and name not in contents.schema:
            registered[name] = Registered(entry.id, name, "")
            triggers.pop(name, None)
            source.log_control(contents, entry.id, "t")


__all__ = [
    "NO_TABLE_ID",
    "OP_EPOCH",
    "Contents",
    "SimCapture",
    "SimSource",
    "install_tables",
    "make_table",
    "stale",
]
