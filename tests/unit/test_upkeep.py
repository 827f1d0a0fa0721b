"""The upkeep of a running reader: lease, heartbeat row, pruning, beside the polls and never in their way."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from cdc import embedded
from cdc.capture import Capture, limits
from cdc.capture.leases import Reader
from cdc.poller import Poller
from cdc.source.sqlite import SqliteClient
from cdc.upkeep import Upkeep
from consumers.writer import CacheWriter
from schemas.errors import SourceUnavailableError
from tests.support.log import head_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cdc.capture import CaptureReader, LogState
    from schemas.event import Head

READER = Reader("cache", "node-a")
DAY_S = 86_400.0


@pytest.fixture
def db(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, v)")
    return db


@pytest.fixture
async def capture(path: str, db: sqlite3.Connection) -> AsyncIterator[Capture]:
    db.execute("SELECT 1")
    async with Capture(path) as capture:
        await capture.install()
        yield capture


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteClient.open.__func__, "__kwdefaults__", {"busy_timeout_s": 0.02})


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPKEEP_SECONDS", 0.0)
    monkeypatch.setattr(limits, "PRUNE_SECONDS", 0.0)


def leased(db: sqlite3.Connection) -> list[tuple[str, int]]:
    return db.execute("SELECT name, change_id FROM _cdc_leases").fetchall()


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.005)


@asynccontextmanager
async def upkeep_of(capture: Capture, retention_s: float = DAY_S) -> AsyncIterator[Upkeep]:
    async with Upkeep(capture.client, READER, retention_s) as upkeep:
        yield upkeep


async def test_a_lease_is_renewed_where_the_reader_moved_and_not_on_every_tick(
    capture: Capture, db: sqlite3.Connection
):
    head = await head_of(capture)
    async with upkeep_of(capture) as upkeep:
        upkeep.tick(head)
        await until(lambda: leased(db) == [("node-a", head.change_id)], "the first lease")
        db.execute("INSERT INTO a VALUES (1, 1)")
        for _ in range(1000):
            upkeep.tick(await head_of(capture) if _ == 0 else head)
            await asyncio.sleep(0)
    assert leased(db) == [("node-a", head.change_id)], f"not within {limits.UPKEEP_SECONDS} s"


@pytest.mark.usefixtures("hasty", "impatient")
async def test_a_busy_source_is_asked_again_the_next_time_and_polls_go_on(path: str, db: sqlite3.Connection):
    async with Capture(path) as capture:
        await capture.install()
        head = await head_of(capture)
        async with upkeep_of(capture) as upkeep:
            db.execute("BEGIN IMMEDIATE")
            for _ in range(20):
                upkeep.tick(head)
                assert await head_of(capture) == head, "a poll reads on"
                await asyncio.sleep(0.005)
            db.execute("ROLLBACK")
            assert leased(db) == []

            def ticked() -> bool:
                upkeep.tick(head)
                return leased(db) == [("node-a", head.change_id)]

            await until(ticked, "the lease, once the source has time")


@pytest.mark.usefixtures("hasty")
async def test_a_quiet_reader_logs_a_row_and_no_other_before_it_came_through(
    capture: Capture, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "HEARTBEAT_ROW_SECONDS", 0.0)
    head = await head_of(capture)

    def beats() -> int:
        return db.execute("SELECT count(*) FROM _cdc_log WHERE op = 'h'").fetchone()[0]

    async with upkeep_of(capture) as upkeep:

        def ticked(at: Head) -> bool:
            upkeep.tick(at)
            return upkeep.wants_a_look()

        await until(lambda: ticked(head), "that nothing came through is noticed")
        assert beats() == 1
        seen = await head_of(capture)
        await until(lambda: ticked(seen) or beats() == 2, "the next heartbeat")


async def test_a_lease_is_there_before_a_load_begins_and_stays_if_the_load_dies(
    path: str, db: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with Capture(path) as capture, CacheWriter(tmp_path / "cache.redb", "node-a") as writer:
        await capture.install()
        publication = embedded.CachePublication(writer, "x")
        load = publication.load

        async def die(reader: CaptureReader, state: LogState, _: str) -> int:
            assert await reader.is_held_for(READER)
            assert leased(db) == [("node-a", state.high)]
            raise OSError("pulled the plug")

        monkeypatch.setattr(publication, "load", die)
        with pytest.raises(OSError, match="plug"):
            await Poller(capture, publication).poll()
        held = leased(db)
        db.executemany("INSERT INTO a VALUES (?, 1)", [(n,) for n in range(50)])
        assert (await capture.prune(0.0)).keeping.bounds.oldest == held[0][1]
        monkeypatch.setattr(publication, "load", load)
        polled = await Poller(capture, publication).poll()
        assert polled.rows == 50
        assert (await capture.prune(0.0)).rows == 0, "the lease holds until it is renewed"


@pytest.mark.usefixtures("impatient")
async def test_a_load_waits_for_a_source_that_has_no_time_for_its_lease(
    path: str, db: sqlite3.Connection, tmp_path: Path
):
    async with Capture(path) as capture, CacheWriter(tmp_path / "cache.redb", "node-a") as writer:
        await capture.install()
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(SourceUnavailableError):
            await Poller(capture, embedded.CachePublication(writer, "x")).poll()
        db.execute("ROLLBACK")
        await Poller(capture, embedded.CachePublication(writer, "x")).poll()


async def test_a_source_that_refuses_the_lease_is_loaded_without_one(
    capture: Capture, db: sqlite3.Connection, tmp_path: Path
):
    db.execute("INSERT INTO a VALUES (1, 1)")
    db.execute("CREATE TRIGGER no BEFORE INSERT ON _cdc_leases BEGIN SELECT RAISE(ABORT, 'no'); END")
    async with CacheWriter(tmp_path / "cache.redb", "node-a") as writer:
        assert (await Poller(capture, embedded.CachePublication(writer, "x")).poll()).rows == 1
    assert leased(db) == []


async def test_leases_of_a_restored_backup_hold_nothing_in_the_new_epoch(
    path: str, db: sqlite3.Connection, tmp_path: Path
):
    async def sync(name: str) -> None:
        async with CacheWriter(tmp_path / f"{name}.redb", name) as writer:
            await embedded.sync(lambda: Capture(path), writer)

    await sync("away")
    db.execute("INSERT INTO a VALUES (1, 1)")
    db.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    db.executemany("INSERT INTO a VALUES (?, 1)", [(n,) for n in range(2, 9)])
    await sync("here")
    with sqlite3.connect(tmp_path / "backup.db") as backup:
        backup.backup(db)
    backup.close()
    assert [name for name, _ in leased(db)] == ["away"], "restored with the rest"
    await sync("here")
    async with Capture(path) as capture:
        pruned = await capture.prune(0.0)
    assert (pruned.plan.held_by, pruned.keeping.bounds.epoch) == ("newest row", 2)
    await sync("away")
    assert {name for name, _ in leased(db)} == {"away", "here"}


@pytest.mark.usefixtures("hasty")
async def test_a_running_cache_prunes_its_log_and_its_heartbeats_come_through(
    path: str, db: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "HEARTBEAT_ROW_SECONDS", 0.05)
    stop = asyncio.Event()
    running = asyncio.create_task(
        embedded.run(
            lambda: Capture(path),
            lambda: CacheWriter(tmp_path / "cache.redb", "node-a"),
            0.01,
            stop,
            retention_seconds=0.0,
        )
    )

    def told() -> bool:
        there = db.execute("SELECT count(*) FROM sqlite_master WHERE name = '_cdc_leases'").fetchone()[0]
        return bool(there and leased(db))

    def pruned() -> bool:
        beats = db.execute("SELECT count(*) FROM _cdc_log WHERE op = 'h'").fetchone()[0]
        return db.execute("SELECT min(change_id) > 20 FROM _cdc_log").fetchone()[0] and beats > 0

    await until(told, "the first lease")
    db.executemany("INSERT INTO a (v) VALUES (?)", [(1,)] * 30)
    await until(pruned, "the log holds nothing but what came last, a heartbeat")
    stop.set()
    await running
