"""What the driver of the Turso engine refuses: files that it would corrupt, or read wrongly."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import turso

from cdc.source import open_client
from schemas.errors import SourceError, SourceUnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OWNER = """
import sys, turso
connection = turso.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def _owned(path: str) -> Iterator[None]:
    """Have another process open a database by the engine."""
    command = [sys.executable, "-c", _OWNER, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        yield
        owner.kill()


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _made(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    connection.commit()
    return connection


async def test_a_file_that_sqlite_has_open_is_refused_untouched(tmp_path: Path):
    connection = _made(tmp_path / "a.db")
    with pytest.raises(SourceUnavailableError, match="two engines would corrupt it"):
        await open_client(f"turso:{tmp_path / 'a.db'}")
    connection.close()
    client = await open_client(f"turso:{tmp_path / 'a.db'}")
    assert (await client.execute("SELECT count(*) FROM t")).rows == [(0,)]
    await client.close()


async def test_a_file_that_another_process_of_the_engine_has_open_is_refused(tmp_path: Path):
    path = str(tmp_path / "a.db")
    with _owned(path), pytest.raises(SourceUnavailableError, match="two engines would corrupt it"):
        await open_client(f"turso:{path}")


async def test_the_mvcc_journal_is_refused(tmp_path: Path):
    path = str(tmp_path / "a.db")
    connection = turso.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = 'mvcc'").fetchall()
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.close()
    del connection
    with pytest.raises(UsageError, match="MVCC journal"):
        await open_client(f"turso:{path}")


@pytest.mark.parametrize("name", ["missing.db", ".", "text.db"])
async def test_a_path_that_holds_no_database_is_a_usage_error_and_makes_no_file(tmp_path: Path, name: str):
    (tmp_path / "text.db").write_text("no database at all, " * 100)
    before = _listed(tmp_path)
    with pytest.raises(UsageError):
        await open_client(f"turso:{tmp_path / name}")
    assert _listed(tmp_path) == before


async def test_text_that_is_not_utf8_is_said_to_be_unreadable(tmp_path: Path):
    connection = _made(tmp_path / "a.db")
    connection.execute("INSERT INTO t VALUES (1, CAST(x'ff' AS TEXT))")
    connection.commit()
    connection.close()
    client = await open_client(f"turso:{tmp_path / 'a.db'}")
    try:
        with pytest.raises(SourceError, match="not UTF-8"):
            await client.execute("SELECT v FROM t")
    finally:
        await client.close()
