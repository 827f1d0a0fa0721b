"""Talking to a running node through its control socket: real files, real processes."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import stat
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from cdc.cli.standing import WriterProcess
from cdc.config import CacheConfig, Config
from consumers import limits
from consumers.cache import Cache
from consumers.control import messages
from consumers.control.address import control_path, listening_address
from consumers.control.client import NoNodeError, ask
from consumers.nodelock import NodeLock
from schemas.errors import CacheBusyError, CacheError
from tests.support.commands import Running, cdc
from tests.support.conditions import wait_until
from tests.support.database import execute
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.kafka import KafkaBroker


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    execute(
        path,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    )
    return path


@asynccontextmanager
async def listening(cache: Path, *, standing: bool = True) -> AsyncIterator[WriterProcess]:
    """A writer that nobody feeds; it attends to what it is asked."""
    config = Config(CacheConfig(path=cache, node="n"))
    process = WriterProcess(config, "consume" if standing else "sync", 0.0, standing=standing)
    stop = asyncio.Event()
    async with process.open_writer():

        async def attend() -> None:
            while True:
                await process.orders.attend(stop)
                await process.orders.rest(stop, 5.0)

        task = asyncio.create_task(attend())
        try:
            yield process
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_only_this_user_may_reach_the_socket_and_it_goes_with_the_node(tmp_path: Path):
    cache = tmp_path / "cache.redb"
    async with listening(cache):
        mode = control_path(cache).lstat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert (await ask(cache, messages.Ping(), 5.0))["kind"] == "consume"
        assert (await ask(cache, messages.Pause(), 5.0))["paused"]
        assert not (await ask(cache, messages.Resume(), 5.0))["paused"]
    assert listening_address(cache) is None
    with pytest.raises(NoNodeError):
        await ask(cache, messages.Ping(), 5.0)


async def test_a_cache_with_a_path_too_long_for_a_socket_is_reached_all_the_same(tmp_path: Path):
    folder = tmp_path / ("x" * 120) / ("y" * 120)
    folder.mkdir(parents=True)
    cache = folder / "cache.redb"
    async with listening(cache):
        assert control_path(cache).is_symlink()
        assert (await ask(cache, messages.Ping(), 5.0))["kind"] == "consume"
        elsewhere = control_path(cache).readlink()
    assert not control_path(cache).is_symlink()
    assert not elsewhere.exists()


async def test_a_socket_that_a_killed_node_left_behind_is_nobody_and_is_replaced(tmp_path: Path):
    cache = tmp_path / "cache.redb"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(control_path(cache)))
    with pytest.raises(NoNodeError):
        await ask(cache, messages.Ping(), 5.0)
    async with listening(cache):
        assert await ask(cache, messages.Ping(), 5.0)


async def test_a_file_of_somebody_elses_is_left_alone_and_the_node_works_without(tmp_path: Path):
    cache = tmp_path / "cache.redb"
    control_path(cache).write_text("mine")
    async with listening(cache):
        with pytest.raises(NoNodeError):
            await ask(cache, messages.Ping(), 5.0)
    assert control_path(cache).read_text() == "mine"


async def test_a_second_writer_does_not_take_the_first_ones_socket(tmp_path: Path):
    cache = tmp_path / "cache.redb"
    async with listening(cache):
        with pytest.raises(CacheBusyError):
            async with listening(cache):
                pass
        assert await ask(cache, messages.Ping(), 5.0)


async def test_a_one_shot_command_says_who_it_is_and_takes_no_orders(tmp_path: Path):
    cache = tmp_path / "cache.redb"
    async with listening(cache, standing=False):
        assert await ask(cache, messages.Ping(), 5.0) == {
            "kind": "sync",
            "pid": (await ask(cache, messages.Ping(), 5.0))["pid"],
            "standing": False,
        }
        with pytest.raises(NoNodeError, match="cdc sync writes this cache"):
            await ask(cache, messages.Pause(), 5.0)


@pytest.mark.parametrize(
    "request_line",
    [b"no JSON\n", b'{"command":"format-disk"}\n', b"[]\n", b"\xff\n", b'{"command":"mend"}\n'],
)
async def test_what_is_no_request_is_refused_in_one_line(tmp_path: Path, request_line: bytes):
    cache = tmp_path / "cache.redb"
    async with listening(cache):
        reader, writer = await asyncio.open_unix_connection(str(control_path(cache)))
        writer.write(request_line)
        assert "no request" in json.loads(await reader.readline())["error"]
        assert await reader.read() == b""
        writer.close()


async def test_a_request_too_large_or_too_slow_is_cut_off_and_the_rest_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "CONTROL_REQUEST_BYTES_MAX", 1000)
    monkeypatch.setattr(limits, "CONTROL_REQUEST_SECONDS", 0.1)
    cache = tmp_path / "cache.redb"
    async with listening(cache):
        reader, writer = await asyncio.open_unix_connection(str(control_path(cache)))
        writer.write(b"x" * 5000)
        assert "no request" in json.loads(await reader.readline())["error"]
        writer.close()
        reader, writer = await asyncio.open_unix_connection(str(control_path(cache)))
        assert await reader.read() == b""
        writer.close()
        assert await ask(cache, messages.Ping(), 5.0)


async def test_more_connections_than_the_limit_are_told_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "CONTROL_CONNECTIONS_MAX", 2)
    cache = tmp_path / "cache.redb"
    async with listening(cache):
        idle = [await asyncio.open_unix_connection(str(control_path(cache))) for _ in range(2)]
        with pytest.raises(CacheError, match="too many"):
            await ask(cache, messages.Ping(), 5.0)
        for _, writer in idle:
            writer.close()


async def test_whoever_waits_when_the_node_ends_is_told_so(tmp_path: Path):
    cache = tmp_path / "cache.redb"
    async with listening(cache):
        waiting = asyncio.create_task(ask(cache, messages.Rebuild(), 5.0))
        await ask(cache, messages.Ping(), 5.0)
    with pytest.raises(CacheError):
        await waiting


def test_a_running_node_is_paused_resumed_rebuilt_and_asked_how_it_stands(tmp_path: Path, source: Path):
    cache = tmp_path / "cache.redb"
    here = ("--cache", cache)
    with Running(tmp_path, "run", "--source", source, *here) as node:
        wait_until(lambda: status(here)["cache"]["state"] == "live", 20, "the node is live")
        assert cdc("pause", "--json", *here).json["paused"]
        execute(source, "INSERT INTO t VALUES (3, 'c')")
        assert not status((*here, "--source", source))["healthy"]
        assert status(here)["cache"]["paused"]
        inode = cache.stat().st_ino
        # A rebuild is done also while paused.
        rebuilt = cdc("rebuild", "--json", *here).json
        assert rebuilt["rows"] == 3
        assert cache.stat().st_ino != inode
        execute(source, "INSERT INTO t VALUES (4, 'd')")
        assert cdc("resume", "--json", *here).json["paused"] is False
        wait_until(lambda: cached(cache, 4), 10, "the row that came while it was paused")
        cdc("reread", "t", "--source", source, *here)
        cdc("reread", "nothing", "--source", source, *here, code=2)
        assert cdc("verify", "--source", source, *here).code == 0
        node.kill()
    assert control_path(cache).exists()
    # What is left of it is nobody: the command does the work itself.
    assert cdc("rebuild", "--source", source, "--json", *here).json["rows"] == 4
    cdc("pause", *here, code=1)


@pytest.mark.kafka
def test_a_node_fed_by_kafka_rebuilds_itself_from_the_newest_snapshot(
    tmp_path: Path, source: Path, kafka: KafkaBroker, topic: str
):
    reach = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    cache = tmp_path / "cache.redb"
    here = ("--cache", cache, *reach)
    cdc("poll", "--once", "--source", source, *reach)
    with Running(tmp_path, "consume", *here) as node:
        wait_until(lambda: cache.exists() and cached(cache, 1), 20, "the first load")
        cdc("pause", "--cache", cache)
        execute(source, "INSERT INTO t VALUES (3, 'c')")
        cdc("poll", "--once", "--source", source, *reach)
        assert not cached(cache, 3)
        inode = cache.stat().st_ino
        rebuilt = cdc("rebuild", "--json", "--cache", cache).json
        assert rebuilt["rows"] == 2
        assert cache.stat().st_ino != inode
        cdc("resume", "--cache", cache)
        wait_until(lambda: cached(cache, 3), 10, "the row that came while it was paused")
        refused = cdc("rebuild", "--from", "source", "--cache", cache, code=4)
        assert "no source" in refused.error
        assert cdc("verify", "--source", source, "--cache", cache).code == 0
        node.check_alive()
        node.stop()
    assert not control_path(cache).exists()


def status(here: tuple[Any, ...]) -> Any:
    finished = cdc("status", "--json", *here, code=(0, 2))
    return finished.json if finished.code == 0 else {"cache": {"state": "none"}}


def cached(path: Path, number: int) -> bool:
    with Cache.open(path) as cache:
        return cache.get("t", number) is not None


def test_the_lock_alone_makes_nobody(tmp_path: Path):
    cache = tmp_path / "cache.redb"
    lock = NodeLock(cache)
    lock.acquire()
    try:
        assert listening_address(cache) is None
    finally:
        lock.release()


def test_a_table_of_the_settings_that_is_dropped_under_a_node_leaves_with_a_warning(tmp_path: Path):
    source, cache, config = tmp_path / "app.db", tmp_path / "cache.redb", tmp_path / "cdc.toml"
    config.write_text('[tables.t]\nindex = ["v"]\n')
    for statement in (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v)",
        "CREATE TABLE u (id INTEGER PRIMARY KEY)",
    ):
        execute(source, statement)
    here = ("--config", config, "--source", source, "--cache", cache)
    with Running(tmp_path, "run", *here) as node:
        wait_until(
            lambda: cache.exists() and status(here)["cache"]["state"] == "live", 20, "the node is live"
        )
        execute(source, "DROP TABLE t")
        wait_until(lambda: list(status(here)["cache"]["tables"]) == ["u"], 20, "the table has left")
        told = status(here)
        assert (told["source"]["capture"], told["healthy"]) == ("ok", True), told
        left = [record for record in node.records if record.get("table") == "t"]
        assert [record["level"] for record in left] == ["warning"]


def test_a_node_that_does_not_share_its_file_says_itself_what_is_in_it(tmp_path: Path):
    source, cache, config = tmp_path / "app.db", tmp_path / "cache.redb", tmp_path / "cdc.toml"
    with closing(sqlite3.connect(source)) as db, db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        db.execute("INSERT INTO t VALUES (1), (2)")
    config.write_text('[cache]\nreaders = "process"\n')
    here = ("--source", source, "--cache", cache, "--config", config)

    def status() -> Any:
        return cdc("status", *here, "--json").json

    cdc("sync", *here)
    port = free_port()
    with Running(tmp_path, "run", *here, "--http", f"127.0.0.1:{port}") as node:
        wait_until(lambda: status()["cache"]["state"] == "live", 30.0, "the node is live")
        assert status()["cache"]["tables"] == {"t": {"rows": 2}}
        with urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
            assert json.load(answer)["cache"]["tables"] == {"t": {"rows": 2}}
        error = cdc("verify", *here, code=1).error
        assert 'cache.readers = "shared"' in error
        node.stop()
    assert cdc("verify", *here, "--json").json["equal"]
