"""The driver of SQLite files: what it opens, how it reads, how it fails."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import struct
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from cdc.source import Statement, open_client
from cdc.source.limits import PAGE_BYTES_MAX, PAGE_ROWS_MAX
from cdc.source.sqlite import SqliteClient
from schemas.errors import SourceError, SourceUnavailableError, UsageError
from schemas.values import InvalidText

if TYPE_CHECKING:
    from pathlib import Path

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n"

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


def as_they_are(rows: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], int]:
    return rows, 0


def by_size(rows: list[tuple[Any, ...]]) -> tuple[list[int], int]:
    sizes = [len(row[0]) for row in rows]
    return sizes, sum(sizes)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database in WAL mode with one table."""
    path = str(tmp_path / "source.db")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    db.close()
    return path


@pytest.mark.parametrize("prefix", ["", "file:"])
async def test_a_path_is_taken_literally(tmp_path: Path, prefix: str) -> None:
    name = "100%25 ?mode=ro&x #1 ünï.db"
    path = tmp_path / name
    sqlite3.connect(path).execute("CREATE TABLE here (a)").connection.close()
    client = await open_client(f"{prefix}{path}")
    assert (await client.execute("SELECT name FROM sqlite_master")).rows == [("here",)]
    assert client.url == f"file:{path}"
    await client.close()


async def test_a_relative_path_is_of_the_folder_at_opening(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert path.endswith("source.db")
    monkeypatch.chdir(tmp_path)
    client = await open_client("file:source.db")
    monkeypatch.chdir("/")
    async with client.reading() as transaction:
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(0,)]
    await client.close()


async def test_a_missing_file_is_refused_and_not_created(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    with pytest.raises(UsageError, match="No such file"):
        await open_client(f"file:{missing}")
    assert not missing.exists()


@pytest.mark.parametrize("url", ["file:", "", "file:a\0b"])
async def test_no_path_at_all_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        await open_client(url)


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        await open_client(f"file:{tmp_path}")


async def test_a_pipe_is_refused_without_waiting_for_its_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no regular file"):
        await open_client(f"file:{tmp_path / 'pipe'}")


@pytest.mark.parametrize("text", ["Dear reader, " * 100, "D", "De", "\0"])
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "letter.txt"
    path.write_text(text)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="no SQLite database"):
        await open_client(f"file:{path}")
    assert path.read_bytes() == before
    assert [entry.name for entry in os.scandir(tmp_path)] == ["letter.txt"]


async def test_an_empty_file_is_an_empty_database(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    client = await open_client(f"file:{tmp_path / 'empty.db'}")
    assert (await client.execute("SELECT count(*) FROM sqlite_master")).rows == [(0,)]
    await client.close()


async def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="no driver"):
        await open_client("postgres://localhost/x")


async def test_values_come_back_as_they_are_stored(path: str) -> None:
    values = [0, -(2**63), 2**63 - 1, 0.1 + 0.2, float("inf"), -0.0, "", "a\0b", "𝄞", b"", b"\x00\xff", None]
    client = await open_client(path)
    await client.batch([Statement("INSERT INTO t (v) VALUES (?)", (value,)) for value in values])
    async with client.reading() as transaction:
        result = await transaction.execute("SELECT id, v FROM t ORDER BY id")
    assert result.columns == ("id", "v")
    assert [repr(value) for _, value in result.rows] == [repr(value) for value in values]
    await client.close()


async def test_a_result_says_what_a_write_did(path: str) -> None:
    client = await open_client(path)
    result = await client.execute("INSERT INTO t (v) VALUES (1), (2)")
    assert (result.rows_affected, result.last_insert_rowid) == (2, 2)
    await client.close()


async def test_a_batch_is_all_or_nothing(path: str) -> None:
    client = await open_client(path)
    with pytest.raises(SourceError):
        await client.batch(
            [Statement("INSERT INTO t VALUES (1, 1)"), Statement("INSERT INTO nowhere VALUES (1)")]
        )
    assert (await client.execute("SELECT count(*) FROM t")).rows == [(0,)]
    await client.batch([Statement("INSERT INTO t VALUES (1, 1)")])
    assert (await client.execute("SELECT count(*) FROM t")).rows == [(1,)]
    await client.close()


