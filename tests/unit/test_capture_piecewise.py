"""A source in rollback-journal mode is read in many short moments; the application writes in between."""

from __future__ import annotations

import sqlite3
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from cdc.capture import Capture, CaptureStaleError, limits
from cdc.capture.piecewise import PiecewiseReader
from schemas.errors import SourceUnavailableError
from tests.support.random_sql import create, random_table, random_write
from tests.support.replica import Replica, assert_equal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from cdc.capture import SourceReader
    from cdc.capture.reader import CaptureReader


@pytest.fixture(autouse=True)
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a handful of rows takes many moments."""
    monkeypatch.setattr(limits, "PIECE_ROWS_FIRST", 2)
    monkeypatch.setattr(limits, "PIECE_ROWS_MAX", 3)
    monkeypatch.setattr(limits, "SURVEY_ROWS", 4)


def take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """As large as ever, but every piece takes longer than a moment may."""
    for name, value in {"PIECE_ROWS_FIRST": 500, "PIECE_ROWS_MAX": 5_000, "MOMENT_SECONDS": 0.0}.items():
        monkeypatch.setattr(limits, name, value)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[tuple[Capture, sqlite3.Connection]]:
    path = str(tmp_path / "source.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    async with Capture(path) as capture:
        yield capture, db
    db.close()


async def numbered(capture: Capture, db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Make and capture table t, with a row for each number."""
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    insert(db, numbers)
    await capture.install()


