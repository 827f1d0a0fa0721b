"""A random application: its tables, its writes in transactions, and what it does to its schema as it runs."""

from __future__ import annotations

import re
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

from tests.support.random_sql import (
    NAMES,
    RandomTable,
    quoted,
    random_table,
    random_unique_index,
    random_write,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

WRITES_MAX = 10
BULK_ROWS = 5_000
WIDE_COLUMNS = 60

_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT")
_OURS = re.compile(r"\b_cdc_(log|meta|tables|leases|[0-9]+)")
_FAULTS = ("IGNORE", "ABORT, 'no'", "FAIL, 'no'", "ROLLBACK, 'no'")

STEP_INSTRUCTIONS = 10_000
STEPS_MAX = 500
"""A write that takes more than so many times so many of SQLite's instructions is given up."""


class Application:
    """Writes to a database of its own making; whatever a constraint or trigger of its own refuses just fails.

    Args:
        rnd: decides everything.
        path: the database to make.
        say: is given every statement, for a trace.
    """

    def __init__(self, rnd: Random, path: Path, say: Callable[[str], None] | None = None) -> None:
        self.rnd = rnd
        self.db = sqlite3.connect(path, isolation_level=None)
        self._steps = -sys.maxsize
        self.db.set_progress_handler(self._step, STEP_INSTRUCTIONS)
        if say is not None:
            self.db.set_trace_callback(say)
        self.db.execute(f"PRAGMA journal_mode = {rnd.choice(['WAL', 'WAL', 'DELETE'])}")
        self.db.execute("PRAGMA synchronous = OFF")
        self.db.execute(f"PRAGMA recursive_triggers = {rnd.choice([0, 0, 1])}")
        self.db.execute(f"PRAGMA foreign_keys = {rnd.choice([0, 1])}")
        self.tables: list[RandomTable] = []
        self._numbers = 0
        for _ in range(rnd.randint(1, 3)):
            self._create()
        if rnd.random() < 0.3:
            self._create_child()
        if rnd.random() < 0.05:
            self._create_wide()
        for _ in range(rnd.choice([0, 0, 1, 2])):
            self._create_trigger()

    def write(self) -> None:
        """Commit some: alone, in transactions, in transactions that are rolled back in part or whole."""
        rnd, db = self.rnd, self.db
        for _ in range(rnd.randint(1, 3)):
            kind = rnd.choice(["single", "transaction", "savepoint", "rollback"])
            if kind != "single":
                db.execute("BEGIN")
            for number in range(rnd.randint(1, WRITES_MAX)):
                if not self.tables:
                    break
                inside = kind == "savepoint" and number % 3 == 0 and db.in_transaction
                if inside:
                    db.execute("SAVEPOINT s")
                self._attempt(lambda: random_write(rnd, db, rnd.choice(self.tables)))
                if inside and db.in_transaction:
                    db.execute(rnd.choice(["RELEASE s", "ROLLBACK TO s"]))
            if db.in_transaction:
                db.execute("ROLLBACK" if kind == "rollback" else "COMMIT")
        if rnd.random() < 0.002 and self.tables:
            self._write_bulk()
        if rnd.random() < 0.03:
            db.execute("VACUUM")

    def change_schema(self) -> None:
        """Do what applications, and careless operators, do to a schema while it is captured."""
        change = self.rnd.choice(
            (
                self._add_column,
                self._rename_column,
                self._drop_column,
                self._rename_table,
                self._drop_table,
                self._recreate_table,
                self._create,
                self._create_child,
                self._create_index,
                self._create_trigger,
                self._create_trigger,
                self._create_trigger,
                self._drop_our_triggers,
            )
        )
        self._attempt(change)
        self.tables = [self._seen(table) for table in self.tables]

    def close(self) -> None:
        """Let go of the database."""
        self.db.close()

    def _step(self) -> int:
        """Count what a statement does; one of its own triggers' making may multiply rows without end."""
        self._steps += 1
        return int(self._steps > STEPS_MAX)

    def _attempt(self, work: Callable[[], None]) -> None:
        self._steps = 0
        try:
            work()
        except (sqlite3.IntegrityError, sqlite3.OperationalError) as error:
            # The application's own rules may refuse anything; capture may refuse nothing.
            if _OURS.search(str(error)):
                raise
        finally:
            self._steps = -sys.maxsize

    def _fresh_name(self) -> str:
        taken = {table.name.lower() for table in self.tables}
        return self.rnd.choice([name for name in NAMES if name.lower() not in taken])

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _create(self, name: str | None = None) -> None:
        table = random_table(self.rnd, name or self._fresh_name())
        for statement in table.statements:
            self.db.execute(statement)
        self.tables.append(table)

    def _create_child(self) -> None:
        """Make a table whose rows are changed by what happens to rows of another."""
        rnd = self.rnd
        parents = [table for table in self.tables if len(table.key) == 1]
        if not parents:
            return
        parent, name = rnd.choice(parents), self._fresh_name()
        reference = f"REFERENCES {quoted(parent.name)} ({quoted(parent.key[0])})"
        actions = f"ON DELETE {rnd.choice(_ACTIONS)} ON UPDATE {rnd.choice(_ACTIONS)}"
        key = rnd.choice(["id INTEGER PRIMARY KEY, p", "id, p PRIMARY KEY"])
        sql = f"CREATE TABLE {quoted(name)} ({key} {reference} {actions}, v UNIQUE)"
        self.db.execute(sql)
        self.tables.append(
            RandomTable(name, ["id" if "id INTEGER" in key else "p"], ["id", "p", "v"], ["p"], [sql])
        )

    def _create_wide(self) -> None:
        name = self._fresh_name()
        columns = ["id", *(f"c{number}" for number in range(1, WIDE_COLUMNS))]
        sql = f"CREATE TABLE {quoted(name)} ({', '.join(columns)}, PRIMARY KEY (id))"
        self.db.execute(sql)
        self.tables.append(RandomTable(name, ["id"], columns, ["c1", "c2"], [sql]))

    def _create_trigger(self) -> None:
        """Make a trigger that writes elsewhere, rewrites the row itself, or refuses it."""
        rnd = self.rnd
        if not self.tables:
            return
        table, other = rnd.choice(self.tables), rnd.choice(self.tables)
        event, row = rnd.choice([("INSERT", "NEW"), ("UPDATE", "NEW"), ("UPDATE", "OLD"), ("DELETE", "OLD")])
        when = rnd.choice(["BEFORE", "AFTER", "AFTER"])
        seen = f"{row}.{quoted(rnd.choice(table.columns))}"
        target = quoted(rnd.choice(other.columns))
        body = rnd.choice(
            [
                f"UPDATE {quoted(other.name)} SET {target} = {seen} WHERE {target} > {seen}",
                f"UPDATE OR REPLACE {quoted(other.name)} SET {target} = {seen} WHERE {target} IS NOT {seen}",
                f"INSERT OR REPLACE INTO {quoted(other.name)} ({target}) VALUES ({seen})",
                f"INSERT OR IGNORE INTO {quoted(other.name)} ({target}) VALUES ({seen})",
                f"DELETE FROM {quoted(other.name)} WHERE {target} = {seen}",
                f"SELECT RAISE({rnd.choice(_FAULTS)}) WHERE {seen} IN (1, 2, 'a', 'b')",
                f"SELECT RAISE({rnd.choice(_FAULTS)}) WHERE {seen} IN (1, 2, 'a', 'b')",
            ]
        )
        name = f"trigger_{self._number()}"
        self.db.execute(f"CREATE TRIGGER {name} {when} {event} ON {quoted(table.name)} BEGIN {body}; END")

    def _drop_our_triggers(self) -> None:
        names = self.db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '\\_cdc\\_%' ESCAPE '\\'"
        )
        for (name,) in names.fetchall():
            if self.rnd.random() < 0.5:
                self.db.execute(f"DROP TRIGGER {quoted(name)}")

    def _add_column(self) -> None:
        table = self._any()
        default = self.rnd.choice(["", " DEFAULT 7", " TEXT NOT NULL DEFAULT 'x'", " AS (1)"])
        self.db.execute(f"ALTER TABLE {quoted(table.name)} ADD COLUMN added_{self._number()}{default}")

    def _rename_column(self) -> None:
        table = self._any()
        old, new = self.rnd.choice(table.columns), f"renamed_{self._number()}"
        self.db.execute(f"ALTER TABLE {quoted(table.name)} RENAME COLUMN {quoted(old)} TO {new}")

    def _drop_column(self) -> None:
        table = self._any()
        self.db.execute(
            f"ALTER TABLE {quoted(table.name)} DROP COLUMN {quoted(self.rnd.choice(table.columns))}"
        )

    def _rename_table(self) -> None:
        table, name = self._any(), self._fresh_name()
        self.db.execute(f"ALTER TABLE {quoted(table.name)} RENAME TO {quoted(name)}")
        self.tables[self.tables.index(table)] = table._replace(name=name)

    def _drop_table(self) -> None:
        table = self._any()
        self.db.execute(f"DROP TABLE {quoted(table.name)}")
        self.tables.remove(table)

    def _recreate_table(self) -> None:
        table = self._any()
        self.db.execute(f"DROP TABLE {quoted(table.name)}")
        self.tables.remove(table)
        self._create(table.name)

    def _create_index(self) -> None:
        table = self._any()
        if table.indexable:
            self.db.execute(random_unique_index(self.rnd, table))

    def _write_bulk(self) -> None:
        table = self._any()
        numbers = f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {BULK_ROWS})"
        columns = ", ".join(map(quoted, table.columns))
        values = ", ".join(
            self.rnd.choice(["i", "i % 7", "'t' || i", "i * 0.5", "NULL"]) for _ in table.columns
        )
        self._attempt(
            lambda: self._run(
                f"{numbers} INSERT OR REPLACE INTO {quoted(table.name)} ({columns}) SELECT {values} FROM n"
            )
        )

    def _run(self, sql: str, *args: Any) -> None:
        self.db.execute(sql, args)

    def _any(self) -> RandomTable:
        if not self.tables:
            raise sqlite3.OperationalError("there is no table")
        return self.rnd.choice(self.tables)

    def _seen(self, table: RandomTable) -> RandomTable:
        """A table with its columns and its key as the database has them now."""
        found = self.db.execute(
            "SELECT name, pk, hidden FROM pragma_table_xinfo(?)", (table.name,)
        ).fetchall()
        columns = [name for name, _, hidden in found if not hidden]
        key = [name for _, name in sorted((pk, name) for name, pk, _ in found if pk)]
        indexable = [name for name in columns if name in table.indexable]
        return table._replace(columns=columns, key=key, indexable=indexable)
