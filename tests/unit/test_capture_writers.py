"""Capture beside applications that write, wait, and are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from cdc.capture import Capture, LogState
from schemas import Head
from schemas.errors import SourceUnavailableError
from tests.support.replica import Replica, assert_equal

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import random, sqlite3, sys
path, seed, lasting = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "lasting"
db = sqlite3.connect(path, isolation_level=None, timeout=30)
db.execute("PRAGMA synchronous = OFF")
rnd = random.Random(seed)
print("ready", flush=True)
while True:
    db.execute("BEGIN IMMEDIATE")
    for _ in range(rnd.randint(1, 60)):
        key = rnd.randrange(500)
        upsert = "ON CONFLICT DO UPDATE SET v = excluded.v"
        db.execute(f"INSERT INTO t VALUES (?, ?) {upsert}", (key, rnd.random()))
        db.execute("DELETE FROM t WHERE id = ?", (rnd.randrange(500),))
        db.execute("UPDATE OR IGNORE t SET id = ? WHERE id = ?", (rnd.randrange(500), rnd.randrange(500)))
        db.execute("INSERT OR IGNORE INTO w VALUES (?, ?, ?)", (key % 7, str(key), rnd.random()))
    if lasting:
        print("in a transaction", flush=True)
        sys.stdin.readline()
    db.execute(rnd.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]))
"""

SCHEMA = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, v);
    CREATE TABLE w (a, b TEXT, v, PRIMARY KEY (b, a)) WITHOUT ROWID;