async def test_a_reading_transaction_sees_one_moment_while_others_write(path: str) -> None:
    client = await open_client(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("INSERT INTO t VALUES (1, 'before')")
    async with client.reading() as transaction:
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(1,)]
        db.execute("INSERT INTO t VALUES (2, 'after')")
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(1,)]
        async with client.reading() as later:
            assert (await later.execute("SELECT count(*) FROM t")).rows == [(2,)]
    db.close()
    await client.close()


async def test_a_reading_transaction_cannot_write(path: str) -> None:
    client = await open_client(path)
    async with client.reading() as transaction:
        with pytest.raises(SourceError):
            await transaction.execute("INSERT INTO t VALUES (1, 1)")
    await client.close()


async def test_an_exception_rolls_a_write_back_and_the_next_one_works(path: str) -> None:
    client = await open_client(path)

    async def fail() -> None:
        async with client.writing() as transaction:
            await transaction.execute("INSERT INTO t VALUES (1, 1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with client.writing() as transaction:
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(0,)]
    await client.close()


async def test_two_writing_transactions_take_turns(path: str) -> None:
    client = await open_client(path)

    async def count_up() -> None:
        async with client.writing() as transaction:
            ((highest,),) = (await transaction.execute("SELECT ifnull(max(id), 0) FROM t")).rows
            await asyncio.sleep(0)
            await transaction.execute("INSERT INTO t VALUES (?, NULL)", (highest + 1,))

    await asyncio.gather(*[count_up() for _ in range(10)])
    assert (await client.execute("SELECT max(id), count(*) FROM t")).rows == [(10, 10)]
    await client.close()


async def test_a_transaction_that_has_ended_refuses_work(path: str) -> None:
    client = await open_client(path)
    async with client.reading() as transaction:
        pass
    with pytest.raises(RuntimeError, match="has ended"):
        await transaction.execute("SELECT 1")
    await client.close()


