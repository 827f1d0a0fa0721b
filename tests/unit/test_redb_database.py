"""The redb file as a whole: made, opened, shared, closed."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from consumers import _redb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROW: list[tuple[bytes, bytes | None, int]] = [(b"k", b"row", 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.redb"


def test_a_new_file_can_be_written_closed_and_opened_again(path: Path) -> None:
    with _redb.Database.create(path) as database:
        database.apply({"t": ROW}, {"name": b"value"})
    with _redb.Database.open(path) as database:
        assert database.get("t", b"k") == b"row"
        assert database.meta() == {"name": b"value"}


@pytest.mark.parametrize("content", [b"", b"anything"])
def test_create_refuses_an_existing_file_and_leaves_it_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(_redb.ExistsError):
        _redb.Database.create(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("open_file", [_redb.Database.open, _redb.Database.open_read_only])
def test_opening_makes_no_file(path: Path, open_file: Callable[[Path], _redb.Database]) -> None:
    with pytest.raises(_redb.NotFoundError, match=r"cache\.redb"):
        open_file(path)
    assert not path.exists()


@pytest.mark.parametrize("open_file", [_redb.Database.open, _redb.Database.open_read_only])
@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"redb", b"not a database\n" * 1000, b"SQLite format 3\0" + bytes(8000), bytes(100_000)],
    ids=["empty", "one byte", "begins alike", "text", "sqlite", "zeros"],
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    path: Path, open_file: Callable[[Path], _redb.Database], content: bytes
) -> None:
    path.write_bytes(content)
    with pytest.raises(_redb.NotADatabaseError):
        open_file(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("open_file", [_redb.Database.open, _redb.Database.open_read_only])
def test_a_folder_is_no_database(tmp_path: Path, open_file: Callable[[Path], _redb.Database]) -> None:
    with pytest.raises(_redb.NotADatabaseError):
        open_file(tmp_path)


def test_a_path_may_be_text(path: Path) -> None:
    with _redb.Database.create(str(path)) as database:
        assert database.path == path


def test_a_database_says_how_it_was_opened(path: Path) -> None:
    with _redb.Database.create(path, shared=False) as database:
        assert (database.shared, database.readonly, database.verified) == (False, False, False)
    with _redb.Database.open(path, check=True) as database:
        assert (database.shared, database.readonly, database.verified) == (True, False, True)
    with _redb.Database.open_read_only(path) as database:
        assert (database.shared, database.readonly, database.verified) == (True, True, False)


@pytest.mark.parametrize("shared", [True, False])
def test_a_file_has_one_writer(path: Path, shared: bool) -> None:
    with (
        _redb.Database.create(path, shared=shared),
        pytest.raises(_redb.BusyError, match=r"cache\.redb"),
    ):
        _redb.Database.open(path, shared=shared)


def test_a_reader_beside_a_shared_writer_follows_its_commits(path: Path) -> None:
    with _redb.Database.create(path) as writer, _redb.Database.open_read_only(path) as reader:
        assert reader.get("t", b"k") is None
        writer.apply({"t": ROW}, {})
        assert reader.get("t", b"k") == b"row"


def test_a_writer_that_does_not_share_keeps_readers_out(path: Path) -> None:
    with _redb.Database.create(path, shared=False), pytest.raises(_redb.BusyError):
        _redb.Database.open_read_only(path)


@pytest.mark.parametrize(
    "write",
    [
        lambda database: database.apply({"t": ROW}, {}),
        lambda database: database.begin(),
        lambda database: database.check_integrity(),
    ],
    ids=["apply", "begin", "check_integrity"],
)
def test_a_reader_refuses_to_write(path: Path, write: Callable[[_redb.Database], object]) -> None:
    _redb.Database.create(path).close()
    with _redb.Database.open_read_only(path) as reader, pytest.raises(_redb.ReadOnlyError):
        write(reader)


@pytest.mark.parametrize(
    "call",
    [
        lambda database: database.apply({}, {}),
        lambda database: database.begin(),
        lambda database: database.snapshot(),
        lambda database: database.get("t", b"k"),
        lambda database: database.get_many("t", [b"k"]),
        lambda database: database.count("t"),
        lambda database: database.meta(),
        lambda database: database.check_integrity(),
    ],
    ids=["apply", "begin", "snapshot", "get", "get_many", "count", "meta", "check_integrity"],
)
def test_a_closed_database_refuses_every_call(path: Path, call: Callable[[_redb.Database], object]) -> None:
    database = _redb.Database.create(path)
    assert database.close()
    assert database.close()
    with pytest.raises(_redb.ClosedError):
        call(database)


def test_closing_ends_the_snapshots(path: Path) -> None:
    database = _redb.Database.create(path)
    database.apply({"t": [(n.to_bytes(4, "big"), bytes(1000), n) for n in range(1000)]}, {})
    snapshot = database.snapshot()
    database.close()
    with pytest.raises(_redb.ClosedError):
        snapshot.scan("t")
    snapshot.close()
    _redb.Database.open(path).close()


def test_closing_aborts_the_open_transaction_and_frees_the_file(path: Path) -> None:
    database = _redb.Database.create(path)
    transaction = database.begin()
    transaction.put({"t": ROW})
    database.close()
    with pytest.raises(_redb.ClosedError):
        transaction.commit()
    with _redb.Database.open(path) as again:
        assert again.count("t") == 0
        assert not again.verified


@pytest.mark.parametrize("shared", [True, False])
def test_closing_ends_the_calls_of_other_threads(path: Path, shared: bool) -> None:
    database = _redb.Database.create(path, shared=shared)
    rounds = threading.Semaphore(0)

    def write() -> None:
        for n in itertools.count():
            with database.begin() as transaction:
                transaction.put({"t": [(b"%d" % n, bytes(100), n)]})
                transaction.commit()
            rounds.release()

    def read() -> None:
        while True:
            with database.snapshot() as snapshot:
                assert snapshot.count("t") == len(snapshot.scan("t", limit=100_000))
            rounds.release()

    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(call) for call in (write, write, read, read)]
        for _ in range(100):
            assert rounds.acquire(timeout=30)
        database.close()
        assert [type(call.exception(30)) for call in calls] == [_redb.ClosedError] * 4
    with _redb.Database.open(path) as again:
        assert not again.verified


def test_a_shared_file_takes_durable_commits_only(path: Path) -> None:
    with _redb.Database.create(path) as database:
        with pytest.raises(_redb.RedbError, match="shared"):
            database.apply({"t": ROW}, {}, durable=False)
        with database.begin() as transaction:
            transaction.put({"t": ROW})
            with pytest.raises(_redb.RedbError, match="shared"):
                transaction.commit(durable=False)
            transaction.commit()
        assert database.get("t", b"k") == b"row"


def test_commits_that_need_not_be_durable_are_so_after_the_next_that_is(path: Path) -> None:
    with _redb.Database.create(path, shared=False) as database:
        database.apply({"t": ROW}, {}, durable=False)
        assert database.get("t", b"k") == b"row"
        database.apply({}, {"name": b"value"})
    with _redb.Database.open(path) as database:
        assert database.get("t", b"k") == b"row"


def test_a_whole_file_passes_its_check(path: Path) -> None:
    with _redb.Database.create(path) as database:
        database.apply({"t": ROW}, {"name": b"value"})
        assert database.check_integrity()
        assert database.get("t", b"k") == b"row"


def test_a_check_waits_for_no_snapshot(path: Path) -> None:
    with (
        _redb.Database.create(path) as database,
        database.snapshot(),
        pytest.raises(_redb.BusyError),
    ):
        database.check_integrity()


def test_a_database_of_other_types_is_refused_where_it_is_read(path: Path) -> None:
    with _redb.Database.create(path) as database:
        database.apply({}, {"name": b"value"})
        with pytest.raises(_redb.NotADatabaseError, match="_cdc_meta"):
            database.get("_cdc_meta", b"name")


def test_a_file_is_compacted_only_while_nothing_of_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "cache.redb"
    rows: list[tuple[bytes, bytes | None, int]] = [(n.to_bytes(4), bytes(500), n) for n in range(20_000)]
    with _redb.Database.create(path, shared=False) as database:
        database.apply({"t": rows}, {})
        database.apply({"t": [(key, None, 0) for key, _, _ in rows[100:]]}, {})
        before = path.stat().st_size
        with database.snapshot() as snapshot:
            assert snapshot.count("t") == 100
            with pytest.raises(_redb.BusyError):
                database.compact()
        with database.begin(), pytest.raises(_redb.BusyError):
            database.compact(timeout=0.01)
        assert database.compact()
        assert path.stat().st_size < before / 4
        assert database.count("t") == 100
        assert database.check_integrity()
    with _redb.Database.open_read_only(path) as database, pytest.raises(_redb.ReadOnlyError):
        database.compact()


def test_a_table_tells_its_size(tmp_path: Path) -> None:
    with _redb.Database.create(tmp_path / "cache.redb") as database:
        database.apply({"t": [(n.to_bytes(4), bytes(100), n) for n in range(5_000)]}, {})
        with database.snapshot() as snapshot:
            assert snapshot.stats("nothing") is None
            stats = snapshot.stats("t")
    assert stats is not None
    assert stats.rows == 5_000
    assert stats.stored_bytes == 5_000 * (4 + 100 + 12)
    assert 1 < stats.tree_height < 5
    assert stats.leaf_pages > 100
    assert stats.fragmented_bytes > 0
