"""A source served by `tursodb --sync-server`, whose clients share one connection, with others at work."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from cdc.capture import Capture
from cdc.source import SourceLockedError, SourceMovedError, Statement, open_client
from consumers import Cache
from schemas.errors import SourceError, UsageError
from tests.support.commands import Running, cdc
from tests.support.conditions import wait_until
from tests.support.tursodb import TursoServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from cdc.source import Client

_CAUGHT_UP_S_MAX = 60
_BEGIN_REFUSED = "cannot start a transaction within a transaction"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TursoServer]:
    with TursoServer(tmp_path / "source.db") as server:
        server.write("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 'one')")
        yield server


@pytest.fixture
async def client(server: TursoServer) -> AsyncIterator[Client]:
    client = await open_client(server.url)
    yield client
    await client.close()


def check_nothing_is_open(server: TursoServer) -> None:
    # Both in one request: a command that writes at this moment is not met half way.
    began, ended = server.ask("BEGIN", "ROLLBACK")
    assert (began["type"], ended["type"]) == ("ok", "ok"), (began, ended)


def pairs(rows: list[tuple[object, ...]]) -> tuple[list[tuple[object, ...]], int]:
    return rows, 0


# What the driver rests on. A version of the server that does otherwise is to be looked at anew.


def test_the_server_has_one_connection_for_all_its_clients(server: TursoServer):
    server.write("BEGIN")
    server.write("INSERT INTO t VALUES (2, 'not committed')")
    assert server.rows("SELECT count(*) FROM t") == [["2"]], "another request sees it"
    (refused,) = server.ask("BEGIN IMMEDIATE")
    assert _BEGIN_REFUSED in refused["error"]["message"]
    server.write("ROLLBACK")
    assert server.rows("SELECT count(*) FROM t") == [["1"]], "another request rolled it back"


def test_the_server_counts_every_change_of_every_client(server: TursoServer):
    def total() -> int:
        return int(server.rows("SELECT total_changes()")[0][0] or 0)

    for sql in (
        "INSERT INTO t VALUES (2, 'two'), (3, 'three')",
        "INSERT INTO t VALUES (2, 'two') ON CONFLICT (id) DO UPDATE SET v = 'again'",
        "REPLACE INTO t VALUES (3, 'four')",
        "UPDATE t SET v = v",
        "DELETE FROM t",
    ):
        before = total()
        server.write(sql)
        assert total() > before, sql
    before = total()
    server.write("BEGIN", "INSERT INTO t VALUES (2, 'two')", "ROLLBACK")
    assert total() > before


# The driver beside other clients.


async def test_a_transaction_ends_when_others_change_what_it_read(server: TursoServer, client: Client):
    server.write("CREATE TABLE other (id INTEGER PRIMARY KEY)")
    async with client.reading() as transaction:
        assert (await transaction.execute("SELECT v FROM t")).rows == [("one",)]
        await asyncio.to_thread(server.write, "INSERT INTO other VALUES (1)")
        assert (await transaction.execute("SELECT count(*) FROM other")).rows == [(1,)]
        await asyncio.to_thread(server.write, "UPDATE t SET v = 'changed'")
        with pytest.raises(SourceMovedError):
            await transaction.execute("SELECT count(*) FROM other")


async def test_pages_of_different_moments_are_never_given(server: TursoServer, client: Client):
    await client.execute("INSERT INTO t SELECT value, 'many' FROM generate_series(2, 3000)")
    async with client.reading() as transaction:
        pages = transaction.pages("SELECT id FROM t ORDER BY id", (), pairs)
        assert (await anext(pages))[0] == (1,)
        await asyncio.to_thread(server.write, "DELETE FROM t WHERE id = 1")
        with pytest.raises(SourceMovedError):
            _ = [page async for page in pages]


async def test_what_is_asked_ahead_is_of_one_moment(server: TursoServer, client: Client):
    sql = "SELECT v FROM t WHERE id > ?"
    async with client.reading() as transaction:
        assert (await transaction.execute(sql, (0,))).rows == [("one",)]
    async with client.reading() as transaction:
        transaction.ahead([Statement("SELECT max(id) FROM t")], [Statement(sql, (0,))])
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(1,)]
        await asyncio.to_thread(server.write, "INSERT INTO t VALUES (2, 'two')")
        assert [page async for page in transaction.pages(sql, (0,), pairs)] == [[("one",)]]
        assert (await transaction.batch([Statement("SELECT max(id) FROM t")]))[0].rows == [(1,)]
        with pytest.raises(SourceMovedError):
            await transaction.execute("SELECT 1")


async def test_another_clients_open_transaction_is_neither_read_nor_ended(
    server: TursoServer, client: Client
):
    server.write("BEGIN")
    server.write("INSERT INTO t VALUES (2, 'two')")
    with pytest.raises(SourceLockedError, match="another client"):
        await client.execute("SELECT count(*) FROM t")
    with pytest.raises(SourceLockedError, match="another client"):
        await client.execute("INSERT INTO t VALUES (3, 'three')")
    server.write("INSERT INTO t VALUES (4, 'four')", "COMMIT")
    assert (await client.execute("SELECT id FROM t ORDER BY id")).rows == [(1,), (2,), (4,)]


async def test_a_short_transaction_of_another_client_is_waited_for(server: TursoServer, client: Client):
    server.write("BEGIN", "INSERT INTO t VALUES (2, 'two')")
    found = asyncio.ensure_future(client.execute("SELECT count(*) FROM t"))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.write, "ROLLBACK")
    assert (await found).rows == [(1,)]


async def test_what_fails_leaves_no_transaction_open(server: TursoServer, client: Client):
    for statements in (
        [Statement("INSERT INTO t VALUES (2, 'two')"), Statement("INSERT INTO t VALUES (2, 'two')")],
        [Statement("INSERT INTO t VALUES (2, 'two')"), Statement("SELEC")],
        [Statement("INSERT INTO t VALUES (2, 'two')"), Statement("INSERT OR ROLLBACK INTO t VALUES (1, 1)")],
        [Statement("INSERT INTO t VALUES (2, 'two')"), Statement("COMMIT")],
    ):
        with pytest.raises(SourceError):
            await client.batch(statements)
        await asyncio.to_thread(check_nothing_is_open, server)
    assert await asyncio.to_thread(server.rows, "SELECT count(*) FROM t WHERE id > 2") == [["0"]]


async def test_a_write_that_rests_on_what_others_changed_is_not_made(server: TursoServer, client: Client):
    with pytest.raises(SourceMovedError):
        await _write_while_another_does(client, server, "UPDATE t SET v = 'changed'")
    assert server.rows("SELECT * FROM t") == [["1", "changed"]]
    await _write_while_another_does(client, server, "CREATE TABLE other (id INTEGER PRIMARY KEY)")
    assert server.rows("SELECT id FROM t") == [["1"], ["9"]]
    check_nothing_is_open(server)


async def _write_while_another_does(client: Client, server: TursoServer, sql: str) -> None:
    async with client.writing() as transaction:
        await transaction.execute("SELECT v FROM t WHERE id = 1")
        await transaction.execute("INSERT INTO t VALUES (9, 'nine')")
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(2,)]
        await asyncio.to_thread(server.write, sql)


async def test_a_server_that_restarts_is_found_again(server: TursoServer, client: Client):
    async with client.reading() as transaction:
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(1,)]
        await asyncio.to_thread(server.restart)
        assert (await transaction.execute("SELECT count(*) FROM t")).rows == [(1,)]


async def test_what_others_commit_after_us_outlives_a_killed_server(server: TursoServer):
    """Version 0.7.0 loses commits after a pragma was asked as a table outside of a transaction."""
    async with Capture(server.url) as capture:
        await capture.install()
        async with capture.reading() as reader:
            await reader.state()
        await capture.mint_epoch(1, None)
        await capture.prune(0)
    server.write("INSERT INTO t VALUES (2, 'two')")
    server.write("INSERT INTO t VALUES (3, 'three')")
    logged = server.rows("SELECT max(change_id) FROM _cdc_log")
    server.restart()
    assert server.rows("SELECT id FROM t ORDER BY id") == [["1"], ["2"], ["3"]]
    assert server.rows("SELECT max(change_id) FROM _cdc_log") == logged


async def test_another_server_without_transactions_over_requests_is_refused():
    async def answer(_: web.Request) -> web.Response:
        result = {"step_results": [None], "step_errors": [{"message": "no such function", "code": "X"}]}
        ok = {"step_results": [{"cols": [], "rows": [[]]}], "step_errors": [None]}
        answers.append(ok if not answers else result)
        response = {"type": "ok", "response": {"type": "batch", "result": answers[-1]}}
        return web.json_response({"baton": None, "base_url": None, "results": [response]})

    answers: list[object] = []
    application = web.Application()
    application.router.add_post("/v3/pipeline", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        with pytest.raises(UsageError, match="keeps no transaction open"):
            await open_client(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def test_the_mvcc_journal_is_refused(server: TursoServer):
    assert server.rows("PRAGMA journal_mode = 'mvcc'") == [["mvcc"]]
    with pytest.raises(UsageError, match="mvcc"):
        await open_client(server.url)


# The commands.


@contextmanager
def an_application(server: TursoServer, pause_s: float) -> Iterator[None]:
    """Write pairs of rows, each in a transaction over several requests; roll every third one back."""
    ended = threading.Event()

    def work() -> None:
        for number in itertools.count(1):
            if ended.wait(pause_s):
                return
            kept = number % 3 != 0
            server.write("BEGIN")
            server.write(f"INSERT INTO pair VALUES ({number}, {int(kept)})")
            server.write(f"INSERT INTO pair VALUES ({-number}, {int(kept)})", "UPDATE t SET v = v + 1")
            server.write("COMMIT" if kept else "ROLLBACK")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def check_whole(cache: Path) -> int:
    with Cache.open(cache) as opened:
        rows = {key[0]: row["kept"] for key, row in opened.scan("pair")}
    assert all(rows.values()), "rolled back rows in the cache"
    assert set(rows) == {-number for number in rows}, "a transaction in part"
    return len(rows)


def test_the_cache_never_shows_what_others_have_not_committed(server: TursoServer, tmp_path: Path):
    server.write("CREATE TABLE pair (id INTEGER PRIMARY KEY, kept)", "UPDATE t SET v = 0")
    cache = tmp_path / "cache.redb"
    here = ("--source", server.url, "--cache", cache)
    with an_application(server, pause_s=0.05):
        cdc("sync", *here)
        seen = check_whole(cache)
        for _ in range(4):
            with Running(tmp_path, "run", *here) as node:
                until = time.monotonic() + 3
                grown = seen
                while time.monotonic() < until or grown <= seen:
                    node.check_alive()
                    grown = check_whole(cache)
                    assert time.monotonic() < until + _CAUGHT_UP_S_MAX, node.stderr
                node.kill()
            seen = grown
    check_nothing_is_open(server)
    cdc("sync", *here)
    check_whole(cache)
    assert cdc("verify", *here, "--json").json["equal"]


def test_a_cache_is_loaded_and_follows_beside_a_client_that_never_pauses(server: TursoServer, tmp_path: Path):
    server.write(
        "CREATE TABLE big (id INTEGER PRIMARY KEY, v)",
        "INSERT INTO big SELECT value, 'value ' || value FROM generate_series(1, 12000)",
    )
    ended = threading.Event()
    written = [0]

    def work() -> None:
        for number in itertools.count(1):
            if ended.is_set():
                return
            written[0] = number
            server.write(
                f"UPDATE big SET v = {number} WHERE id = {1 + number * 7919 % 12000}",
                f"INSERT INTO t VALUES ({number + 1}, {number})",
            )

    here = ("--source", server.url, "--cache", tmp_path / "cache.redb")
    # That takes a moment without another client's commit.
    cdc("install", "--source", server.url)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        cdc("sync", *here)
        with Running(tmp_path, "run", *here) as node, Cache.open(here[3]) as cache:
            for _ in range(5):
                newest = written[0]
                wait_until(lambda newest=newest: cache.get("t", newest), _CAUGHT_UP_S_MAX, f"row {newest}")
                node.check_alive()
    finally:
        ended.set()
        thread.join()
    cdc("sync", *here)
    assert cdc("verify", *here, "--json").json["equal"]


_SYNC_CLIENT = """
import sys, turso.sync
replica = turso.sync.connect(sys.argv[1], remote_url=sys.argv[2])
replica.pull()
for sql in sys.argv[3:]:
    replica.execute(sql)
