"""Leases, heartbeat rows and pruning on real SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cdc.capture import Capture, CaptureStaleError, limits, prune
from cdc.capture.heartbeat import write_heartbeat
from cdc.capture.leases import Reader, renew, renew_unless_fresh, secure
from schemas.errors import OperatorError
from tests.support.log import head_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator


READER = Reader("cache", "node-a")


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


def insert(db: sqlite3.Connection, count: int) -> None:
    db.execute("BEGIN")
    db.executemany("INSERT INTO a (v) VALUES (?)", [(None,)] * count)
    db.execute("COMMIT")


def leases(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    return db.execute("SELECT kind, name, epoch, change_id FROM _cdc_leases ORDER BY 1, 2").fetchall()


def ids(db: sqlite3.Connection) -> tuple[int, int, int]:
    return db.execute("SELECT min(change_id), max(change_id), count(*) FROM _cdc_log").fetchone()


async def test_an_install_without_leases_gets_them_and_its_log_goes_on(path: str, db: sqlite3.Connection):
    async with Capture(path) as capture:
        await capture.install()
        before = await head_of(capture)
        log = db.execute("SELECT * FROM _cdc_log").fetchall()
        db.execute("DROP TABLE _cdc_leases")
        assert await capture.installed()
        with pytest.raises(CaptureStaleError, match="leases"):
            await head_of(capture)
        report = await capture.install()
        assert (report.created, report.changed) == (False, [])
        assert await head_of(capture) == before
    assert db.execute("SELECT * FROM _cdc_log").fetchall() == log


async def test_a_users_table_named_like_ours_is_refused(path: str, db: sqlite3.Connection):
    db.execute("CREATE TABLE _cdc_leases (a)")
    async with Capture(path) as capture:
        with pytest.raises(OperatorError, match="_cdc_leases"):
            await capture.install()


async def test_uninstall_removes_the_leases(capture: Capture, db: sqlite3.Connection):
    await renew(capture.client, READER, await head_of(capture))
    assert await capture.uninstall()
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("a",)]


async def test_a_lease_secured_before_a_load_stands_at_the_logs_end(capture: Capture, db: sqlite3.Connection):
    insert(db, 5)
    async with capture.reading() as reader:
        assert not await reader.is_held_for(READER)
    await secure(capture.client, READER)
    async with capture.reading() as reader:
        assert await reader.is_held_for(READER)
        state = await reader.state()
    assert leases(db) == [("cache", "node-a", state.epoch, state.high)]


async def test_securing_again_never_raises_the_lease_in_the_same_life(
    capture: Capture, db: sqlite3.Connection
):
    head = await head_of(capture)
    await renew(capture.client, READER, head)
    insert(db, 5)
    await secure(capture.client, READER)
    assert leases(db) == [("cache", "node-a", 1, head.change_id)]
    db.execute("UPDATE _cdc_meta SET pruned_to = ?", (head.change_id,))
    await secure(capture.client, READER)
    assert leases(db) == [("cache", "node-a", 1, head.change_id + 5)], "what it stood on is gone"


async def test_a_lease_of_an_older_epoch_is_none(capture: Capture, db: sqlite3.Connection):
    await secure(capture.client, READER)
    await capture.mint_epoch(1, None)
    async with capture.reading() as reader:
        assert not await reader.is_held_for(READER)
    await secure(capture.client, READER)
    assert leases(db) == [("cache", "node-a", 2, (await head_of(capture)).change_id)]


async def test_a_late_renewal_takes_nothing_from_a_load_in_a_newer_life(
    capture: Capture, db: sqlite3.Connection
):
    stood = await head_of(capture)
    await renew(capture.client, READER, stood)
    await capture.mint_epoch(1, None)
    await renew(capture.client, READER, stood)
    assert leases(db) == [("cache", "node-a", 1, stood.change_id)], (
        "its own life is over, and it has no other"
    )
    await secure(capture.client, READER)
    await renew(capture.client, READER, stood)
    stands = await head_of(capture)
    assert leases(db) == [("cache", "node-a", 2, stands.change_id)]
    insert(db, 1)
    stands = await head_of(capture)
    await renew(capture.client, READER, stands)
    assert leases(db) == [("cache", "node-a", 2, stands.change_id)]


async def test_a_lease_about_to_end_is_secured_anew(capture: Capture, db: sqlite3.Connection):
    await secure(capture.client, READER)
    db.execute("UPDATE _cdc_leases SET renewed_ms = renewed_ms - ?", (4 * 86_400_000,))
    async with capture.reading() as reader:
        assert not await reader.is_held_for(READER)


async def test_a_fresh_lease_is_not_written_again(capture: Capture, db: sqlite3.Connection):
    head = await head_of(capture)
    await renew_unless_fresh(capture.client, READER, head)
    db.execute(
        "CREATE TRIGGER counted BEFORE INSERT ON _cdc_leases BEGIN SELECT RAISE(ABORT, 'written'); END"
    )
    await renew_unless_fresh(capture.client, READER, head)


async def test_a_heartbeat_is_logged_only_behind_the_row_the_reader_stands_on(
    capture: Capture, db: sqlite3.Connection
):
    head = await head_of(capture)
    assert await write_heartbeat(capture.client, head)
    assert not await write_heartbeat(capture.client, head), "the last one has not come through"
    head = await head_of(capture)
    insert(db, 1)
    assert not await write_heartbeat(capture.client, head), "a change has not come through"
    async with capture.reading() as reader:
        pages = [page async for page in reader.changes(1, (await reader.state()).high)]
    assert {change[1] for page in pages for change in page} == {"a"}, "it is no table"


async def test_pruning_deletes_what_no_lease_holds_in_batches(
    capture: Capture, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "PRUNE_ROWS_MAX", 7)
    monkeypatch.setattr(limits, "PRUNE_PAUSE_SECONDS", 0.0)
    insert(db, 20)
    head = await head_of(capture)
    await renew(capture.client, READER, head)
    insert(db, 10)
    pruned = await capture.prune(0.0)
    assert (pruned.rows, pruned.done, pruned.plan.held_by) == (head.change_id - 1, True, "lease")
    assert ids(db) == (head.change_id, head.change_id + 10, 11)
    async with capture.reading() as reader:
        state = await reader.state(head.change_id)
    assert (state.pruned_to, state.prev_nonce) == (head.change_id - 1, head.nonce)
    assert (await capture.prune(0.0)).rows == 0


async def test_young_rows_stay_whatever_leases_say(capture: Capture, db: sqlite3.Connection):
    insert(db, 20)
    db.execute("UPDATE _cdc_log SET ts = ts - 7200000 WHERE change_id <= 10")
    pruned = await capture.prune(3600.0)
    assert (pruned.rows, pruned.plan.held_by) == (10, "retention")
    assert ids(db)[0] == 11


async def test_a_log_row_from_a_wrong_clock_does_not_keep_the_log_for_ever(
    capture: Capture, db: sqlite3.Connection
):
    insert(db, 20)
    db.execute("UPDATE _cdc_log SET ts = ts + 86400000 * 365 WHERE change_id = 5")
    assert (await capture.prune(0.0)).rows == 21


async def test_the_newest_row_stays_and_ids_go_on(capture: Capture, db: sqlite3.Connection):
    insert(db, 20)
    newest = (await head_of(capture)).change_id
    assert (await capture.prune(0.0)).plan.held_by == "newest row"
    assert ids(db) == (newest, newest, 1)
    insert(db, 1)
    assert ids(db) == (newest, newest + 1, 2)


async def test_a_lease_written_between_the_plan_and_the_delete_is_kept(
    capture: Capture, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    insert(db, 20)
    stood = await head_of(capture)
    insert(db, 20)
    look = prune.look

    async def look_and_be_late(*args: Any) -> object:
        found = await look(*args)
        await renew(capture.client, READER, stood)
        return found

    monkeypatch.setattr(prune, "look", look_and_be_late)
    pruned = await capture.prune(0.0)
    assert pruned.plan.held_by == "lease"
    assert ids(db)[0] == stood.change_id


async def test_pruned_to_and_the_delete_are_one(capture: Capture, db: sqlite3.Connection):
    insert(db, 20)
    before = ids(db)
    db.execute("CREATE TRIGGER no BEFORE DELETE ON _cdc_log BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(Exception, match="no"):
        await capture.prune(0.0)
    assert ids(db) == before
    assert db.execute("SELECT pruned_to FROM _cdc_meta").fetchall() == [(0,)]


async def test_ended_leases_go_with_the_rows_they_held(capture: Capture, db: sqlite3.Connection):
    await renew(capture.client, READER, await head_of(capture))
    await renew(capture.client, Reader("cache", "node-b"), await head_of(capture))
    db.execute("UPDATE _cdc_leases SET renewed_ms = renewed_ms - 604800001 WHERE name = 'node-b'")
    insert(db, 20)
    await capture.prune(0.0)
    assert [name for _, name, *_ in leases(db)] == ["node-a"]


async def test_pruning_without_capture_says_so(path: str, db: sqlite3.Connection):
    db.execute("SELECT 1")
    async with Capture(path) as capture:
        with pytest.raises(CaptureStaleError, match="not installed"):
            await capture.prune(0.0)


async def test_pruning_ends_under_writes_that_never_do(
    capture: Capture, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "PRUNE_ROWS_MAX", 5)
    monkeypatch.setattr(limits, "PRUNE_PAUSE_SECONDS", 0.0)
    insert(db, 20)
    end = (await head_of(capture)).change_id
    look = prune.look

    async def look_while_others_write(*args: Any) -> object:
        insert(db, 6)
        return await look(*args)

    monkeypatch.setattr(prune, "look", look_while_others_write)
    pruned = await capture.prune(0.0)
    assert (pruned.done, pruned.keeping.bounds.pruned_to) == (True, end + 5)