def insert(db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    db.executemany("INSERT INTO t VALUES (?, 0)", [(number,) for number in numbers])


async def load(reader: SourceReader, between: Callable[[], None]) -> Replica:
    """Load every table; ``between`` runs after each page."""
    replica = Replica()
    await reader.state()
    for table in reader.tables():
        replica.tables[table], replica.quarantined[table] = {}, set()
        async for page in reader.rows(table):
            replica.apply(page)
            between()
    async for page in reader.catch_up():
        replica.apply(page)
        between()
    replica.prev = reader.settled.high
    return replica


async def catch_up(replica: Replica, capture: Capture, between: Callable[[], None]) -> None:
    """Poll until the replica is exact again."""
    exact_at = replica.prev + 1
    while replica.prev < exact_at:
        async with capture.reading() as reader:
            state = await reader.state(replica.prev)
            async for page in reader.changes(replica.prev, state.high):
                replica.apply(page)
                between()
            replica.prev, exact_at = state.high, reader.newest.high


@pytest.mark.parametrize("seed", range(30))
async def test_what_is_read_piece_by_piece_is_exact_when_it_says_so(
    source: tuple[Capture, sqlite3.Connection], tmp_path: Path, seed: int
) -> None:
    capture, db = source
    rnd = Random(seed)
    tables = [random_table(rnd, name) for name in ("a", "b")]
    for table in tables:
        create(db, table)
        for _ in range(rnd.randrange(40)):
            random_write(rnd, db, table)
    await capture.install()
    writes = 30

    def between() -> None:
        nonlocal writes
        while writes and rnd.random() < 0.5:
            writes -= 1
            random_write(rnd, db, rnd.choice(tables))

    async with capture.reading() as reader:
        assert isinstance(reader, PiecewiseReader)
        replica = await load(reader, between)
    keys = {table.name: table.key for table in tables}
    # Whatever was written after the load settled is still to come.
    await catch_up(replica, capture, lambda: None)
    assert_equal(replica, str(tmp_path / "source.db"), keys)
    writes = 60
    between()
    await catch_up(replica, capture, between)
    writes = 0
    await catch_up(replica, capture, between)
    assert_equal(replica, str(tmp_path / "source.db"), keys)


async def test_a_load_is_the_exact_state_where_it_settles(
    source: tuple[Capture, sqlite3.Connection], tmp_path: Path
) -> None:
    capture, db = source
    await numbered(capture, db, range(20))
    left = [20, 3, 4, 5, 6, 7]

    def between() -> None:
        if left:
            number = left.pop()
            db.execute("DELETE FROM t WHERE id = ?", (number - 2,))
            db.execute("INSERT OR REPLACE INTO t VALUES (?, 'late')", (number,))

    async with capture.reading() as reader:
        replica = await load(reader, between)
    assert not left
    assert_equal(replica, str(tmp_path / "source.db"), {"t": ["id"]})


@pytest.mark.parametrize("key", ["a, b", "a COLLATE NOCASE, b", "b, a"])
async def test_keys_that_hold_null_or_are_alike_lose_no_row_between_pieces(
    source: tuple[Capture, sqlite3.Connection], tmp_path: Path, key: str
) -> None:
    capture, db = source
    db.execute(f"CREATE TABLE t (a, b, PRIMARY KEY ({key}))")
    values: list[Any] = [None, 1, 1.5, "x", "X", "y", b"x", ""]
    db.executemany("INSERT OR IGNORE INTO t VALUES (?, ?)", [(a, b) for a in values for b in values])
    db.executemany("INSERT INTO t VALUES (?, NULL)", [(a,) for a in values])
    await capture.install()
    async with capture.reading() as reader:
        replica = await load(reader, lambda: None)
    assert_equal(replica, str(tmp_path / "source.db"), {"t": [one.split()[0] for one in key.split(", ")]})


async def test_rows_of_one_key_that_span_pieces_are_found_to_be_duplicates(
    source: tuple[Capture, sqlite3.Connection], tmp_path: Path
) -> None:
    _, db = source
    db.execute("CREATE TABLE t (k, v)")
    db.executemany("INSERT INTO t VALUES (?, ?)", [(key, v) for key in (1, 2, 3) for v in range(key)])
    async with Capture(str(tmp_path / "source.db"), key_columns={"t": ("k",)}) as capture:
        await capture.install()
        replica = Replica()
        await replica.poll(capture)
    assert [row["k"] for row in replica.tables["t"].values()] == [1]
    assert len(replica.quarantined["t"]) == 2


@pytest.mark.parametrize(
    ("statement", "what"),
    [("DROP TABLE t", "schema"), ("UPDATE _cdc_log SET nonce = nonce + 1", "rewritten")],
)
async def test_a_schema_or_a_log_that_changes_between_two_pieces_is_noticed(
    source: tuple[Capture, sqlite3.Connection], statement: str, what: str
) -> None:
    capture, db = source
    await numbered(capture, db, range(20))
    with pytest.raises(CaptureStaleError, match=what):
        async with capture.reading() as reader:
            await load(reader, lambda: db.execute(statement) and None)


async def test_a_log_that_is_pruned_during_a_load_is_not_taken_for_a_broken_one(
    source: tuple[Capture, sqlite3.Connection],
) -> None:
    capture, db = source
    await numbered(capture, db, ())
    insert(db, range(9))
    async with capture.reading() as reader:
        await reader.state()
        async for _ in reader.rows("t"):
            pass
        insert(db, range(10, 19))
        # A moment that continues the one before, and sees rows of the log that stay.
        await reader.backlog(0)
        await reader.rest()
        db.execute("UPDATE _cdc_meta SET pruned_to = (SELECT max(change_id) - 1 FROM _cdc_log)")
        db.execute("DELETE FROM _cdc_log WHERE change_id <= (SELECT pruned_to FROM _cdc_meta)")
        with pytest.raises(CaptureStaleError, match="pruned"):
            async for _ in reader.catch_up():
                pass


async def test_a_source_that_changes_faster_than_it_is_read_is_no_endless_load(
    source: tuple[Capture, sqlite3.Connection],
) -> None:
    capture, db = source
    await numbered(capture, db, range(5))
    with pytest.raises(SourceUnavailableError, match="faster"):
        async with capture.reading() as reader:
            await load(reader, lambda: db.execute("UPDATE t SET v = v + 1") and None)


async def test_a_file_in_wal_mode_is_read_at_one_moment(
    source: tuple[Capture, sqlite3.Connection],
) -> None:
    capture, db = source
    await capture.install()
    db.execute("PRAGMA journal_mode = WAL")
    async with capture.reading() as reader:
        await reader.state()
    async with capture.reading() as reader:
        assert not isinstance(reader, PiecewiseReader)


async def test_where_every_piece_takes_too_long_a_backlog_is_not_read_row_by_row(
    source: tuple[Capture, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_too_long(monkeypatch)
    capture, db = source
    rows = 2_000
    await numbered(capture, db, ())
    insert(db, range(rows))
    monkeypatch.setattr(limits, "SURVEY_ROWS", rows)
    opened = 0

    def moment() -> AbstractAsyncContextManager[CaptureReader]:
        nonlocal opened
        opened += 1
        return capture.moment()

    async with PiecewiseReader(moment) as reader:
        state = await reader.state()
        keys = {change[2] async for page in reader.changes(state.high - rows, state.high) for change in page}
    assert len(keys) == rows
    assert opened < 2 * rows / limits.PIECE_ROWS_MIN


async def test_a_load_that_is_cut_short_by_time_misses_no_row(
    source: tuple[Capture, sqlite3.Connection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_too_long(monkeypatch)
    monkeypatch.setattr("cdc.source.threaded.SHORT_PAGE_SECONDS_MAX", 0.0)
    capture, db = source
    db.execute("CREATE TABLE t (a, b, PRIMARY KEY (a, b))")
    db.executemany("INSERT INTO t VALUES (?, ?)", [(number // 7, number) for number in range(300)])
    await capture.install()
    async with capture.reading() as reader:
        await reader.state()
        replica = Replica()
        replica.tables["t"], replica.quarantined["t"] = {}, set()
        async for page in reader.rows("t"):
            replica.apply(page)
    assert_equal(replica, str(tmp_path / "source.db"), {"t": ["a", "b"]})
