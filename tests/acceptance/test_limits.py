"""What a machine runs out of: disk, file handles, rights, time that goes evenly, memory."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from consumers import Cache
from tests.support.commands import DONE, FAILED, PROJECT, USAGE, Running, cdc, check_standard_error
from tests.support.conditions import wait_until
from tests.support.measured import cdc_measured

if TYPE_CHECKING:
    from pathlib import Path

LIMITED = """
import resource, sys
from cdc.cli import main
limit, value = getattr(resource, sys.argv.pop(1)), int(sys.argv.pop(1))
resource.setrlimit(limit, (value, value))
main()
"""

JUMPING_CLOCK = """
import random, time
from cdc.cli import main
real, jumps = time.time_ns, random.Random(5)
time.time_ns = lambda: max(0, real() + jumps.choice((0, 1, -1)) * jumps.randrange(10**19))
time.time = lambda: time.time_ns() / 1e9
main()
"""

MEMORY_MB_MAX = 450


def python(code: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a command behind some code; return its exit code and error line."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "CDC_LOG_FORMAT": "json"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    check_standard_error(done.stderr, done.returncode)
    return done.returncode, done.stderr.splitlines()[-1] if done.returncode else ""


def make(path: Path, rows: int, row_bytes: int) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        value = random.Random(1).randbytes(row_bytes)
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, value) for n in range(rows)])


@pytest.fixture
def where(tmp_path: Path) -> tuple[str | Path, ...]:
    make(tmp_path / "app.db", 3_000, 1_000)
    return "--source", tmp_path / "app.db", "--cache", tmp_path / "cache.redb"


def test_a_load_that_finds_no_room_leaves_everything_as_it_was(where: tuple[str | Path, ...], tmp_path: Path):
    code, line = python(LIMITED, "RLIMIT_FSIZE", str(1 << 20), "sync", *where)
    assert code == FAILED
    assert "no room to write the cache file" in line
    assert not [
        file for file in tmp_path.iterdir() if "redb" in file.name and not file.name.endswith(".lock")
    ]
    cdc("sync", *where)
    before = (tmp_path / "cache.redb").stat().st_ino
    assert python(LIMITED, "RLIMIT_FSIZE", str(1 << 20), "rebuild", *where)[0] == FAILED
    assert (tmp_path / "cache.redb").stat().st_ino == before
    assert cdc("verify", "--json", *where).json["equal"]


def test_a_node_whose_disk_fills_up_serves_and_goes_on_when_there_is_room(
    where: tuple[str | Path, ...], tmp_path: Path
):
    path = tmp_path / "cache.redb"
    with Running(tmp_path, "run", *where) as node:
        wait_until(path.exists, 20, "the node has loaded")
        with Cache.open(path) as cache:
            position = cache.position
            _, hard = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
            with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
                connection.execute("INSERT INTO t SELECT id + 10000, randomblob(1000) FROM t")
            node.wait_for("trying again")
            assert cache.position == position
            row = cache.get("t", 1)
            assert row is not None
            assert cache.count("t") == 3_000
            resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (hard, hard))
            wait_until(lambda: cache.count("t") == 6_000, 30, "the node goes on")
        node.stop(signal.SIGTERM)
    assert cdc("verify", "--json", *where).json["equal"]


@pytest.mark.parametrize("command", ["sync", "run", "verify"])
def test_too_few_file_handles_are_said_at_once(where: tuple[str | Path, ...], command: str):
    cdc("sync", *where)
    code, line = python(LIMITED, "RLIMIT_NOFILE", "30", command, *where)
    assert code == FAILED
    assert "ulimit -n" in line


def test_a_folder_that_may_not_be_written_is_told(where: tuple[str | Path, ...], tmp_path: Path):
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    # Nothing stops root there; the kernel's own folder takes no files from anybody.
    target = folder if os.getuid() else "/sys/kernel"
    error = cdc("sync", *where[:3], f"{target}/cache.redb", code=(USAGE, FAILED)).error
    assert f"{target}/cache.redb" in error


def test_a_clock_that_jumps_changes_nothing(where: tuple[str | Path, ...], tmp_path: Path):
    assert python(JUMPING_CLOCK, "sync", *where) == (DONE, "")
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
        connection.execute("UPDATE t SET v = randomblob(10)")
    for command in ("status", "sync", "verify"):
        assert python(JUMPING_CLOCK, command, *where) == (DONE, "")
    assert cdc("verify", "--json", *where).json["equal"]


@pytest.mark.parametrize(("rows", "row_bytes"), [(20_000, 1_000), (60, 1_000_000)], ids=["1KB", "1MB"])
def test_memory_does_not_grow_with_the_rows(rows: int, row_bytes: int, tmp_path: Path):
    make(tmp_path / "app.db", rows, row_bytes)
    where = ("--source", tmp_path / "app.db", "--cache", tmp_path / "cache.redb")
    for _ in ("the load", "every row anew"):
        measured = cdc_measured("sync", *where)
        assert measured.code == DONE
        assert measured.peak_mib < MEMORY_MB_MAX
        with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
            connection.execute("UPDATE t SET v = randomblob(length(v))")