"""
KEYS = {"t": ["id"], "w": ["b", "a"]}


def start_writer(path: str, seed: int, how: str) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(seed), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def make(path: str, journal: str) -> None:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA journal_mode = {journal}")
    db.executescript(SCHEMA)
    db.close()


@pytest.mark.parametrize("journal", ["WAL", "DELETE", "TRUNCATE", "PERSIST"])
async def test_a_replica_follows_a_busy_writer_and_is_exact_after_a_kill(
    tmp_path: Path, journal: str
) -> None:
    path = str(tmp_path / "source.db")
    make(path, journal)
    replica = Replica()
    async with Capture(path) as capture:
        await capture.install()
        for life in range(3):
            writer = start_writer(path, life, "busy")
            enough = replica.prev + 3000
            while replica.prev < enough:
                try:
                    await asyncio.wait_for(replica.poll(capture), 60)
                except SourceUnavailableError:
                    continue
            os.kill(writer.pid, signal.SIGKILL)
            writer.communicate()
            await replica.poll(capture)
            assert_equal(replica, path, KEYS)


async def test_a_writer_killed_in_a_transaction_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = str(tmp_path / "source.db")
    make(path, "WAL")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        writer = start_writer(path, 1, "lasting")
        assert writer.stdout is not None
        assert writer.stdout.readline() == "in a transaction\n"
        prev = replica.prev
        assert await replica.poll(capture) == []
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        assert await replica.poll(capture) == []
        assert replica.prev == prev
        sqlite3.connect(path, isolation_level=None).execute("INSERT INTO t VALUES (1, 1)").connection.close()
        assert [event[0] for event in await replica.poll(capture)] == ["c"]
        assert replica.prev == prev + 1, "ids stay dense"


async def test_reading_a_wal_database_does_not_hold_up_its_writer(tmp_path: Path) -> None:
    path = str(tmp_path / "source.db")
    make(path, "WAL")
    async with Capture(path) as capture:
        await capture.install()
        db = sqlite3.connect(path, isolation_level=None, timeout=0)
        async with capture.reading() as reader:
            high = (await reader.state()).high
            for number in range(100):
                db.execute("INSERT INTO t VALUES (?, 1)", (number,))
            assert [page async for page in reader.rows("t")] == []
            assert (await reader.state()).high == high
        db.close()


async def test_a_reader_of_a_rollback_journal_lets_go_when_it_is_done(tmp_path: Path) -> None:
    path = str(tmp_path / "source.db")
    make(path, "DELETE")
    async with Capture(path) as capture:
        await capture.install()
        db = sqlite3.connect(path, isolation_level=None, timeout=0)
        async with capture.reading() as reader:
            await reader.state()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                db.execute("INSERT INTO t VALUES (1, 1)")
        db.execute("INSERT INTO t VALUES (1, 1)")
        db.close()


async def test_a_rollback_journal_left_hot_by_a_kill_is_rolled_back(tmp_path: Path) -> None:
    path = str(tmp_path / "source.db")
    make(path, "DELETE")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
    script = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA cache_size = 2')\n"
        "db.execute('BEGIN')\n"
        "db.executemany('INSERT INTO t VALUES (?, zeroblob(4000))', [(i,) for i in range(200)])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    await (await asyncio.create_subprocess_exec(sys.executable, "-c", script, path)).wait()
    assert (tmp_path / "source.db-journal").stat().st_size > 0
    async with Capture(path) as capture:
        assert await replica.poll(capture) == []
        assert_equal(replica, path, KEYS)


async def test_installing_under_a_busy_writer_loses_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "source.db")
    make(path, "WAL")
    stop = threading.Event()

    def write() -> None:
        db = sqlite3.connect(path, isolation_level=None, timeout=30)
        number = 0
        while not stop.is_set():
            number += 1
            db.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (number % 300, number))
            if number % 200 == 0:
                db.execute(f"CREATE TABLE extra_{number} (id INTEGER PRIMARY KEY)")
                db.execute(f"INSERT INTO extra_{number} VALUES (1)")
        db.close()

    writer = threading.Thread(target=write)
    writer.start()
    replica = Replica()
    try:
        async with Capture(path) as capture:
            # Until the writer has come to its first new table, too.
            while replica.polls < 20 or (replica.polls < 5_000 and not any(map(_is_extra, replica.tables))):
                try:
                    await replica.poll(capture)
                except SourceUnavailableError:
                    continue
            stop.set()
            writer.join()
            await replica.poll(capture)
            extra = {name: ["id"] for name in filter(_is_extra, replica.tables)}
            assert extra
            assert_equal(replica, path, KEYS | extra)
    finally:
        stop.set()
        writer.join()


async def test_uninstalling_beside_an_open_application_connection_does_not_break_its_writes(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "source.db")
    make(path, "WAL")
    db = sqlite3.connect(path, isolation_level=None)
    async with Capture(path) as capture:
        await capture.install()
        db.execute("INSERT INTO t VALUES (1, 1)")
        await capture.uninstall()
        db.execute("INSERT INTO t VALUES (2, 2)")
        await capture.install()
        db.execute("INSERT INTO t VALUES (3, 3)")
        async with capture.reading() as reader:
            assert (await reader.state()).high == 4
    db.close()


async def test_a_backup_restored_in_place_is_told_by_its_nonces(tmp_path: Path) -> None:
    path, backup = str(tmp_path / "source.db"), str(tmp_path / "backup.db")
    make(path, "WAL")
    db = sqlite3.connect(path, isolation_level=None)
    saved = sqlite3.connect(backup)
    async with Capture(path) as capture:
        await capture.install()
        db.execute("INSERT INTO t VALUES (1, 'kept')")
        db.backup(saved)
        db.execute("INSERT INTO t VALUES (2, 'lost')")
        async with capture.reading() as reader:
            lost = await reader.state()
        saved.backup(db)
        db.execute("INSERT INTO t VALUES (3, 'new')")
        async with capture.reading() as reader:
            found = await reader.state(lost.high)
        assert found.high == lost.high
        assert found.prev_nonce != lost.high_nonce
        assert await capture.mint_epoch(lost.epoch, _head(lost))
        async with capture.reading() as reader:
            assert (await reader.state()).epoch == lost.epoch + 1
    saved.close()
    db.close()


async def test_a_database_put_in_the_place_of_another_is_read_from_then_on(tmp_path: Path) -> None:
    path, other = tmp_path / "source.db", tmp_path / "other.db"
    make(str(path), "WAL")
    make(str(other), "WAL")
    replica = Replica()
    async with Capture(str(other)) as capture:
        await capture.install()
        async with capture.reading() as reader:
            expected = (await reader.state()).database_id
    async with Capture(str(path)) as capture:
        await replica.poll(capture)
        assert await capture.data_changed()
        for suffix in ("-wal", "-shm"):
            (tmp_path / f"source.db{suffix}").unlink(missing_ok=True)
        other.replace(path)
        assert await capture.data_changed()
        assert not (tmp_path / "other.db-wal").exists(), "closing leaves the file whole"
        async with capture.reading() as reader:
            assert (await reader.state()).database_id == expected


async def test_a_database_without_capture_in_the_place_of_one_with_it_is_installed_into(
    tmp_path: Path,
) -> None:
    path, plain = str(tmp_path / "source.db"), str(tmp_path / "plain.db")
    make(path, "DELETE")
    db = sqlite3.connect(path, isolation_level=None)
    copy = sqlite3.connect(plain)
    db.backup(copy)
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute("INSERT INTO t VALUES (1, 1)")
        await replica.poll(capture)
        copy.backup(db)
        db.execute("INSERT INTO t VALUES (2, 2)")
        replica.prev = 0
        await replica.poll(capture)
        assert_equal(replica, path, KEYS)
    copy.close()
    db.close()


def _head(state: LogState) -> Head:
    return Head(state.epoch, state.epoch_nonce, state.high, state.high_nonce, state.high)


def _is_extra(name: str) -> bool:
    return name.startswith("extra")
