"""The embedded default on real files: whatever happens to the source, the cache ends equal to it."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

import cdc.poller
from cdc.capture import Capture
from cdc.capture import limits as capture_limits
from cdc.capture.moments import Moments
from cdc.embedded import CachePublication, sync
from cdc.poller import Polled, Poller
from consumers import limits
from consumers.cache import Cache
from consumers.writer import CacheWriter
from schemas.errors import CacheBusyError, CacheError, SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Pair:
    """A database and its cache."""

    def __init__(self, folder: Path) -> None:
        self.path, self.cache = folder / "app.db", folder / "cache.redb"
        self.db = self.connect()
        self.tables: list[str] | None = None

    def connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        return db

    def capture(self) -> Capture:
        return Capture(str(self.path), tables=self.tables)

    async def sync(self, *, rebuild: bool = False) -> Polled:
        async with CacheWriter(self.cache, "test") as writer:
            return await sync(self.capture, writer, rebuild=rebuild)

    def cached(self) -> dict[str, list[dict[str, Any]]]:
        with Cache.open(self.cache) as cache:
            return {table: [row for _, row in cache.scan(table)] for table in cache.tables()}

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        rows = self.db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_cdc\\_%' ESCAPE '\\' "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        )
        tables: dict[str, list[dict[str, Any]]] = {}
        for (name,) in rows.fetchall():
            cursor = self.db.execute(f'SELECT * FROM "{name}" ORDER BY 1')
            columns = [column[0] for column in cursor.description]
            tables[name] = [dict(zip(columns, row, strict=True)) for row in cursor]
        return tables

    def assert_equal(self) -> None:
        cached, stored = self.cached(), self.stored()
        assert cached == stored
        # 1 == 1.0 to Python, not to us.
        assert repr(cached) == repr(stored)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    made.db.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT)")
    made.db.execute("CREATE TABLE b(k TEXT PRIMARY KEY, x REAL) WITHOUT ROWID")
    made.db.executemany("INSERT INTO a VALUES (?, ?)", [(n, f"v{n}") for n in range(1, 51)])
    made.db.executemany("INSERT INTO b VALUES (?, ?)", [(f"k{n:03}", n / 4) for n in range(30)])
    yield made
    made.db.close()


async def test_the_first_sync_loads_and_the_next_ones_apply_changes(pair: Pair):
    first = await pair.sync()
    assert (first.rows, first.events) == (80, 0)
    pair.assert_equal()
    pair.db.execute("UPDATE a SET v = 'new' WHERE id <= 3")
    pair.db.execute("DELETE FROM b WHERE k = 'k001'")
    second = await pair.sync()
    assert (second.rows, second.events) == (0, 4)
    pair.assert_equal()
    assert (await pair.sync()).idle


async def test_a_key_change_removes_the_old_key(pair: Pair):
    await pair.sync()
    pair.db.execute("UPDATE b SET k = 'moved' WHERE k = 'k002'")
    await pair.sync()
    pair.assert_equal()


async def test_an_added_column_reaches_every_row(pair: Pair):
    await pair.sync()
    pair.db.execute("ALTER TABLE a ADD COLUMN w DEFAULT 'there'")
    await pair.sync()
    pair.assert_equal()


async def test_new_dropped_and_renamed_tables_are_followed(pair: Pair):
    await pair.sync()
    pair.db.execute("CREATE TABLE c(id INTEGER PRIMARY KEY, z)")
    pair.db.execute("INSERT INTO c VALUES (1, x'00ff')")
    pair.db.execute("DROP TABLE b")
    pair.db.execute("ALTER TABLE a RENAME TO renamed")
    await pair.sync()
    pair.assert_equal()
    pair.db.execute("INSERT INTO renamed VALUES (99, 'later')")
    await pair.sync()
    pair.assert_equal()


async def test_a_table_dropped_and_made_anew_is_read_anew(pair: Pair):
    await pair.sync()
    pair.db.execute("DROP TABLE a")
    pair.db.execute("CREATE TABLE a(id TEXT PRIMARY KEY, other INTEGER)")
    pair.db.execute("INSERT INTO a VALUES ('x', 1)")
    await pair.sync()
    pair.assert_equal()


async def test_what_was_written_between_uninstall_and_the_next_sync_is_found(pair: Pair):
    await pair.sync()
    async with pair.capture() as capture:
        await capture.uninstall()
    pair.db.execute("DELETE FROM a WHERE id = 7")
    pair.db.execute("INSERT INTO b VALUES ('between', 1.5)")
    assert (await pair.sync()).rows == 80
    pair.assert_equal()


async def test_a_restored_backup_is_noticed_even_when_written_past_the_old_position(pair: Pair):
    await pair.sync()
    backup = sqlite3.connect(pair.path.with_suffix(".bak"))
    pair.db.backup(backup)
    pair.db.execute("UPDATE a SET v = 'lost' WHERE id < 20")
    await pair.sync()
    backup.backup(pair.db)
    backup.close()
    pair.db.execute("UPDATE a SET v = 'other' WHERE id > 20")
    restored = await pair.sync()
    assert restored.head.epoch == 2
    pair.assert_equal()


async def test_a_replaced_database_is_noticed(pair: Pair, tmp_path: Path):
    await pair.sync()
    pair.db.close()
    for suffix in ("-wal", "-shm"):
        pair.path.with_name(pair.path.name + suffix).unlink(missing_ok=True)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT)")
    other.execute("INSERT INTO a VALUES (1, 'another database')")
    other.commit()
    other.close()
    shutil.move(tmp_path / "other.db", pair.path)
    pair.db = pair.connect()
    await pair.sync()
    pair.assert_equal()


async def test_a_cache_of_another_database_is_rebuilt_and_condemns_nobody(pair: Pair, tmp_path: Path):
    (tmp_path / "second").mkdir()
    second = Pair(tmp_path / "second")
    second.db.execute("CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT)")
    second.db.execute("INSERT INTO a VALUES (5, 'second')")
    await second.sync()
    shutil.copy(second.cache, pair.cache)
    assert (await pair.sync()).head.epoch == 1
    pair.assert_equal()
    second.db.close()


async def test_a_wiped_log_is_noticed(pair: Pair):
    await pair.sync()
    pair.db.execute("UPDATE a SET v = 'unseen' WHERE id = 1")
    pair.db.execute("DELETE FROM _cdc_log")
    await pair.sync()
    pair.assert_equal()


async def test_a_hand_made_hole_in_the_log_is_noticed(pair: Pair):
    await pair.sync()
    pair.db.execute("UPDATE a SET v = 'unseen' WHERE id <= 5")
    pair.db.execute("DELETE FROM _cdc_log WHERE change_id = (SELECT max(change_id) - 2 FROM _cdc_log)")
    await pair.sync()
    pair.assert_equal()


async def test_a_big_transaction_is_streamed_and_shown_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    await pair.sync()
    monkeypatch.setattr(limits, "STREAM_ROWS_MAX", 100)
    pair.db.execute("BEGIN")
    pair.db.executemany("INSERT INTO a VALUES (?, ?)", [(n, "big") for n in range(1000, 6000)])
    pair.db.execute("DELETE FROM b")
    pair.db.execute("COMMIT")
    assert (await pair.sync()).events == 5030
    pair.assert_equal()


async def test_a_poll_that_fails_in_the_middle_changes_nothing_and_can_be_repeated(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
):
    await pair.sync()
    before = pair.cached()
    monkeypatch.setattr(limits, "STREAM_ROWS_MAX", 100)
    pair.db.executemany("INSERT INTO a VALUES (?, ?)", [(n, "big") for n in range(1000, 9000)])
    async with CacheWriter(pair.cache, "test") as writer, pair.capture() as capture:
        publication = CachePublication(writer, "x")
        relieve, calls = writer.relieve, 0

        async def fail_on_the_third() -> None:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise OSError("pulled the plug")
            await relieve()

        monkeypatch.setattr(writer, "relieve", fail_on_the_third)
        with pytest.raises(OSError, match="plug"):
            await Poller(capture, publication).poll()
        assert pair.cached() == before
        assert (await Poller(capture, publication).poll()).events == 8000
    pair.assert_equal()


@pytest.mark.parametrize("busy", [4, 1000])
async def test_one_sync_ends_exact_though_rows_change_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: int
):
    """In rollback-journal mode rows are read in many moments; the application writes between them."""
    monkeypatch.setattr(capture_limits, "PIECE_ROWS_FIRST", 2)
    monkeypatch.setattr(capture_limits, "PIECE_ROWS_MAX", 2)
    monkeypatch.setattr(cdc.poller, "SETTLING_POLLS_MAX", 3)
    pair = Pair(tmp_path)
    pair.db.executescript("PRAGMA journal_mode = DELETE; CREATE TABLE a (id INTEGER PRIMARY KEY, v)")
    await pair.sync()
    pair.db.executemany("INSERT INTO a VALUES (?, 0)", [(n,) for n in range(10)])
    rest = Moments.rest

    async def write_between(moments: Moments) -> None:
        nonlocal busy
        await rest(moments)
        if busy:
            busy -= 1
            pair.db.execute("UPDATE a SET v = v + 1")

    monkeypatch.setattr(Moments, "rest", write_between)
    if busy > 100:
        with pytest.raises(SourceUnavailableError, match="faster than it can be read"):
            await pair.sync()
        return
    polled = await pair.sync()
    assert polled.head.change_id >= polled.head.exact_at
    pair.assert_equal()


@pytest.mark.parametrize("grown", [False, True])
async def test_a_backup_of_before_rows_that_were_read_early_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, grown: bool
):
    """The log ends at the row on which the cache stands, which holds later rows; or has grown past those."""
    monkeypatch.setattr(capture_limits, "PIECE_ROWS_FIRST", 2)
    monkeypatch.setattr(capture_limits, "PIECE_ROWS_MAX", 2)
    pair = Pair(tmp_path)
    pair.db.executescript("PRAGMA journal_mode = DELETE; CREATE TABLE a (id INTEGER PRIMARY KEY, v)")
    await pair.sync()
    pair.db.executemany("INSERT INTO a VALUES (?, 0)", [(n,) for n in range(10)])
    pair.db.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    rest = Moments.rest

    async def write_between(moments: Moments) -> None:
        await rest(moments)
        pair.db.execute("UPDATE a SET v = 1")

    async with CacheWriter(pair.cache, "test") as writer, pair.capture() as capture:
        with monkeypatch.context() as patched:
            patched.setattr(Moments, "rest", write_between)
            polled = await Poller(capture, CachePublication(writer, capture.client.url)).poll()
    assert not polled.exact
    pair.db.close()
    shutil.move(tmp_path / "backup.db", pair.path)
    pair.db = sqlite3.connect(pair.path, isolation_level=None)
    high = "SELECT max(change_id) FROM _cdc_log"
    while grown and pair.db.execute(high).fetchone()[0] < polled.head.exact_at:
        # Other rows than those that were read early.
        pair.db.execute("INSERT INTO a SELECT max(id) + 1, 2 FROM a")
    restored = await pair.sync()
    assert restored.head.epoch > polled.head.epoch
    pair.assert_equal()


async def test_a_rebuild_replaces_the_file_and_leaves_nothing_behind(pair: Pair):
    await pair.sync()
    stale = pair.cache.with_name(pair.cache.name + ".0badcafe.loading")
    stale.write_bytes(b"what a killed load left")
    with Cache.open(pair.cache) as reader:
        assert reader.count("a") == 50
        pair.db.execute("DELETE FROM a WHERE id > 10")
        assert (await pair.sync(rebuild=True)).rows == 40
        assert reader.count("a") == 10
    pair.assert_equal()
    assert sorted(path.name for path in pair.cache.parent.glob("cache.redb*")) == [
        "cache.redb",
        "cache.redb.lock",
    ]


async def test_a_damaged_cache_is_kept_aside_and_loaded_anew(pair: Pair):
    await pair.sync()
    data = bytearray(pair.cache.read_bytes())
    data[4096:8192] = bytes(4096)
    pair.cache.write_bytes(data)
    await pair.sync()
    pair.assert_equal()


async def test_a_cache_has_one_writer(pair: Pair):
    async with CacheWriter(pair.cache, "one"):
        with pytest.raises(CacheBusyError):
            await pair.sync()


async def test_a_database_without_tables_is_fine(tmp_path: Path):
    empty = Pair(tmp_path)
    empty.db.execute("CREATE VIEW v AS SELECT 1")
    await empty.sync()
    assert empty.cached() == {}
    empty.db.close()


async def test_a_table_taken_off_the_selection_leaves_and_comes_back_whole(pair: Pair):
    await pair.sync()
    pair.tables = ["b"]
    await pair.sync()
    assert set(pair.cached()) == {"b"}
    pair.db.execute("UPDATE a SET v = 'meanwhile' WHERE id = 1")
    pair.db.execute("DELETE FROM b WHERE k = 'k003'")
    await pair.sync()
    pair.tables = None
    await pair.sync()
    pair.assert_equal()
    assert (await pair.sync()).idle


async def test_positions_never_go_back_when_capture_is_removed_and_put_back(pair: Pair):
    before = (await pair.sync()).head.position
    async with pair.capture() as capture:
        await capture.uninstall()
    assert (await pair.sync()).head.position > before
    pair.assert_equal()


async def test_a_cache_file_removed_under_its_writer_is_noticed(pair: Pair):
    async with CacheWriter(pair.cache, "test") as writer:
        await sync(pair.capture, writer)
        pair.cache.unlink()
        pair.db.execute("DELETE FROM a WHERE id = 1")
        with pytest.raises(CacheError, match="removed"):
            await sync(pair.capture, writer)
    await pair.sync()
    pair.assert_equal()