async def test_waiting_for_a_lock_is_bounded(path: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    client = await SqliteClient.open(path, busy_timeout_s=0.05)
    with pytest.raises(SourceUnavailableError, match="locked"):
        async with client.writing() as transaction:
            await transaction.execute("INSERT INTO t VALUES (1, 1)")
    db.execute("ROLLBACK")
    await client.execute("INSERT INTO t VALUES (1, 1)")
    db.close()
    await client.close()


async def test_a_commit_that_cannot_get_its_lock_keeps_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "rollback.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("CREATE TABLE t (id)")
    client = await SqliteClient.open(path, busy_timeout_s=0.05)
    db.execute("BEGIN")
    db.execute("SELECT * FROM t").fetchall()
    with pytest.raises(SourceUnavailableError):
        await client.batch([Statement("INSERT INTO t VALUES (1)")])
    db.execute("COMMIT")
    await client.batch([Statement("INSERT INTO t VALUES (2)")])
    assert db.execute("SELECT * FROM t").fetchall() == [(2,)]
    db.close()
    await client.close()


async def test_text_that_is_not_utf8_is_read_as_such(path: str) -> None:
    client = await open_client(path)
    await client.batch(
        [Statement("INSERT INTO t VALUES (1, 'good'), (2, CAST(x'ff41' AS TEXT)), (3, x'ff41')")]
    )
    async with client.reading() as transaction:
        rows = (await transaction.execute("SELECT v FROM t ORDER BY id")).rows
        assert rows == [("good",), (InvalidText(b"\xff\x41"),), (b"\xff\x41",)]
        # The connection reads fast again: text as str by sqlite3 itself.
        assert (await transaction.execute("SELECT v FROM t WHERE id = 1")).rows == [("good",)]
    await client.close()


@pytest.mark.parametrize("bad", [1, 100, PAGE_ROWS_MAX, PAGE_ROWS_MAX + 1, 4321])
async def test_pages_go_on_past_text_that_is_not_utf8(path: str, bad: int) -> None:
    client = await open_client(path)
    await client.execute(f"INSERT INTO t SELECT i, 'text' FROM ({COUNT})", (5000,))
    await client.execute("UPDATE t SET v = CAST(x'80' AS TEXT) WHERE id = ?", (bad,))
    async with client.reading() as transaction:
        rows = [
            row
            async for page in transaction.pages("SELECT id, v FROM t ORDER BY id", (), as_they_are)
            for row in page
        ]
    assert [row[0] for row in rows] == list(range(1, 5001))
    assert [row for row in rows if row[1] != "text"] == [(bad, InvalidText(b"\x80"))]
    await client.close()


async def test_text_that_is_not_utf8_never_reaches_an_error(path: str) -> None:
    client = await open_client(path)
    with pytest.raises(SourceError) as raised:
        await client.execute("SELECT CAST(x'736563726574ff' AS TEXT), abs(-9223372036854775808)")
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    await client.close()


@pytest.mark.parametrize(
    "rows", [0, 1, PAGE_ROWS_MAX - 1, PAGE_ROWS_MAX, PAGE_ROWS_MAX + 1, 3 * PAGE_ROWS_MAX]
)
async def test_pages_give_every_row_once_and_are_never_empty(path: str, rows: int) -> None:
    client = await open_client(path)
    async with client.reading() as transaction:
        pages = [
            page async for page in transaction.pages(f"{COUNT} LIMIT ?", (max(1, rows), rows), as_they_are)
        ]
    assert [row for page in pages for row in page] == [(number,) for number in range(1, rows + 1)]
    assert all(0 < len(page) <= PAGE_ROWS_MAX for page in pages)
    await client.close()


async def test_pages_of_large_rows_are_bounded_by_bytes(path: str) -> None:
    client = await open_client(path)
    size = 300_000
    async with client.reading() as transaction:
        sql = f"SELECT zeroblob({size}) FROM ({COUNT})"
        pages = [page async for page in transaction.pages(sql, (100,), by_size)]
    assert sum(map(len, pages)) == 100
    # A page may end late by the part that filled it, of rows fetched before their size was known.
    assert max(map(sum, pages)) <= PAGE_BYTES_MAX + 16 * size
    assert max(map(sum, pages[1:-1])) <= PAGE_BYTES_MAX + PAGE_BYTES_MAX
    await client.close()


async def test_the_next_page_is_prepared_while_the_caller_has_one(path: str) -> None:
    client = await open_client(path)
    threads: list[str] = []
    prepared = asyncio.Event()
    loop = asyncio.get_running_loop()

    def encode(rows: list[tuple[Any, ...]]) -> tuple[list[int], int]:
        threads.append(threading.current_thread().name)
        if rows[-1][0] > PAGE_ROWS_MAX:
            loop.call_soon_threadsafe(prepared.set)
        return [row[0] for row in rows], 0

    async with client.reading() as transaction:
        pages = transaction.pages(COUNT, (2 * PAGE_ROWS_MAX,), encode)
        assert (await anext(pages))[0] == 1
        await asyncio.wait_for(prepared.wait(), 10)
        await pages.aclose()
    assert {name.rsplit("_", 1)[0] for name in threads} == {"cdc-source-read"}
    await client.close()


async def test_a_query_left_in_the_middle_does_not_hold_its_transaction_open(tmp_path: Path) -> None:
    path = str(tmp_path / "rollback.db")
    db = sqlite3.connect(path, isolation_level=None, timeout=0)
    db.execute("CREATE TABLE t (id)")
    db.execute(f"INSERT INTO t {COUNT}", (10_000,))
    client = await open_client(path)
    async with client.reading() as transaction:
        pages = transaction.pages("SELECT id FROM t", (), as_they_are)
        await anext(pages)
    db.execute("INSERT INTO t VALUES (1)")
    await pages.aclose()
    db.close()
    await client.close()


async def test_an_error_of_the_encoder_reaches_the_caller(path: str) -> None:
    def refuse(_rows: list[tuple[Any, ...]]) -> tuple[list[int], int]:
        raise UsageError("no")

    client = await open_client(path)
    async with client.reading() as transaction:
        with pytest.raises(UsageError):
            await anext(transaction.pages(COUNT, (5,), refuse))
        assert (await transaction.execute("SELECT 1")).rows == [(1,)]
    await client.close()


async def test_a_statement_that_runs_too_long_is_stopped_by_cancelling(path: str) -> None:
    client = await open_client(path)

    async def count_for_ever() -> None:
        async with client.reading() as transaction:
            await transaction.execute(ENDLESS)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(count_for_ever(), 0.2)
    async with client.reading() as transaction:
        assert (await transaction.execute("SELECT 1")).rows == [(1,)]
    await client.close()


async def test_closing_stops_what_runs(path: str) -> None:
    client = await open_client(path)

    async def count_for_ever() -> None:
        async with client.reading() as transaction:
            started.set()
            await transaction.execute(ENDLESS)

    started = asyncio.Event()
    running = asyncio.ensure_future(count_for_ever())
    await started.wait()
    await asyncio.wait_for(client.close(), 5)
    with pytest.raises((SourceUnavailableError, RuntimeError)):
        await running
    await client.close()


async def test_data_changed_says_so_once_for_writes_of_others_and_of_ours(path: str) -> None:
    client = await open_client(path)
    assert await client.data_changed()
    assert not await client.data_changed()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("INSERT INTO t VALUES (1, 1)")
    assert await client.data_changed()
    assert not await client.data_changed()
    await client.execute("INSERT INTO t VALUES (2, 2)")
    assert await client.data_changed()
    assert not await client.data_changed()
    db.execute("BEGIN")
    db.execute("INSERT INTO t VALUES (3, 3)")
    assert not await client.data_changed()
    db.execute("COMMIT")
    assert await client.data_changed()
    db.close()
    await client.close()


async def test_a_file_replaced_under_its_name_is_noticed(path: str, tmp_path: Path) -> None:
    client = await open_client(path)
    async with client.reading() as transaction:
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(0,)]
    await client.data_changed()
    await client.execute("SELECT 1")
    other = tmp_path / "other.db"
    sqlite3.connect(other).executescript("CREATE TABLE t (id); INSERT INTO t VALUES (7)").connection.close()
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"source.db{suffix}").unlink(missing_ok=True)
    other.replace(path)
    assert await client.data_changed()
    async with client.reading() as transaction:
        assert (await transaction.execute("SELECT id FROM t")).rows == [(7,)]
    assert (await client.execute("SELECT id FROM t")).rows == [(7,)]
    await client.close()


