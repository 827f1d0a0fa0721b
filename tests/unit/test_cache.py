"""What readers get from a cache file, and what they do while its writer lives, dies or replaces it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

import consumers.view
from consumers import _redb
from consumers.cache import Cache
from schemas import InvalidText, Position
from schemas.errors import (
    CacheBusyError,
    CacheCorruptError,
    CacheError,
    GaveUpError,
    UsageError,
)
from tests.support.caches import (
    EPISODES,
    STEPS,
    killed_writer,
    living_writer,
    make_cache,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = [("ep-1", 0.5), ("ep-2", None), ("other", 1e300)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.redb"


@pytest.fixture
def writer(path: Path) -> Iterator[_redb.Database]:
    with make_cache(path, {EPISODES: ROWS, STEPS: [("a", "ep-1", 2), ("b", "ep-1", -1)]}) as database:
        yield database


@pytest.fixture
def cache(path: Path, writer: _redb.Database) -> Iterator[Cache]:
    assert not writer.readonly
    with Cache.open(path) as opened:
        yield opened


def test_a_row_is_read_by_its_key(cache: Cache):
    assert cache.get("episodes", "ep-1") == {"id": "ep-1", "score": 0.5}
    assert cache.get("steps", "ep-1", -1) == {"note": "b", "episode": "ep-1", "number": -1}


def test_there_is_no_row_for_an_unknown_key(cache: Cache):
    assert cache.get("episodes", "ep-9") is None
    assert cache.get("steps", "ep-1", 2.0) is None


def test_an_unknown_table_is_refused_and_the_known_ones_named(cache: Cache):
    for read in (
        lambda: cache.get("nothing", 1),
        lambda: cache.get_many("nothing", [(1,)]),
        lambda: cache.count("nothing"),
        lambda: list(cache.scan("nothing")),
        lambda: cache.definition("nothing"),
    ):
        with pytest.raises(UsageError, match="episodes, steps"):
            read()


def test_a_key_of_the_wrong_length_is_refused(cache: Cache):
    with pytest.raises(UsageError, match="1 values are no key of steps, it takes 2; give episode, number"):
        cache.get("steps", "ep-1")


def test_many_rows_come_in_the_order_of_their_keys_with_gaps(cache: Cache):
    rows = cache.get_many("episodes", [("other",), ("ep-9",), ["ep-1"]])
    assert rows == [{"id": "other", "score": 1e300}, None, {"id": "ep-1", "score": 0.5}]


def test_a_scan_gives_keys_and_rows_in_key_order(cache: Cache):
    assert [key for key, _ in cache.scan("steps")] == [("ep-1", -1), ("ep-1", 2)]
    assert dict(cache.scan("episodes"))[("ep-2",)] == {"id": "ep-2", "score": None}


def test_a_scan_can_begin_after_a_key(cache: Cache):
    assert [key for key, _ in cache.scan("episodes", after=("ep-1",))] == [("ep-2",), ("other",)]


def test_a_prefix_limits_a_scan(cache: Cache):
    assert [key for key, _ in cache.scan("episodes", prefix="ep-")] == [("ep-1",), ("ep-2",)]


def test_a_prefix_compares_the_first_key_column_as_text_whatever_its_class(
    cache: Cache, writer: _redb.Database
):
    values = [12, -12, 3, 1.5, "12", "2", b"1\x00", b"2", InvalidText(b"1\xff")]
    put(writer, EPISODES, [(value, None) for value in values], 6)
    found = [key[0] for key, _ in cache.scan("episodes", prefix="1")]
    assert found == [12, 1.5, "12", InvalidText(b"1\xff"), b"1\x00"]


def test_a_scan_of_many_pages_misses_nothing(cache: Cache, writer: _redb.Database):
    put(writer, STEPS, [("n", "many", number) for number in range(2500)], 6)
    assert [key[1] for key, _ in cache.scan("steps", prefix="many")] == list(range(2500))


def test_a_scan_that_takes_too_long_goes_on_in_a_newer_state(
    cache: Cache, writer: _redb.Database, monkeypatch: pytest.MonkeyPatch
):
    put(writer, STEPS, [("n", "many", number) for number in range(1500)], 6)
    with cache.view() as view:
        rows = view.scan("steps", prefix="many")
        next(rows)
        put(writer, STEPS, [("n", "many", 9000)], 7)
        assert view.position == Position(1, 6)
        monkeypatch.setattr(consumers.view, "SNAPSHOT_S_MAX", -1.0)
        assert [key[1] for key, _ in rows] == [*range(1, 1500), 9000]
        assert view.position == Position(1, 7)


def test_a_view_stays_at_its_position_while_the_writer_goes_on(cache: Cache, writer: _redb.Database):
    with cache.view() as view:
        put(writer, EPISODES, [("ep-3", 1.0)], 6)
        assert view.count("episodes") == 3
        assert view.position == Position(1, 5)
    assert cache.count("episodes") == 4
    assert cache.position == Position(1, 6)


def test_tables_and_definitions_are_told(cache: Cache):
    assert cache.tables() == ["episodes", "steps"]
    assert cache.definition("steps") == STEPS


def test_before_the_first_load_there_is_no_position(path: Path):
    make_cache(path, {}).apply({}, {"checkpoint": None})
    with Cache.open(path) as cache:
        assert cache.position is None
        assert cache.tables() == []
        with pytest.raises(UsageError, match="cdc sync"):
            cache.definition("episodes")


def test_a_swapped_file_is_followed_by_every_call(path: Path, tmp_path: Path, cache: Cache):
    with make_cache(tmp_path / "new", {EPISODES: [("ep-1", 9.0)]}, change_id=8):
        scan = cache.scan("episodes")
        next(scan)
        (tmp_path / "new").rename(path)
        assert cache.get("episodes", "ep-1") == {"id": "ep-1", "score": 9.0}
        assert cache.position == Position(1, 8)
        assert cache.tables() == ["episodes"]
        assert [key for key, _ in scan] == [("ep-2",), ("other",)]


def test_a_table_that_left_with_the_swap_is_unknown(path: Path, tmp_path: Path, cache: Cache):
    assert cache.get("steps", "none", 1) is None
    with make_cache(tmp_path / "new", {EPISODES: ROWS}):
        (tmp_path / "new").rename(path)
        with pytest.raises(UsageError, match="no table 'steps'"):
            cache.get("steps", "none", 1)


def test_a_missing_path_leaves_the_open_file_readable(path: Path, cache: Cache):
    path.unlink()
    assert cache.get("episodes", "ep-1") is not None


def test_threads_may_read_across_a_swap(path: Path, tmp_path: Path, cache: Cache):
    wrong: list[object] = []
    swapped = threading.Event()

    def read() -> None:
        while not swapped.is_set():
            row = cache.get("episodes", "ep-1")
            if row is None or row["id"] != "ep-1":
                wrong.append(row)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for round_ in range(5):
        with make_cache(tmp_path / "new", {EPISODES: [("ep-1", float(round_))]}):
            (tmp_path / "new").rename(path)
            assert cache.get("episodes", "ep-1") == {"id": "ep-1", "score": float(round_)}
    swapped.set()
    for reader in readers:
        reader.join(10)
    assert wrong == []


def test_a_file_beside_its_living_writer_is_read(path: Path):
    make_cache(path, {EPISODES: ROWS}).close()
    writer = living_writer(path)
    try:
        with Cache.open(path) as cache:
            assert cache.count("episodes") == 3
    finally:
        writer.kill()
        writer.communicate()


@pytest.mark.parametrize("shared", [True, False])
def test_a_file_that_a_killed_writer_left_is_repaired_and_read(path: Path, *, shared: bool):
    make_cache(path, {EPISODES: ROWS}, shared=shared).close()
    killed_writer(path, shared=shared)
    with pytest.raises(_redb.RepairNeededError):
        _redb.Database.open_read_only(path)
    with Cache.open(path) as cache:
        assert cache.get("episodes", "ep-1") == {"id": "ep-1", "score": 0.5}


def test_an_open_reader_survives_its_writer_and_sees_the_next_one(path: Path):
    make_cache(path, {EPISODES: ROWS}).close()
    writer = living_writer(path)
    with Cache.open(path) as cache:
        writer.kill()
        writer.communicate()
        assert cache.get("episodes", "ep-1") is not None
        with _redb.Database.open(path) as next_writer:
            put(next_writer, EPISODES, [("ep-1", 7.0)], 6)
            assert cache.get("episodes", "ep-1") == {"id": "ep-1", "score": 7.0}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_reader_that_may_not_write_says_that_repair_is_needed(path: Path, tmp_path: Path):
    make_cache(path, {EPISODES: ROWS}).close()
    killed_writer(path)
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(CacheError, match="needs repair"):
            Cache.open(path)
    finally:
        tmp_path.chmod(0o755)


def test_a_file_whose_writer_does_not_share_it_is_busy(path: Path):
    make_cache(path, {EPISODES: ROWS}).close()
    writer = living_writer(path, shared=False)
    try:
        with pytest.raises(CacheBusyError, match="does not share"):
            Cache.open(path)
    finally:
        writer.kill()
        writer.communicate()


def test_a_path_without_a_cache_is_a_usage_error(path: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="no cache file"):
        Cache.open(path)
    with pytest.raises(UsageError, match="no redb database"):
        Cache.open(tmp_path)
    path.write_bytes(b"SQLite format 3\0" * 100)
    with pytest.raises(UsageError, match="no redb database"):
        Cache.open(path)


def test_a_redb_file_of_another_program_is_no_cache(path: Path):
    _redb.Database.create(path).close()
    with pytest.raises(UsageError, match="no cache of ours"):
        Cache.open(path)


def test_a_damaged_row_is_refused_and_the_others_are_read(path: Path):
    make_cache(path, {EPISODES: [("ep-1", 0.5), ("ep-2", 0.25)]}).close()
    data = path.read_bytes()
    stored = b"\xa5score\xcb" + bytes.fromhex("3fd0000000000000")
    assert data.count(stored) == 1
    path.write_bytes(data.replace(stored, stored[:-1] + b"\x01"))
    with Cache.open(path) as cache:
        assert cache.get("episodes", "ep-1") is not None
        with pytest.raises(CacheCorruptError, match="cdc rebuild"):
            cache.get("episodes", "ep-2")
        with pytest.raises(CacheCorruptError):
            list(cache.scan("episodes"))


def test_a_reader_can_wait_for_its_own_write(cache: Cache, writer: _redb.Database):
    write = threading.Thread(target=put, args=(writer, EPISODES, [("ep-1", 3.0)], 9))
    write.start()
    cache.wait_for(Position(1, 9), timeout=10)
    write.join()
    assert cache.get("episodes", "ep-1") == {"id": "ep-1", "score": 3.0}
    cache.wait_for(Position(1, 1), timeout=0)


def test_waiting_gives_up_at_its_limit(cache: Cache):
    with pytest.raises(GaveUpError, match="did not reach 2:1"):
        cache.wait_for(Position(2, 1), timeout=0.05)


def test_a_column_without_an_index_is_refused(cache: Cache):
    with pytest.raises(UsageError, match="table episodes has no index of score"):
        cache.find("episodes", score=1.0)


def test_a_closed_cache_reads_no_more(cache: Cache):
    cache.close()
    cache.close()
    with pytest.raises(CacheError):
        cache.get("episodes", "ep-1")
