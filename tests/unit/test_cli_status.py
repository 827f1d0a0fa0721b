"""cdc status, on real files."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from cdc.source.sqlite import SqliteClient
from tests.support.database import execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]


@pytest.fixture(autouse=True)
def impatient_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteClient.open.__func__, "__kwdefaults__", {"busy_timeout_s": 0.05})


@pytest.fixture
def source(tmp_path: Path, cdc: Cdc) -> Path:
    path = tmp_path / "app.db"
    execute(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    assert cdc("sync", "--source", "app.db").code == 0
    return path


def status(cdc: Cdc) -> dict[str, Any]:
    ended = cdc("status", "--source", "app.db", "--json")
    assert ended.code == 0
    return ended.json()


def test_a_cache_at_its_sources_end_is_healthy_and_one_behind_it_is_not(cdc: Cdc, source: Path):
    document = status(cdc)
    assert document["healthy"]
    assert (document["cache"]["state"], document["cache"]["lag_events"]) == ("stopped", 0)
    execute(source, "INSERT INTO t VALUES (2), (3)")
    document = status(cdc)
    assert not document["healthy"]
    assert document["cache"]["lag_events"] == 2


def test_after_a_backup_was_restored_the_lag_is_unknown_and_nothing_healthy(
    cdc: Cdc, source: Path, tmp_path: Path
):
    shutil.copy(source, tmp_path / "backup")
    execute(source, "INSERT INTO t VALUES (2)")
    assert cdc("sync", "--source", "app.db").code == 0
    shutil.copy(tmp_path / "backup", source)
    # Behind the cache, then at its very position by another way.
    for number in (4, 5):
        document = status(cdc)
        assert not document["healthy"]
        assert document["cache"]["lag_events"] is document["cache"]["lag_seconds"] is None
        assert "lag unknown: the log " in cdc("status", "--source", "app.db").out
        execute(source, f"INSERT INTO t VALUES ({number})")
    assert cdc("sync", "--source", "app.db").code == 0
    assert status(cdc)["healthy"]


def test_a_cache_of_another_database_is_not_healthy(cdc: Cdc, source: Path):
    source.unlink()
    execute(source, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (7)")
    assert cdc("install", "--source", "app.db").code == 0
    document = status(cdc)
    assert not document["healthy"]
    assert document["cache"]["lag_reason"] == "the cache is of another database"


def test_a_locked_source_is_reachable_under_the_same_url(cdc: Cdc, source: Path):
    before = status(cdc)["source"]
    assert before["trouble"] is None
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        document = status(cdc)
        assert "locked" in cdc("status", "--source", "app.db").out
    assert document["source"]["url"] == before["url"] == f"file:{source.resolve()}"
    assert document["source"]["reachable"]
    assert "locked" in document["source"]["trouble"]
    assert not document["healthy"]


def test_one_thing_is_told_as_one(cdc: Cdc, source: Path):
    assert source.exists()
    assert (
        "t: 1 row\n"
        in "\n".join(line.rstrip() for line in cdc("status", "--source", "app.db").out.splitlines()) + "\n"
    )
    assert ": 1 row loaded in " in cdc("rebuild", "--source", "app.db").out


def test_a_check_fails_where_no_node_keeps_the_cache(source: Path, cdc: Cdc):
    ended = cdc("status", "--check", "--source", source.name)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: the cache cache.redb is stopped; see the node's log, and: cdc status\n"
