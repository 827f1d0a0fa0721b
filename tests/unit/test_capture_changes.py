"""What one poll gives: each touched key once, with its state at the end."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from cdc.capture import Capture, LogBrokenError
from schemas import InvalidText, decode_row, decode_values, encode_key
from schemas.errors import UsageError
from tests.support.replica import Replica, assert_equal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cdc.capture import CaptureReader, Change


class Source:
    """A database with one table, its capture, and the events of each poll."""

    def __init__(self, path: str, capture: Capture, db: sqlite3.Connection) -> None:
        self.path = path
        self.capture = capture
        self.db = db
        self.replica = Replica()

    async def poll(self) -> list[tuple[str, tuple[Any, ...], dict[str, Any] | None]]:
        """Give (op, key, row) of each event."""
        return [
            (op, decode_values(values), None if after is None else decode_row(after))
            for op, _, _, values, after, _, _ in await self.replica.poll(self.capture)
        ]

    async def start(self, *statements: str) -> None:
        """Make the schema and read it once."""
        for sql in statements:
            self.db.execute(sql)
        await self.replica.poll(self.capture)

    def run(self, *statements: str) -> None:
        for sql in statements:
            self.db.execute(sql)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Source]:
    path = str(tmp_path / "source.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    async with Capture(path) as capture:
        yield Source(path, capture, db)
    db.close()


async def read_all(reader: CaptureReader, prev: int) -> list[Change]:
    high = (await reader.state()).high
    return [change async for page in reader.changes(prev, high) for change in page]


async def test_several_touches_of_a_key_are_one_event(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    source.run("INSERT INTO t VALUES (1, 'a')", "UPDATE t SET v = 'b'", "UPDATE t SET v = 'c'")
    assert await source.poll() == [("c", (1,), {"id": 1, "v": "c"})]
    source.run("UPDATE t SET v = 'd'", "DELETE FROM t", "INSERT INTO t VALUES (1, 'e')")
    assert await source.poll() == [("u", (1,), {"id": 1, "v": "e"})]
    source.run("INSERT INTO t VALUES (2, 'x')", "DELETE FROM t WHERE id = 2")
    assert await source.poll() == [("d", (2,), None)]


async def test_nothing_written_is_no_event(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 1)")
    source.run("UPDATE t SET v = 2 WHERE id = 7", "BEGIN", "INSERT INTO t VALUES (2, 2)", "ROLLBACK")
    assert await source.poll() == []


async def test_a_changed_key_is_a_delete_and_a_create(source: Source) -> None:
    await source.start("CREATE TABLE t (id TEXT PRIMARY KEY, v)", "INSERT INTO t VALUES ('b', 1)")
    source.run("UPDATE t SET id = 'a'")
    assert await source.poll() == [("c", ("a",), {"id": "a", "v": 1}), ("d", ("b",), None)]
    source.run("UPDATE t SET id = 'a', v = 2")
    assert await source.poll() == [("u", ("a",), {"id": "a", "v": 2})]


async def test_keys_that_trade_places_are_both_told(source: Source) -> None:
    await source.start(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')"
    )
    source.run(
        "BEGIN", "UPDATE t SET id = 9 WHERE id = 1", "UPDATE t SET id = 1 WHERE id = 2",
        "UPDATE t SET id = 2 WHERE id = 9", "COMMIT",
    )  # fmt: skip
    events = await source.poll()
    assert [event[:2] for event in events if event[0] == "d"] == [("d", (9,))]
    assert_equal(source.replica, source.path, {"t": ["id"]})


async def test_changes_carry_the_newest_id_of_their_key_and_the_time_of_the_write(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    prev = source.replica.prev
    source.run("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)", "DELETE FROM t WHERE id = 1")
    await source.poll()
    assert [(change[0], change[5]) for change in source.replica.events] == [("d", prev + 3), ("c", prev + 2)]
    ((newest,),) = source.db.execute("SELECT max(ts) FROM _cdc_log").fetchall()
    assert all(0 <= newest - change[6] < 10_000 for change in source.replica.events)


async def test_events_come_by_table_and_key(source: Source) -> None:
    await source.start(
        "CREATE TABLE b (id INTEGER PRIMARY KEY)",
        "CREATE TABLE a (x TEXT, y INTEGER, PRIMARY KEY (y, x)) WITHOUT ROWID",
    )
    source.run("INSERT INTO b VALUES (3), (-1), (2)", "INSERT INTO a VALUES ('b', 1), ('a', 2), ('a', 1)")
    await source.poll()
    order = [(change[1], change[2]) for change in source.replica.events]
    assert order == sorted(order)
    assert len(order) == 6


async def test_a_large_poll_comes_in_pages_in_order(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    count = 5000
    source.run("BEGIN")
    source.db.executemany("INSERT INTO t VALUES (?, ?)", [(i * 7919 % count, i) for i in range(count)])
    source.run("COMMIT")
    async with source.capture.reading() as reader:
        high = (await reader.state()).high
        pages = [page async for page in reader.changes(source.replica.prev, high)]
    assert [len(page) for page in pages] == [2000, 2000, 1000]
    keys = [change[2] for page in pages for change in page]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("id PRIMARY KEY, v", [1, 1.0, 1]),
        ("id PRIMARY KEY, v", [0.0, -0.0, 0, 0.0]),
        ("id REAL PRIMARY KEY, v", [0.0, -0.0, 1, 1.0]),
        ("id NUMERIC PRIMARY KEY, v", ["1", 1.5, "2.50", 2.5]),
        ("id INTEGER PRIMARY KEY DESC, v", [-(2.0**63), -(2**63), 5]),
        ("id TEXT COLLATE NOCASE PRIMARY KEY, v", ["a", "A", "b", "B"]),
        ("id TEXT, v, PRIMARY KEY (id COLLATE NOCASE)", ["a", "A", "b", "a"]),
        ("id TEXT COLLATE NOCASE, v, PRIMARY KEY (id COLLATE BINARY)", ["a", "A", "b"]),
        ("id TEXT COLLATE RTRIM PRIMARY KEY, v", ["a", "a ", "a  ", "a"]),
        ("id BLOB PRIMARY KEY, v", [b"1", "1", 1, 1.0]),
    ],
)
async def test_keys_that_sql_takes_for_the_same_are_different_keys(
    source: Source, columns: str, values: list[Any]
) -> None:
    await source.start(f"CREATE TABLE t ({columns})")
    source.db.execute("INSERT INTO t VALUES (?, 'first')", (values[0],))
    await source.poll()
    assert_equal(source.replica, source.path, {"t": ["id"]})
    for before, after in zip(values, [*values[1:], values[0]], strict=True):
        source.db.execute("UPDATE t SET id = ?", (after,))
        events = await source.poll()
        assert len({event[1] for event in events}) <= 2, before
        assert_equal(source.replica, source.path, {"t": ["id"]})
    for value in values:
        source.db.execute("UPDATE t SET id = ?", (value,))
    events = await source.poll()
    assert_equal(source.replica, source.path, {"t": ["id"]})
    assert sum(event[0] in "cu" for event in events) == 1, "one event says what is stored"
    source.db.execute("DELETE FROM t")
    await source.poll()
    assert_equal(source.replica, source.path, {"t": ["id"]})


async def test_all_key_columns_count_and_so_does_their_declared_order(source: Source) -> None:
    await source.start(
        "CREATE TABLE t (a, b TEXT COLLATE NOCASE, c INTEGER, d, PRIMARY KEY (c, a, b))",
        "INSERT INTO t VALUES (1, 'x', 2, 'one'), (1.5, 'x', 2, 'other')",
    )
    source.run("UPDATE t SET b = 'X' WHERE a = 1", "UPDATE t SET a = 1.0 WHERE d = 'one'")
    events = await source.poll()
    assert sorted((op, key) for op, key, _ in events) == [
        ("c", (2, 1.0, "X")),
        ("d", (2, 1, "X")),
        ("d", (2, 1, "x")),
    ]
    assert_equal(source.replica, source.path, {"t": ["c", "a", "b"]})


async def test_a_key_that_holds_null_is_quarantined_while_there_is_a_row_with_it(source: Source) -> None:
    await source.start("CREATE TABLE t (a TEXT, b, PRIMARY KEY (a, b))")
    source.run(
        "INSERT INTO t VALUES (NULL, 1)", "INSERT INTO t VALUES (NULL, 1)", "INSERT INTO t VALUES ('x', 1)"
    )
    assert await source.poll() == [("q", (None, 1), None), ("c", ("x", 1), {"a": "x", "b": 1})]
    async with source.capture.reading() as reader:
        ops = [change[0] async for page in reader.rows("t") for change in page]
        assert ops == ["q", "q", "r"]
    source.run("DELETE FROM t WHERE rowid = 1")
    assert await source.poll() == [("q", (None, 1), None)]
    source.run("UPDATE t SET a = 'y' WHERE a IS NULL")
    assert await source.poll() == [("d", (None, 1), None), ("c", ("y", 1), {"a": "y", "b": 1})]


async def test_what_is_stored_counts_not_what_was_given(source: Source) -> None:
    await source.start(
        "CREATE TABLE t (id REAL PRIMARY KEY, v TEXT, w AS (v || '!') STORED, x AS (length(v)))",
        "CREATE TRIGGER tidy AFTER INSERT ON t BEGIN UPDATE t SET v = trim(v) WHERE id = NEW.id; END",
    )
    source.db.execute("INSERT INTO t VALUES (?, ?)", (-0.0, "  text "))
    source.db.execute("INSERT INTO t VALUES (?, ?)", (1, 5))
    await source.poll()
    assert_equal(source.replica, source.path, {"t": ["id"]})
    assert {row["w"] for row in source.replica.tables["t"].values()} == {"text!", "5!"}


@pytest.mark.parametrize("statement", ["INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"])
async def test_writes_that_resolve_a_conflict_of_the_primary_key_are_seen(
    source: Source, statement: str
) -> None:
    await source.start("CREATE TABLE t (id TEXT PRIMARY KEY, v)", "INSERT INTO t VALUES ('a', 1)")
    source.run(f"{statement} INTO t VALUES ('a', 2), ('b', 3)")
    await source.poll()
    assert_equal(source.replica, source.path, {"t": ["id"]})


async def test_cascades_and_set_null_of_foreign_keys_are_seen(source: Source) -> None:
    await source.start(
        "PRAGMA foreign_keys = ON",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, "
        "p REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE TABLE loose (id INTEGER PRIMARY KEY, "
        "p REFERENCES parent ON DELETE SET NULL ON UPDATE SET NULL)",
        "INSERT INTO parent VALUES (1), (2)",
        "INSERT INTO child VALUES (1, 1), (2, 2)",
        "INSERT INTO loose VALUES (1, 1), (2, 2)",
    )
    source.run("UPDATE parent SET id = 3 WHERE id = 2", "DELETE FROM parent WHERE id = 1")
    await source.poll()
    assert_equal(source.replica, source.path, {"parent": ["id"], "child": ["id"], "loose": ["id"]})


async def test_emptying_a_table_is_seen(source: Source) -> None:
    # Without triggers SQLite would drop the whole tree at once, which fires none.
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1), (2), (3)")
    source.run("DELETE FROM t")
    assert [event[0] for event in await source.poll()] == ["d", "d", "d"]


async def test_the_applications_rowid_and_counts_stay_what_they_were(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
    cursor = source.db.execute("INSERT INTO t VALUES (42, 1)")
    assert cursor.lastrowid == 42
    assert source.db.execute("SELECT last_insert_rowid(), changes()").fetchone() == (42, 1)
    assert source.db.execute("UPDATE t SET id = 43").rowcount == 1


async def test_text_that_is_not_utf8_is_carried_in_keys_and_rows(source: Source) -> None:
    await source.start("CREATE TABLE t (id TEXT PRIMARY KEY, v)")
    source.run("INSERT INTO t VALUES (CAST(x'ff00' AS TEXT), CAST(x'80' AS TEXT))")
    bad = InvalidText(b"\xff\0")
    assert await source.poll() == [("c", (bad,), {"id": bad, "v": InvalidText(b"\x80")})]
    async with source.capture.reading() as reader:
        found = await reader.row("t", encode_key([bad]))
        assert found is not None
        assert found[2] == encode_key([bad])
    source.run("DELETE FROM t")
    assert await source.poll() == [("d", (bad,), None)]


async def test_a_database_in_utf16_gives_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "utf16.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA encoding = 'UTF-16le'")
    db.execute("CREATE TABLE t (id TEXT COLLATE NOCASE PRIMARY KEY, v)")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        for text in ("ä𝄞", "a\0b", "A", "a", ""):
            db.execute("INSERT OR IGNORE INTO t VALUES (?, ?)", (text, text))
        await replica.poll(capture)
        db.execute("UPDATE t SET id = lower(id)")
        await replica.poll(capture)
        assert_equal(replica, path, {"t": ["id"]})
    db.close()


async def test_a_row_is_found_by_exactly_its_key(source: Source) -> None:
    await source.start(
        "CREATE TABLE t (a TEXT COLLATE NOCASE, b, v, PRIMARY KEY (b, a))",
        "INSERT INTO t VALUES ('x', 1, 'v')",
    )
    async with source.capture.reading() as reader:
        found = await reader.row("t", encode_key([1, "x"]))
        assert found is not None
        assert (found[0], found[1], found[5]) == ("r", "t", (await reader.state()).high)
        assert decode_row(found[4] or b"") == {"a": "x", "b": 1, "v": "v"}
        for other in ([1, "X"], [1.0, "x"], [2, "x"], [None, "x"], [1, b"x"]):
            assert await reader.row("t", encode_key(other)) is None
        with pytest.raises(UsageError, match="2 values"):
            await reader.row("t", encode_key([1]))
        with pytest.raises(UsageError, match="not captured"):
            await reader.row("nothing", encode_key([1]))


async def test_rows_come_in_the_order_of_their_keys_with_the_position_they_are_of(source: Source) -> None:
    await source.start("CREATE TABLE t (v, id TEXT PRIMARY KEY)")
    source.run("BEGIN")
    source.db.executemany("INSERT INTO t VALUES (?, ?)", [(i, f"{i * 7919 % 5000:05}") for i in range(5000)])
    source.run("COMMIT")
    async with source.capture.reading() as reader:
        high = (await reader.state()).high
        changes = [change async for page in reader.rows("t") for change in page]
    assert [change[2] for change in changes] == [encode_key([f"{i:05}"]) for i in range(5000)]
    assert {(change[0], change[5]) for change in changes} == {("r", high)}


async def test_pending_is_what_changes_would_touch(source: Source) -> None:
    await source.start(
        "CREATE TABLE t (id TEXT COLLATE NOCASE PRIMARY KEY)", "INSERT INTO t VALUES ('a'), ('b')"
    )
    prev = source.replica.prev
    source.run("UPDATE t SET id = 'A' WHERE id = 'a'")
    async with source.capture.reading() as reader:
        pending = [pair async for page in reader.pending(prev) for pair in page]
    assert sorted(pending) == [("t", encode_key(["A"])), ("t", encode_key(["a"]))]
    source.run("ALTER TABLE t ADD COLUMN v")
    await source.capture.install()
    async with source.capture.reading() as reader:
        assert [pair async for page in reader.pending(prev) for pair in page] == [("t", b"")]


async def test_a_table_that_is_read_anew_drops_its_earlier_touches(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    source.run("INSERT INTO t VALUES (2)", "DELETE FROM t WHERE id = 1", "ALTER TABLE t ADD COLUMN v")
    await source.capture.install()
    source.run("INSERT INTO t VALUES (3, 'x')")
    events = await source.replica.poll(source.capture)
    assert [event[0] for event in events] == ["t", "r", "r"]
    assert_equal(source.replica, source.path, {"t": ["id"]})


async def test_a_range_that_ends_before_a_table_changed_reads_it_anew_already(source: Source) -> None:
    await source.start("CREATE TABLE t (a, b, PRIMARY KEY (a, b))")
    prev = source.replica.prev
    source.run("INSERT INTO t VALUES (1, 2)")
    source.run("DROP TABLE t", "CREATE TABLE t (a INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (5)")
    await source.capture.install()
    async with source.capture.reading() as reader:
        changes = [change async for page in reader.changes(prev, prev + 1) for change in page]
    assert [change[0] for change in changes] == ["t", "r"]


async def test_holes_in_the_log_are_not_crossed(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    prev = source.replica.prev
    source.run("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)")
    source.run(f"DELETE FROM _cdc_log WHERE change_id = {prev + 2}")
    async with source.capture.reading() as reader:
        with pytest.raises(LogBrokenError):
            await read_all(reader, prev)
        assert len(await read_all(reader, prev + 2)) == 1
        with pytest.raises(LogBrokenError):
            _ = [page async for page in reader.changes(prev + 50, prev + 3)]


async def test_the_log_is_read_as_it_stands(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY)", "CREATE TABLE w (a, b, PRIMARY KEY (b, a))")
    prev = source.replica.prev
    source.run("INSERT INTO t VALUES (1)", "INSERT INTO w VALUES ('x', 2)", "UPDATE t SET id = 5")
    async with source.capture.reading() as reader:
        rows = [row async for page in reader.log_rows(prev) for row in page]
    assert [(row.change_id - prev, row.table, row.op, decode_values(row.key_values)) for row in rows] == [
        (1, "t", "c", (1,)), (2, "w", "c", (2, "x")), (3, "t", "d", (1,)), (4, "t", "c", (5,)),
    ]  # fmt: skip


async def test_a_reader_sees_one_moment_while_the_application_writes(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 'old')")
    prev = source.replica.prev
    source.run("UPDATE t SET v = 'new'")
    async with source.capture.reading() as reader:
        high = (await reader.state()).high
        source.run("UPDATE t SET v = 'later'", "INSERT INTO t VALUES (2, 'later')", "DROP TABLE t")
        changes = [change async for page in reader.changes(prev, high) for change in page]
        assert [decode_row(change[4] or b"") for change in changes] == [{"id": 1, "v": "new"}]
        assert (await reader.state()).high == high


async def test_two_readers_at_once_see_their_own_moments(source: Source) -> None:
    await source.start("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    async with source.capture.reading() as early:
        before = (await early.state()).high
        source.run("INSERT INTO t VALUES (1)")
        async with source.capture.reading() as late:
            assert (await late.state()).high == before + 1
        assert (await early.state()).high == before
