"""Reading a cache that a node writes: by an index, from the end, at one position, as it changes."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import cdc as program
from consumers import Cache
from schemas.errors import ExpiredError, UsageError, WatchLostError
from tests.support.commands import USAGE, Running, cdc
from tests.support.conditions import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EMBEDDINGS = 40


@pytest.fixture
def source(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE episodes(id TEXT PRIMARY KEY, domain TEXT, score NUMERIC)")
        connection.execute("CREATE TABLE embeddings(id INTEGER PRIMARY KEY, item_id TEXT, vector BLOB)")
        episodes = [(f"ep-{n}", "web" if n % 2 else None, n) for n in range(10)]
        connection.executemany("INSERT INTO episodes VALUES (?, ?, ?)", episodes)
        vectors = [(n, f"ep-{n % 10}", bytes([n])) for n in range(EMBEDDINGS)]
        connection.executemany("INSERT INTO embeddings VALUES (?, ?, ?)", vectors)
        yield connection


@pytest.fixture
def config(tmp_path: Path, source: sqlite3.Connection) -> Path:
    assert source.total_changes
    path = tmp_path / "cdc.toml"
    path.write_text(
        f'[source]\nurl = "file:{tmp_path / "app.db"}"\n[cache]\npath = "{tmp_path / "cache.redb"}"\n'
        '[tables.episodes]\nindex = ["DOMAIN", "score"]\n[tables.embeddings]\nindex = ["item_id"]\n'
    )
    cdc("sync", "--config", path)
    return path


@pytest.fixture
def cache(config: Path) -> Iterator[Cache]:
    with Cache.open(config.with_name("cache.redb")) as cache:
        yield cache


@pytest.fixture
def node(config: Path, tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path, "run", "--config", config) as running:
        yield running
        running.stop()


def ids(rows: list[dict[str, Any]]) -> list[Any]:
    return [row["id"] for row in rows]


def test_rows_are_found_by_an_indexed_column_through_every_change(
    source: sqlite3.Connection, config: Path, cache: Cache
):
    assert ids(cache.find("embeddings", item_id="ep-3")) == [3, 13, 23, 33]
    source.execute("UPDATE embeddings SET item_id = 'ep-3' WHERE id = 4")
    source.execute("UPDATE embeddings SET vector = x'FF' WHERE id = 13")
    source.execute("DELETE FROM embeddings WHERE id = 23")
    source.execute("UPDATE embeddings SET id = 333 WHERE id = 33")
    source.execute("INSERT INTO embeddings VALUES (-1, 'ep-3', NULL), (-2, 'ep-3' || char(0), NULL)")
    cdc("sync", "--config", config)
    assert ids(cache.find("embeddings", item_id="ep-3")) == [-1, 3, 4, 13, 333]
    assert cache.find("embeddings", item_id="ep-3", id=13)[0]["vector"] == b"\xff"
    assert ids(cache.find("embeddings", item_id="ep-3\0")) == [-2]
    assert cache.find("embeddings", item_id="nobody") == []
    assert ids(cache.find("episodes", domain=None)) == [f"ep-{n}" for n in (0, 2, 4, 6, 8)]
    assert cache.find("episodes", score=3.0) == []
    source.execute("DELETE FROM embeddings")
    cdc("sync", "--config", config)
    assert cache.find("embeddings", item_id="ep-3") == []
    cdc("rebuild", "--config", config)
    assert ids(cache.find("episodes", score=3)) == ["ep-3"]


def test_the_command_finds_by_affinity_or_an_exact_value(config: Path):
    def found(*arguments: str) -> list[object]:
        return [line["key"][0] for line in cdc("find", *arguments, "--config", config).json_lines]

    assert found("embeddings", "item_id=ep-3") == [3, 13, 23, 33]
    assert found("embeddings", "item_id=ep-3", "--limit", "2") == [3, 13]
    assert found("episodes", "score=3") == found("episodes", "score=3.0") == ["ep-3"]
    assert found("episodes", "score", "--value", "3.0") == []
    assert found("episodes", "domain", "--value", "null") == [f"ep-{n}" for n in (0, 2, 4, 6, 8)]
    for wrong in (
        ("embeddings", "vector=1"),
        ("embeddings", "nothing=1"),
        ("nothing", "a=1"),
        ("episodes", "score"),
    ):
        cdc("find", *wrong, "--config", config, code=USAGE)
    assert "it has: item_id" in cdc("find", "embeddings", "id=1", "--config", config, code=USAGE).error


def test_an_index_of_a_column_that_there_is_not_is_refused(config: Path):
    config.write_text(config.read_text().replace("item_id", "item"))
    assert 'tables.embeddings.index names "item"' in cdc("sync", "--config", config, code=USAGE).error


def test_an_index_that_is_asked_for_later_is_built_and_one_that_is_not_any_more_goes(
    config: Path, cache: Cache
):
    text = config.read_text()
    config.write_text(text.replace('"item_id"', '"item_id", "vector"'))
    cdc("sync", "--config", config)
    assert ids(cache.find("embeddings", vector=b"\x05")) == [5]
    config.write_text(text)
    cdc("sync", "--config", config)
    with pytest.raises(UsageError, match="it has: item_id"):
        cache.find("embeddings", vector=b"\x05")


def test_a_scan_goes_backwards_too(cache: Cache):
    forwards = list(cache.scan("embeddings"))
    assert list(cache.scan("embeddings", reverse=True)) == forwards[::-1]
    assert [key for key, _ in cache.scan("embeddings", reverse=True, after=(3,))] == [(2,), (1,), (0,)]
    assert [key for key, _ in cache.scan("episodes", reverse=True, prefix="ep-1")] == [("ep-1",)]


def test_a_snapshot_reads_several_tables_at_one_position_until_its_time_is_over(
    source: sqlite3.Connection, config: Path, cache: Cache
):
    with cache.snapshot() as snapshot, cache.snapshot(seconds_max=0.05) as short:
        position = snapshot.position
        source.execute("UPDATE episodes SET domain = 'new'")
        source.execute("DELETE FROM embeddings")
        cdc("sync", "--config", config)
        assert cache.find("embeddings", item_id="ep-1") == []
        assert cache.position != position == snapshot.position
        assert ids(snapshot.find("embeddings", item_id="ep-1")) == [1, 11, 21, 31]
        row = snapshot.get("episodes", "ep-1")
        assert row is not None
        assert row["domain"] == "web"
        assert snapshot.get_many("episodes", [("ep-1",), ("nobody",)]) == [row, None]
        assert len(list(snapshot.scan("embeddings"))) == snapshot.count("embeddings") == EMBEDDINGS
        with pytest.raises(UsageError):
            snapshot.get("episodes")

        def expired() -> bool:
            try:
                short.get("episodes", "ep-1")
            except ExpiredError:
                return True
            return False

        wait_until(expired, 5, "the short snapshot has expired")
    with pytest.raises(ExpiredError):
        snapshot.get("episodes", "ep-1")


def test_a_writer_reads_its_own_writes_and_a_watcher_hears_of_them(
    source: sqlite3.Connection, cache: Cache, node: Running
):
    node.check_alive()
    with cache.watch("episodes", timeout=20) as watch, cache.watch("embeddings", timeout=0.3) as other:
        source.execute("UPDATE episodes SET score = 100 WHERE id IN ('ep-1', 'ep-2')")
        first = program.position(source)
        cache.wait_for(first, timeout=20)
        row = cache.get("episodes", "ep-1")
        assert row is not None
        assert row["score"] == 100
        heard = {next(watch), next(watch)}
        assert heard == {("ep-1",), ("ep-2",)}
        assert all(one.position >= first and one.table == "episodes" for one in heard)
        source.execute("DELETE FROM episodes WHERE id = 'ep-3'")
        gone = next(watch)
        assert gone.key == ("ep-3",)
        assert cache.get("episodes", *gone) is None
        assert list(other) == []
        threading.Timer(0.2, watch.close).start()
        assert list(watch) == []


def test_a_watcher_is_told_when_it_cannot_know_every_change(
    source: sqlite3.Connection, config: Path, cache: Cache
):
    reread, rebuilt, plain = (cache.watch("episodes", timeout=5) for _ in range(3))
    source.execute("UPDATE episodes SET score = 5 WHERE id = 'ep-1'")
    cdc("sync", "--config", config)
    assert next(plain) == next(reread) == ("ep-1",)
    source.execute("ALTER TABLE episodes ADD COLUMN more TEXT")
    cdc("sync", "--config", config)
    with pytest.raises(WatchLostError, match="read anew"):
        next(reread)
    with pytest.raises(WatchLostError):
        next(reread)
    cdc("rebuild", "--config", config)
    with pytest.raises(WatchLostError, match="rebuilt"):
        next(rebuilt)
    with pytest.raises(UsageError):
        cache.watch("nothing")