async def test_a_file_that_vanished_is_away_until_it_is_back(path: str, tmp_path: Path) -> None:
    client = await open_client(path)
    async with client.reading() as transaction:
        await transaction.execute("SELECT 1")
    (tmp_path / "source.db").rename(tmp_path / "away.db")
    with pytest.raises(SourceUnavailableError):
        async with client.reading() as transaction:
            await transaction.execute("SELECT count(*) FROM t")
    (tmp_path / "away.db").rename(path)
    async with client.reading() as transaction:
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(0,)]
    await client.close()


async def test_a_damaged_file_is_reported_as_such(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(i, "x" * 500) for i in range(100)])
    db.close()
    content = bytearray(path.read_bytes())
    content[4096:8192] = struct.pack(">B", 255) * 4096
    path.write_bytes(content)
    client = await open_client(str(path))
    with pytest.raises(SourceError, match="damaged"):
        await client.execute("SELECT * FROM t")
    await client.close()


async def test_the_moments_between_the_transactions_of_a_busy_application_are_met(tmp_path: Path) -> None:
    path, stop = str(tmp_path / "rollback.db"), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=5.0)) as db:
            while not stop.is_set():
                db.execute("BEGIN EXCLUSIVE")
                stop.wait(0.12)
                db.execute("COMMIT")
                stop.wait(0.006)

    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
    client = await SqliteClient.open(path)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            async with client.reading() as transaction:
                assert (await transaction.execute("SELECT n FROM t")).rows == [(number,)]
            await client.execute("UPDATE t SET n = n + 1")
    finally:
        stop.set()
        thread.join()
        await client.close()