replica.commit()
"""


def test_what_a_client_of_turso_sync_pushes_is_captured_and_takes_nothing_away(
    server: TursoServer, tmp_path: Path
):
    """Its copy has our triggers too, and it pushes what these logged, under ids that are taken by then."""
    here = ("--source", server.url, "--cache", tmp_path / "cache.redb")
    cdc("sync", *here)
    replica = str(tmp_path / "replica.db")

    def at_the_replica(*statements: str, after: str = "") -> None:
        command = [sys.executable, "-c", _SYNC_CLIENT + after, replica, server.url, *statements]
        subprocess.run(command, check=True, timeout=60)

    for number in range(10, 13):
        at_the_replica(
            f"INSERT INTO t VALUES ({number}, 'replica')", "UPDATE t SET v = v || '+' WHERE id = 1"
        )
        # Between its copy and its push: rows of the log under the ids that the replica gave.
        server.write(
            f"INSERT INTO t VALUES ({number + 10}, 'a')", f"INSERT INTO t VALUES ({number + 20}, 'b')"
        )
        at_the_replica(after="replica.push()")
        cdc("sync", *here)
        assert cdc("verify", *here, "--json").json["equal"]
    assert server.rows("SELECT count(*) FROM t WHERE id >= 10") == [["9"]]


async def test_a_log_installed_before_its_rows_were_kept_gets_that_and_goes_on(server: TursoServer):
    async with Capture(server.url) as capture:
        await capture.install()
        before = server.rows("SELECT * FROM _cdc_log")
        server.write("DROP TRIGGER _cdc_log_stays")
        report = await capture.install()
        assert (report.created, report.changed) == (False, [])
    assert server.rows("SELECT * FROM _cdc_log") == before
    server.write("UPDATE _cdc_log SET nonce = 0")
    assert server.rows("SELECT * FROM _cdc_log") == before
