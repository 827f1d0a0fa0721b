"""What lies at a cache path is looked at before it is opened, locked or made."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consumers import Cache
from consumers.nodelock import lock_path, node_lock, writer_alive
from schemas.errors import UsageError
from tests.support.caches import EPISODES, make_cache
from tests.support.command import cdc_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]

READING = (["scan", "t"], ["dump"], ["get", "t", "1"], ["status", "--json"], ["verify"])
WRITING = (["sync"], ["rebuild", "--from", "source"], ["run"])


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    return str(path)


def lay_out(folder: Path) -> dict[str, str]:
    """Things that are no cache, by their path, and what is said of them."""
    (folder / "folder").mkdir()
    (folder / "text").write_text("not a database, and longer than a header")
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    return {
        ".": "is a folder",
        "/": "is a folder",
        "folder": "is a folder",
        "text": "is no redb database",
        "fifo": "is no regular file",
        "/dev/null": "is no regular file",
        "text/below": "cannot be used: Not a directory",
        "n" * 300: "too long",
        "loop": "cannot be used: Too many levels of symbolic links",
    }


@pytest.mark.parametrize("command", [*READING, *WRITING], ids=lambda command: command[0])
def test_a_path_that_holds_no_cache_is_one_line_and_exit_2_and_nothing_is_laid_beside_it(
    cdc: Cdc, source: str, tmp_path: Path, command: list[str]
):
    cases = lay_out(tmp_path)
    before = sorted(tmp_path.iterdir())
    for path, words in cases.items():
        ended = cdc(*command, "--source", source, "--cache", path, "--timeout", "1s")
        assert (ended.code, ended.out) == (2, ""), path
        assert words in ended.err or "File name too long" in ended.err, path
        assert ended.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_an_empty_file_is_no_cache_to_readers_and_no_obstacle_to_writers(
    cdc: Cdc, source: str, tmp_path: Path
):
    cache = tmp_path / "cache.redb"
    for command in (["sync"], ["rebuild", "--from", "source"]):
        cache.write_bytes(b"")
        for reading in READING:
            ended = cdc(*reading, "--source", source, "--cache", str(cache))
            assert (ended.code, ended.out) == (2, ""), reading
            assert "is no redb database" in ended.err
        assert cdc(*command, "--source", source, "--cache", str(cache)).code == 0
        assert cdc("verify", "--source", source, "--cache", str(cache)).code == 0
    assert sorted(tmp_path.iterdir()) == [tmp_path / "app.db", cache, lock_path(cache)]


def test_a_name_that_leaves_no_room_for_what_lies_beside_it_is_refused_before_work(
    cdc: Cdc, source: str, tmp_path: Path
):
    assert cdc("sync", "--source", source, "--cache", "n" * 240).code == 2
    assert cdc("sync", "--source", source, "--cache", "n" * 230).code == 0
    assert cdc("sync", "--source", source, "--cache", "none/cache.redb").code == 2
    assert not list(tmp_path.glob("n" * 231 + "*.loading"))


@pytest.mark.parametrize("command", [["status", "--json"], ["sync"]], ids=lambda command: command[0])
@pytest.mark.parametrize("flag", ["--cache", "--source"])
def test_a_path_that_is_not_utf8_is_refused(tmp_path: Path, command: list[str], flag: str):
    ended = cdc_process(*command, flag, "odd-\udcff", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("is not allowed as it stands; allowed: text in UTF-8\n")


def is_private(folder: Path) -> bool:
    return folder.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_of_another_user_is_exit_2_and_its_writer_may_be_alive(tmp_path: Path):
    path = tmp_path / "cache.redb"
    make_cache(path, {EPISODES: [("ep-1", 0.5)]}).close()
    path.chmod(0o600)
    lock_path(path).touch(mode=0o600)
    # pytest's folders are its user's alone, but not their group's; the group stays.
    for folder in itertools.takewhile(is_private, (tmp_path, *tmp_path.parents)):
        folder.chmod(0o750)
    os.setresuid(65_534, 65_534, 0)
    try:
        with pytest.raises(UsageError, match="may not be read"):
            Cache.open(path)
        with pytest.raises(UsageError, match="may not be read and written"), node_lock(path):
            pass
        assert writer_alive(path)
    finally:
        os.setresuid(0, 0, 0)


def test_a_symbolic_link_is_followed_once_so_that_a_rebuild_replaces_what_it_leads_to(
    cdc: Cdc, source: str, tmp_path: Path
):
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / "link.redb", tmp_path / "disk" / "real.redb"
    link.symlink_to(target)
    where = ("--source", source, "--cache", str(link))
    for command in (["sync"], ["rebuild"], ["sync"]):
        assert cdc(*command, *where).code == 0
    assert link.is_symlink()
    assert target.is_file()
    assert not lock_path(tmp_path / "x").with_name("link.redb.lock").exists()
    with node_lock(target):
        assert writer_alive(link)
    assert cdc("status", *where, "--json").json()["cache"]["path"] == str(target)


def test_a_source_that_is_missing_leaves_no_lock_behind(cdc: Cdc, tmp_path: Path):
    for command in (["sync"], ["run"], ["rebuild"]):
        ended = cdc(*command, "--source", "none.db", "--cache", "cache.redb")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "none.db" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_more_is_one_line(source: str, tmp_path: Path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = "import os, sys; os.rmdir(os.getcwd()); from cdc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "sync", "--source", source],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: the folder that this was started in is no more; ")
