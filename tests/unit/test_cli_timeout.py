"""One-shot commands wait for a source that is locked or away, and give up with 5 after --timeout."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from cdc.source.sqlite import SqliteClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.command import Ended


@pytest.fixture(autouse=True)
def impatient_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteClient.open.__func__, "__kwdefaults__", {"busy_timeout_s": 0.05})


@pytest.fixture
def source(tmp_path: Path, cdc: Callable[..., Ended]) -> Path:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    assert cdc("sync", "--source", str(path), "--cache", str(tmp_path / "cache.redb")).code == 0
    return path


@pytest.mark.parametrize(
    "command", [["sync"], ["rebuild"], ["verify"], ["install"], ["install", "--print-sql"], ["uninstall"]]
)
def test_a_locked_source_is_given_up_with_5(cdc: Callable[..., Ended], source: Path, command: list[str]):
    cache = str(source.parent / "cache.redb")
    with closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        ended = cdc(*command, "--source", str(source), "--cache", cache, "--timeout", "100ms", "--json")
    assert (ended.code, ended.out) == (5, "")
    assert ended.err.splitlines()[-1].startswith("error: the source is locked by another connection")


def test_a_source_that_is_unlocked_in_time_is_waited_for(cdc: Callable[..., Ended], source: Path):
    connection = sqlite3.connect(source, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")

    def unlock() -> None:
        time.sleep(0.5)  # longer than one statement waits
        connection.close()

    thread = threading.Thread(target=unlock)
    thread.start()
    ended = cdc("sync", "--source", str(source), "--cache", str(source.parent / "cache.redb"), "--json")
    thread.join()
    assert ended.code == 0
    assert ended.json()["position"] == {"epoch": 1, "change_id": 2}
