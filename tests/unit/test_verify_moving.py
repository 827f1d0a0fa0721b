"""verify reads a rollback-journal source in many short moments, while the application writes in between."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import pytest

from cdc.capture import limits
from cdc.cli.parts import open_capture
from cdc.cli.sync import sync_cache
from cdc.cli.verify import SourceSeen, Verified, compare_with
from cdc.config import CacheConfig, Config, SourceConfig, TableConfig
from cdc.table_settings import TableSettings
from consumers import _redb, verify_buckets
from consumers.store import redb_errors
from consumers.verify import Verification
from schemas.definition import Follow
from schemas.keys import encode_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path


@pytest.fixture(autouse=True)
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a handful of rows takes many moments, and a few buckets many rounds."""
    monkeypatch.setattr(limits, "PIECE_ROWS_FIRST", 3)
    monkeypatch.setattr(limits, "PIECE_ROWS_MAX", 5)
    monkeypatch.setattr(verify_buckets, "SUSPECT_ROWS_MAX", 4)
    monkeypatch.setattr(verify_buckets, "BUCKETS", 32)


def config(tmp_path: Path, **tables: TableSettings) -> Config:
    return Config(
        cache=CacheConfig(path=tmp_path / "cache.redb", node="node-a"),
        source=SourceConfig(url=str(tmp_path / "app.db"), tables=tuple(tables)),
        tables={name: TableConfig(settings=settings) for name, settings in tables.items()},
    )


def opened(tmp_path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(tmp_path / "app.db", isolation_level=None, timeout=0)
    db.execute("PRAGMA synchronous = OFF")
    return db


async def compare(settings: Config, between: Callable[[], None]) -> Verified:
    """Compare; ``between`` runs after each page that is read of the source."""

    class Busy(SourceSeen):
        async def rows(self, table: str) -> AsyncIterator[Iterable[tuple[bytes, bytes | None]]]:
            async for page in super().rows(table):
                yield page
                between()

        async def oldest(self, table: str, rows: int) -> AsyncIterator[Iterable[bytes]]:
            async for page in super().oldest(table, rows):
                yield page
                between()

        async def pending(self, after: int) -> AsyncIterator[Iterable[tuple[str, bytes]]]:
            async for page in super().pending(after):
                yield page
                between()

    database = _redb.Database.open_read_only(settings.cache.path)
    with database, redb_errors(settings.cache.path), database.snapshot() as snapshot:
        async with open_capture(settings) as capture:
            return await compare_with(capture, Verification(snapshot), Busy)


@pytest.mark.parametrize("seed", range(25))
async def test_no_difference_is_missed_and_none_is_made_up_by_an_application_that_writes(
    tmp_path: Path, seed: int
) -> None:
    rnd = Random(seed)
    settings = config(tmp_path, t=TableSettings())
    db = opened(tmp_path)
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    db.executemany("INSERT INTO t VALUES (?, 0)", [(number,) for number in range(60)])
    await sync_cache(settings, 5.0, rebuild=False)
    synced = db.execute("SELECT max(change_id) FROM _cdc_log").fetchone()[0]
    wrong = rnd.sample(range(70), rnd.randrange(12))
    with _redb.Database.open(settings.cache.path) as database:
        row = database.get("t", encode_key((rnd.randrange(60),)))
        assert row is not None
        other = row[:-1] + b"\x07"
        database.apply(
            {
                "t": [
                    (encode_key((number,)), other if number >= 60 or rnd.random() < 0.5 else None, synced)
                    for number in wrong
                ]
            },
            {},
        )
    writes = rnd.randrange(60)

    def between() -> None:
        nonlocal writes
        while writes and rnd.random() < 0.6:
            writes -= 1
            number = rnd.randrange(80)
            if rnd.random() < 0.4:
                db.execute("DELETE FROM t WHERE id = ?", (number,))
            else:
                db.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (number, rnd.random()))

    verified = await compare(settings, between)
    touched = {row[0] for row in db.execute("SELECT k1 FROM _cdc_log WHERE change_id > ?", (synced,))}
    report = verified.tables["t"]
    found = {*report.missing, *report.unexpected, *report.different}
    # What was touched after its comparison may be known to differ, or not any more.
    certain = {encode_key((number,)) for number in wrong if number not in touched}
    assert certain <= found <= {encode_key((number,)) for number in wrong}
    assert len(found) == report.listed
    assert verified.equal == (not found)
    assert not report.more
    assert verified.checks["newest_rows"] or 59 in wrong or touched
    assert verified.checks["row_counts"] or certain


@pytest.mark.parametrize("seed", range(15))
async def test_bounded_tables_are_equal_whatever_comes_and_goes_meanwhile(tmp_path: Path, seed: int) -> None:
    rnd = Random(seed)
    settings = config(
        tmp_path,
        p=TableSettings(keep=10, keep_by="at"),
        c=TableSettings(follow=Follow(("p",), "parent")),
        d=TableSettings(follow=Follow(("c",), "parent")),
    )
    db = opened(tmp_path)
    db.executescript(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, at); CREATE TABLE c (id INTEGER PRIMARY KEY, parent);"
        "CREATE TABLE d (id INTEGER PRIMARY KEY, parent)"
    )
    for table in ("p", "c", "d"):
        db.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(n, rnd.randrange(30)) for n in range(30)])
    await sync_cache(settings, 5.0, rebuild=False)
    writes = 30

    def between() -> None:
        nonlocal writes
        while writes and rnd.random() < 0.5:
            writes -= 1
            table, delete, number, value = (
                rnd.choice("pcd"),
                rnd.random() < 0.4,
                rnd.randrange(40),
                rnd.randrange(40),
            )
            # While the bounded tables are looked at again at one moment, nobody can write.
            with suppress(sqlite3.OperationalError):
                if delete:
                    db.execute(f"DELETE FROM {table} WHERE id = ?", (number,))
                else:
                    db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (number, value))

    verified = await compare(settings, between)
    assert verified.equal, verified
    assert all(verified.checks.values())
    await sync_cache(settings, 5.0, rebuild=False)
    assert (await compare(settings, lambda: None)).equal
