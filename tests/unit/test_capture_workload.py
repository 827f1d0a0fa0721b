"""Random writes to random tables: what pages of changes make of an empty replica is the database itself."""

from __future__ import annotations

import contextlib
import sqlite3
from random import Random
from typing import TYPE_CHECKING

import pytest

from cdc.capture import Capture
from tests.support.random_sql import (
    NAMES,
    RandomTable,
    create,
    quoted,
    random_table,
    random_unique_index,
    random_write,
)
from tests.support.replica import Replica, assert_equal

if TYPE_CHECKING:
    from pathlib import Path

POLLS = 25
WRITES_PER_POLL = 12


def _write_some(rnd: Random, db: sqlite3.Connection, tables: list[RandomTable]) -> None:
    """Write alone, in transactions, and in transactions that are rolled back in part or whole."""
    for _ in range(rnd.randint(1, 4)):
        kind = rnd.choice(["single", "transaction", "savepoint", "rollback"])
        if kind != "single":
            db.execute("BEGIN")
        for number in range(rnd.randint(1, WRITES_PER_POLL)):
            table = rnd.choice(tables)
            inside = kind == "savepoint" and number % 4 == 0 and db.in_transaction
            if inside:
                db.execute("SAVEPOINT s")
            random_write(rnd, db, table)
            if inside and db.in_transaction:
                db.execute(rnd.choice(["RELEASE s", "ROLLBACK TO s"]))
        if db.in_transaction:
            db.execute("ROLLBACK" if kind == "rollback" else "COMMIT")


def _change_schema(rnd: Random, db: sqlite3.Connection, tables: list[RandomTable]) -> None:
    """Do to the schema what applications do while they run."""
    table = rnd.choice(tables)
    name = quoted(table.name)
    fresh = rnd.choice([other for other in NAMES if other not in {one.name for one in tables}])
    roll = rnd.random()
    if roll < 0.2:
        db.execute(f"ALTER TABLE {name} ADD COLUMN added_{rnd.randrange(10**6)} INTEGER DEFAULT 7")
    elif roll < 0.35:
        db.execute(f"ALTER TABLE {name} RENAME TO {quoted(fresh)}")
        tables[tables.index(table)] = table._replace(name=fresh)
    elif roll < 0.5:
        new = random_table(rnd, fresh)
        create(db, new)
        tables.append(new)
    elif roll < 0.7:
        db.execute(f"DROP TABLE {name}")
        tables.remove(table)
        new = random_table(rnd, table.name if rnd.random() < 0.6 else fresh)
        create(db, new)
        tables.append(new)
    elif roll < 0.85:
        old = rnd.choice(table.key)
        new_name = f"renamed_{rnd.randrange(10**6)}"
        db.execute(f"ALTER TABLE {name} RENAME COLUMN {quoted(old)} TO {new_name}")
        tables[tables.index(table)] = table._replace(
            key=[new_name if column == old else column for column in table.key],
            columns=[new_name if column == old else column for column in table.columns],
            indexable=[new_name if column == old else column for column in table.indexable],
        )
    elif roll < 0.95 and table.indexable:
        # Rows that are there already may be in its way.
        with contextlib.suppress(sqlite3.IntegrityError):
            db.execute(random_unique_index(rnd, table))
    else:
        db.execute(f"CREATE INDEX index_{rnd.randrange(10**6)} ON {name} ({quoted(table.columns[-1])})")


@pytest.mark.parametrize("seed", range(40))
async def test_a_replica_kept_from_changes_equals_the_database_after_every_poll(
    tmp_path: Path, seed: int
) -> None:
    rnd = Random(seed)
    path = str(tmp_path / "source.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA journal_mode = {rnd.choice(['WAL', 'DELETE'])}")
    db.execute("PRAGMA synchronous = OFF")
    if rnd.random() < 0.3:
        db.execute("PRAGMA recursive_triggers = ON")
    tables = [random_table(rnd, name) for name in rnd.sample(NAMES, rnd.randint(1, 4))]
    for table in tables:
        create(db, table)
    _write_some(rnd, db, tables)
    replica = Replica()
    async with Capture(path) as capture:
        for _ in range(POLLS):
            await replica.poll(capture)
            assert_equal(replica, path, {table.name: table.key for table in tables})
            if rnd.random() < 0.15:
                _change_schema(rnd, db, tables)
            _write_some(rnd, db, tables)
            if rnd.random() < 0.1:
                db.execute("VACUUM")
    db.close()
