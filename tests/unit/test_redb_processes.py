"""The redb file between processes: one writer, any readers, and what a killed or starved writer leaves."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import pytest

from consumers import _redb

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).parents[2]
LIMIT_S = 30


class Child:
    """Python code in a process of its own, which prints a line when it has come somewhere."""

    def __init__(self, code: str, *args: object) -> None:
        begin = "import resource, signal, sys\nfrom consumers import _redb\n"
        self._process = subprocess.Popen(
            [sys.executable, "-c", begin + textwrap.dedent(code), *map(str, args)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

        self._limit = threading.Timer(LIMIT_S, self._process.kill)

    def __enter__(self) -> Self:
        self._limit.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._limit.cancel()
        self.kill()

    def line(self) -> str:
        return stream(self._process.stdout).readline().strip()

    def kill(self) -> list[str]:
        """The lines it had still printed."""
        self._process.kill()
        rest, _ = self._process.communicate(timeout=LIMIT_S)
        return rest.split()


def stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


WRITER = """
    path, shared = sys.argv[1], sys.argv[2] == "True"
    database = _redb.Database.open(path, shared=shared)
    database.apply({"t": [(b"k", b"committed", 1)]}, {})
    transaction = database.begin()
    transaction.put({"t": [(b"k", b"not committed", 2)]})
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cache.redb"
    _redb.Database.create(path).close()
    return path


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "open_file", [_redb.Database.open, lambda path: _redb.Database.open(path, shared=False)]
)
def test_a_file_that_another_process_writes_is_busy(
    path: Path, open_file: Callable[[Path], _redb.Database], shared: bool
) -> None:
    with Child(WRITER, path, shared) as writer:
        assert writer.line() == "ready"
        with pytest.raises(_redb.BusyError):
            open_file(path)


def test_a_reader_sees_what_another_process_commits_and_nothing_else(path: Path) -> None:
    with _redb.Database.open_read_only(path) as reader, Child(WRITER, path, True) as writer:
        assert writer.line() == "ready"
        assert reader.get("t", b"k") == b"committed"


@pytest.mark.parametrize("shared", [True, False])
def test_after_a_killed_writer_a_reader_asks_for_a_repair_and_a_writer_makes_it(
    path: Path, shared: bool
) -> None:
    with Child(WRITER, path, shared) as writer:
        assert writer.line() == "ready"
        writer.kill()
    with pytest.raises(_redb.RepairNeededError, match="open it for writing"):
        _redb.Database.open_read_only(path)
    with _redb.Database.open(path) as database:
        assert database.verified
        assert database.get("t", b"k") == b"committed"
    with _redb.Database.open_read_only(path) as reader:
        assert reader.get("t", b"k") == b"committed"


def test_a_reader_outlives_its_writer_and_follows_the_next(path: Path) -> None:
    with _redb.Database.open_read_only(path) as reader:
        with Child(WRITER, path, True) as writer:
            assert writer.line() == "ready"
            writer.kill()
        assert reader.get("t", b"k") == b"committed"
        with _redb.Database.open(path) as database:
            database.apply({"t": [(b"k", b"later", 3)]}, {})
            assert reader.get("t", b"k") == b"later"


@pytest.mark.parametrize(("shared", "pause"), [(True, 5), (True, 60), (False, 5), (False, 150)])
def test_a_writer_killed_at_any_moment_leaves_an_exact_prefix_of_its_commits(
    path: Path, shared: bool, pause: int
) -> None:
    code = """
        path, shared = sys.argv[1], sys.argv[2] == "True"
        database = _redb.Database.open(path, shared=shared)
        for n in range(1, 100_000):
            rows = [((n * 7919 + i * 104729 & 0xFFFFFF).to_bytes(4, "big"), b"%d" % n, n) for i in range(200)]
            database.apply({"t": rows, "log": [(n.to_bytes(4, "big"), b"", n)]}, {"n": b"%d" % n})
            print(n, flush=True)
    """
    with Child(code, path, shared) as writer:
        acknowledged = [writer.line() for _ in range(pause)]
        acknowledged += writer.kill()
    with _redb.Database.open(path, shared=shared) as database:
        n = int(database.meta()["n"])
        assert n >= int(acknowledged[-1] or acknowledged[-2])
        expected = {
            (k * 7919 + i * 104729 & 0xFFFFFF).to_bytes(4, "big"): (b"%d" % k, k)
            for k in range(1, n + 1)
            for i in range(200)
        }
        with database.snapshot() as snapshot:
            assert {key: (row, stamp) for key, row, stamp in snapshot.scan("t", limit=1 << 30)} == expected
            assert snapshot.count("log") == n
        database.apply({}, {"n": b"on it goes"})


def test_a_full_disk_is_said_so_and_opening_the_file_again_goes_on_from_the_last_commit(path: Path) -> None:
    code = """
        path = sys.argv[1]
        database = _redb.Database.open(path)
        database.apply({"t": [(b"k", b"committed", 1)]}, {})
        big = [(n.to_bytes(4, "big"), bytes(1000), 2) for n in range(5000)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
        for _ in range(2):
            with database.begin() as transaction:
                try:
                    transaction.put({"t": big})
                    transaction.commit()
                except _redb.RedbError as error:
                    print(type(error).__name__, flush=True)
            try:
                database.apply({}, {"name": b"too early"})
            except _redb.RedbError as error:
                print(type(error).__name__, flush=True)
            print(database.close(), flush=True)
            database = _redb.Database.open(path)
            print(database.get("t", b"k").decode(), database.count("t"), flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        database.apply({"t": big}, {})
        print(database.close(), flush=True)
    """
    with _redb.Database.open_read_only(path) as reader, Child(code, path) as child:
        for _ in range(2):
            assert [child.line() for _ in range(4)] == ["StorageFullError", "IoError", "False", "committed 1"]
            assert reader.get("t", b"k") == b"committed"
        assert child.line() == "True"
        assert reader.count("t") == 5001


def test_a_transaction_larger_than_the_cache_does_not_fill_the_memory(path: Path) -> None:
    code = """
        database = _redb.Database.open(sys.argv[1], cache_bytes=8 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with database.begin() as transaction:
            for part in range(100):
                keys = [(part * 1000 + n) * 2654435761 & 0xFFFFFFFF for n in range(1000)]
                transaction.put({"t": [(key.to_bytes(4, "big"), bytes(1000), 1) for key in keys]})
            transaction.commit()
        print(database.count("t"), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)
    """
    with Child(code, path) as child:
        rows, grown_kb = child.line().split()
    assert int(rows) == 100_000
    assert int(grown_kb) < 48 << 10
