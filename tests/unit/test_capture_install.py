"""Installing capture, bringing it up to date, removing it."""

from __future__ import annotations

import sqlite3

import pytest

from cdc.capture import Capture, CaptureStaleError, Skipped
from schemas import Head
from schemas.errors import OperatorError, UnsupportedVersionError, UsageError
from tests.support.replica import Replica, assert_equal


def schema_of(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    return db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


async def test_installing_twice_changes_nothing_the_second_time(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    async with Capture(path) as capture:
        assert not await capture.installed()
        first = await capture.install()
        assert (first.created, first.tables, first.changed) == (True, ["a"], ["a"])
        before = db.execute("SELECT * FROM _cdc_log").fetchall(), schema_of(db)
        second = await capture.install()
        assert (second.created, second.tables, second.changed) == (False, ["a"], [])
        assert (db.execute("SELECT * FROM _cdc_log").fetchall(), schema_of(db)) == before
        assert await capture.installed()


async def test_a_database_without_tables_is_fine(path: str, db: sqlite3.Connection) -> None:
    db.execute("PRAGMA user_version = 1")
    async with Capture(path) as capture:
        report = await capture.install()
        assert (report.created, report.tables, report.skipped) == (True, [], [])
        async with capture.reading() as reader:
            assert (await reader.state()).high == 1
            assert [page async for page in reader.changes(0, 1)] == []


async def test_the_log_is_never_empty_and_its_time_is_now(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    async with Capture(path) as capture:
        await capture.install()
    rows = db.execute("SELECT change_id, op, strftime('%s', 'now') * 1000 - ts FROM _cdc_log").fetchall()
    assert [row[:2] for row in rows] == [(1, "e"), (2, "t")]
    assert all(-1000 <= row[2] < 60_000 for row in rows)


async def test_nonces_differ_and_use_all_64_bits(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    async with Capture(path) as capture:
        await capture.install()
    db.executemany("INSERT INTO a VALUES (?)", [(i,) for i in range(100)])
    nonces = [nonce for (nonce,) in db.execute("SELECT nonce FROM _cdc_log")]
    assert len(set(nonces)) == len(nonces)
    assert max(map(abs, nonces)) > 2**60


async def test_what_is_captured_by_default_are_the_ordinary_tables(path: str, db: sqlite3.Connection) -> None:
    db.executescript("""
        CREATE TABLE ordinary (id INTEGER PRIMARY KEY);
        CREATE TABLE keyless (a);
        CREATE VIEW a_view AS SELECT * FROM ordinary;
        CREATE VIRTUAL TABLE found USING fts5 (body);
        CREATE TABLE found_extra (id INTEGER PRIMARY KEY);
        CREATE TABLE libsql_wasm (id INTEGER PRIMARY KEY);
        CREATE TABLE __turso_internal (id INTEGER PRIMARY KEY);
        CREATE TABLE _CDC_notes (id INTEGER PRIMARY KEY);
        CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT);
    """)
    async with Capture(path) as capture:
        report = await capture.install()
        assert report.tables == ["counted", "found_extra", "ordinary"]
        assert report.skipped == [Skipped("keyless", "it has no primary key")]
        async with capture.reading() as reader:
            assert list(reader.tables()) == report.tables
            assert list(reader.skipped) == report.skipped


async def test_shadows_of_a_module_that_is_not_loaded_are_told_by_their_names(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE vectors_chunks (id INTEGER PRIMARY KEY)")
    db.execute("PRAGMA writable_schema = ON")
    db.execute(
        "INSERT INTO sqlite_master VALUES ('table', 'vectors', 'vectors', 0, "
        "'CREATE VIRTUAL TABLE vectors USING vec0(v float[3])')"
    )
    db.close()
    async with Capture(path) as capture:
        report = await capture.install()
        assert report.tables == []
        assert [skipped.table for skipped in report.skipped] == ["vectors_chunks"]
    async with Capture(path, tables=["vectors_chunks"]) as capture:
        assert (await capture.install()).tables == ["vectors_chunks"]


@pytest.mark.parametrize(
    "name", ["missing", "a_view", "sqlite_sequence", "_cdc_log", "found_data", "keyless"]
)
async def test_a_listed_table_that_cannot_be_captured_is_refused(
    path: str, db: sqlite3.Connection, name: str
) -> None:
    db.executescript("""
        CREATE TABLE ordinary (id INTEGER PRIMARY KEY AUTOINCREMENT);
        CREATE TABLE keyless (a);
        CREATE VIEW a_view AS SELECT 1;
        CREATE VIRTUAL TABLE found USING fts5 (body);
    """)
    async with Capture(path, tables=["ordinary", name]) as capture:
        with pytest.raises(UsageError, match=name):
            await capture.install()
    assert db.execute(
        "SELECT count(*) FROM sqlite_master WHERE name LIKE '\\_cdc%' ESCAPE '\\'"
    ).fetchone() == (0,)


async def test_names_in_the_selection_are_compared_as_sqlite_does(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE Episodes (id INTEGER PRIMARY KEY)")
    async with Capture(path, tables=["EPISODES"]) as capture:
        assert (await capture.install()).tables == ["Episodes"]


async def test_a_listed_table_that_is_dropped_later_just_leaves(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    db.execute("CREATE TABLE b (id INTEGER PRIMARY KEY)")
    replica = Replica()
    async with Capture(path, tables=["a", "b"]) as capture:
        await replica.poll(capture)
        db.execute("DROP TABLE b")
        await replica.poll(capture)
        assert [event[:2] for event in replica.events] == [("t", "b")]
        assert replica.events[0][4] is None
        assert_equal(replica, path, {"a": ["id"]})
    async with Capture(path, tables=["a", "b"]) as capture:
        with pytest.raises(UsageError, match='"b"'):
            await capture.install()


async def test_a_selection_adds_to_what_others_capture(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    db.execute("CREATE TABLE b (id INTEGER PRIMARY KEY)")
    async with Capture(path, tables=["a"]) as one, Capture(path, tables=["b"]) as other:
        await one.install()
        assert (await other.install()).changed == ["b"]
        assert (await one.install()).changed == []
        db.execute("INSERT INTO a VALUES (1)")
        db.execute("INSERT INTO b VALUES (2)")
        async with one.reading() as reader:
            high = (await reader.state()).high
            pages = [page async for page in reader.changes(high - 2, high)]
            assert [[change[:2] for change in page] for page in pages] == [[("c", "a")]]


async def test_a_table_without_a_primary_key_is_captured_by_key_columns(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE k (A, B, v, UNIQUE (b, a))")
    db.execute("INSERT INTO k VALUES (1, 'x', 'one'), (1.0, 'y', 'other')")
    replica = Replica()
    async with Capture(path, key_columns={"K": ["a", "b"]}) as capture:
        assert (await capture.install()).tables == ["k"]
        await replica.poll(capture)
        async with capture.reading() as reader:
            assert reader.tables()["k"].key == ("A", "B")
        db.execute("UPDATE k SET a = 7 WHERE b = 'x'")
        db.execute("DELETE FROM k WHERE b = 'y'")
        await replica.poll(capture)
        assert_equal(replica, path, {"k": ["A", "B"]})


@pytest.mark.parametrize(
    ("key_columns", "reason"),
    [({"keyed": ["v"]}, "override"), ({"k": ["nothing"]}, "nothing"), ({"gone": ["a"]}, "gone")],
)
async def test_key_columns_that_cannot_be_are_refused(
    path: str, db: sqlite3.Connection, key_columns: dict[str, list[str]], reason: str
) -> None:
    db.executescript("CREATE TABLE keyed (id INTEGER PRIMARY KEY, v); CREATE TABLE k (a)")
    async with Capture(path, key_columns=key_columns) as capture:
        with pytest.raises(UsageError, match=reason):
            await capture.install()


async def test_key_columns_that_repeat_the_primary_key_are_no_contradiction(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE keyed (id INTEGER PRIMARY KEY, v)")
    async with Capture(path, key_columns={"keyed": ["ID"]}) as capture:
        assert (await capture.install()).tables == ["keyed"]


async def test_duplicates_under_key_columns_are_refused_at_load_and_quarantined_later(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE k (a, v)")
    db.execute("INSERT INTO k VALUES (1, 'one'), (2, 'two')")
    replica = Replica()
    async with Capture(path, key_columns={"k": ["a"]}) as capture:
        await replica.poll(capture)
        assert len(replica.tables["k"]) == 2
        db.execute("INSERT INTO k VALUES (2, 'again'), (1.0, 'real')")
        await replica.poll(capture)
        assert [row["v"] for row in replica.tables["k"].values()] == ["one", "real"]
        assert len(replica.quarantined["k"]) == 1
        async with capture.reading() as reader:
            with pytest.raises(UsageError, match="several rows"):
                _ = [page async for page in reader.rows("k")]
        db.execute("DELETE FROM k WHERE v = 'two'")
        await replica.poll(capture)
        assert_equal(replica, path, {"k": ["a"]})


async def test_a_key_compared_by_a_collation_of_the_application_is_left_out(path: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.create_collation("SOUND", lambda a, b: (a > b) - (a < b))
    db.execute("CREATE TABLE a (id TEXT COLLATE SOUND PRIMARY KEY)")
    db.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, other TEXT COLLATE SOUND)")
    async with Capture(path) as capture:
        report = await capture.install()
        assert report.tables == ["b"]
        assert [skipped.table for skipped in report.skipped] == ["a"]
    db.close()


async def test_a_column_that_only_the_application_can_compute_leaves_its_table_out(path: str) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.create_function("shout", 1, lambda text: f"{text}!", deterministic=True)
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, v, loud AS (shout(v)))")
    db.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, v, long AS (length(v)))")
    async with Capture(path) as capture:
        report = await capture.install()
        assert report.tables == ["b"]
        assert "shout" in report.skipped[0].reason
    db.close()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE _cdc_log (id INTEGER PRIMARY KEY, message TEXT)",
        "CREATE TABLE _CDC_LOG (change_id INTEGER PRIMARY KEY)",
        "CREATE VIEW _cdc_meta AS SELECT 1",
        "CREATE TABLE x (a); CREATE INDEX _cdc_tables ON x (a)",
    ],
)
async def test_something_of_the_users_with_our_name_is_left_to_the_operator(
    path: str, db: sqlite3.Connection, sql: str
) -> None:
    db.executescript(sql)
    before = schema_of(db)
    async with Capture(path) as capture:
        for attempt in (capture.install, capture.installed, capture.uninstall):
            with pytest.raises(OperatorError, match="not ours"):
                await attempt()
    assert schema_of(db) == before


async def test_capture_of_a_newer_program_is_not_touched(path: str, db: sqlite3.Connection) -> None:
    async with Capture(path) as capture:
        await capture.install()
        db.execute("UPDATE _cdc_meta SET format = 99")
        with pytest.raises(UnsupportedVersionError):
            await capture.install()


async def test_uninstalling_leaves_nothing_of_ours(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, v)")
    db.execute('CREATE TABLE "_cdc_1_insert" (x)')
    db.execute("CREATE TRIGGER of_the_user AFTER INSERT ON a BEGIN SELECT 1; END")
    db.execute("INSERT INTO a (v) VALUES (1)")
    before = schema_of(db)
    async with Capture(path) as capture:
        await capture.install()
        db.execute("INSERT INTO a (v) VALUES (2)")
        assert await capture.uninstall()
        assert not await capture.uninstall()
        assert not await capture.installed()
        assert schema_of(db) == before
        assert db.execute("SELECT * FROM sqlite_sequence").fetchall() == [("a", 2)]
        with pytest.raises(CaptureStaleError):
            async with capture.reading():
                pass
        report = await capture.install()
        assert report.created


async def test_capture_that_was_tampered_with_is_made_anew_in_a_new_epoch(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    replica = Replica()
    async with Capture(path) as capture:
        for number, damage in enumerate(
            ["DELETE FROM _cdc_log", "DROP TABLE _cdc_log", "DROP TABLE _cdc_tables", "DELETE FROM _cdc_meta"]
        ):
            await capture.install()
            async with capture.reading() as reader:
                epoch = (await reader.state()).epoch
            db.execute(damage)
            with pytest.raises(CaptureStaleError):
                async with capture.reading() as reader:
                    await reader.state()
            assert (await capture.install()).created
            async with capture.reading() as reader:
                state = await reader.state()
                assert state.epoch == (1 if "_cdc_meta" in damage else epoch + 1)
            db.execute("INSERT INTO a VALUES (?)", (number,))
            replica.prev = 0
            await replica.poll(capture)
            assert_equal(replica, path, {"a": ["id"]})


@pytest.mark.parametrize("trigger", ["insert", "update", "delete"])
async def test_a_trigger_that_was_dropped_is_noticed_and_its_table_read_anew(
    path: str, db: sqlite3.Connection, trigger: str
) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, v)")
    db.execute("INSERT INTO a VALUES (1, 1), (2, 2)")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute(f"DROP TRIGGER _cdc_1_{trigger}")
        db.executescript(
            "INSERT INTO a VALUES (3, 3); UPDATE a SET v = 9 WHERE id = 1; DELETE FROM a WHERE id = 2"
        )
        with pytest.raises(CaptureStaleError, match='"a"'):
            async with capture.reading():
                pass
        await replica.poll(capture)
        assert replica.events[0][0] == "t"
        assert_equal(replica, path, {"a": ["id"]})


async def test_a_new_table_is_noticed_and_read_whole(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute("CREATE TABLE b (x, y, z, PRIMARY KEY (z, y, x)) WITHOUT ROWID")
        db.execute("INSERT INTO b VALUES (1, 2, 3)")
        await replica.poll(capture)
        db.execute("INSERT INTO b VALUES (4, 5, 6)")
        await replica.poll(capture)
        assert [event[0] for event in replica.events] == ["c"]
        assert_equal(replica, path, {"a": ["id"], "b": ["z", "y", "x"]})


async def test_an_applications_trigger_made_after_ours_puts_ours_behind_and_is_answered(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, v)")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        trigger = "CREATE TRIGGER fussy AFTER INSERT ON a WHEN NEW.v = 13 BEGIN SELECT RAISE(IGNORE); END"
        db.execute(trigger)
        # Ours does not run for this row, which is stored all the same.
        db.execute("INSERT INTO a VALUES (1, 13)")
        await replica.poll(capture)
        assert_equal(replica, path, {"a": ["id"]})
        db.execute("INSERT INTO a VALUES (2, 13)")
        await replica.poll(capture)
        assert [event[0] for event in replica.events] == ["c"]
        assert_equal(replica, path, {"a": ["id"]})
        # The same trigger, dropped and made again, stands before ours again.
        db.execute("DROP TRIGGER fussy")
        await replica.poll(capture)
        db.execute(trigger)
        db.execute("INSERT INTO a VALUES (3, 13)")
        await replica.poll(capture)
        assert_equal(replica, path, {"a": ["id"]})


@pytest.mark.parametrize(
    ("sql", "again"),
    [
        ("CREATE INDEX i ON a (v)", False),
        ("CREATE UNIQUE INDEX i ON a (v)", True),
        ("CREATE VIEW w AS SELECT * FROM a", False),
        ("ANALYZE", False),
        ("CREATE TEMP TABLE other (id)", False),
        ("ALTER TABLE a ADD COLUMN w DEFAULT 'new'", True),
        ("ALTER TABLE a RENAME COLUMN v TO w", True),
        ("ALTER TABLE a RENAME COLUMN id TO key", True),
        ("ALTER TABLE a DROP COLUMN v", True),
        ("VACUUM", False),
    ],
)
async def test_only_a_change_that_matters_makes_a_table_be_read_anew(
    path: str, db: sqlite3.Connection, sql: str, again: bool
) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, v)")
    db.execute("INSERT INTO a VALUES (1, 'one')")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute(sql)
        events = await replica.poll(capture)
        assert bool(events) == again
        key = "key" if "TO key" in sql else "id"
        assert_equal(replica, path, {"a": [key]})
        db.execute(f"INSERT INTO a ({key}) VALUES (2)")
        await replica.poll(capture)
        assert_equal(replica, path, {"a": [key]})


async def test_a_renamed_table_leaves_under_its_old_name_and_comes_under_the_new(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    db.execute("INSERT INTO a VALUES (1)")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute("ALTER TABLE a RENAME TO b")
        db.execute("CREATE TABLE a (id TEXT PRIMARY KEY)")
        db.execute("INSERT INTO a VALUES ('other')")
        db.execute("INSERT INTO b VALUES (2)")
        await replica.poll(capture)
        assert_equal(replica, path, {"a": ["id"], "b": ["id"]})
        db.execute("INSERT INTO b VALUES (3)")
        await replica.poll(capture)
        assert [event[:2] for event in replica.events] == [("c", "b")]
        db.execute("DROP TABLE a")
        db.execute("ALTER TABLE b RENAME TO a")
        await replica.poll(capture)
        assert_equal(replica, path, {"a": ["id"]})


async def test_a_table_that_loses_its_key_leaves(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    replica = Replica()
    async with Capture(path) as capture:
        await replica.poll(capture)
        db.execute("DROP TABLE a")
        db.execute("CREATE TABLE a (id)")
        await replica.poll(capture)
        assert_equal(replica, path, {})


async def test_an_epoch_is_minted_above_all_that_are_known(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    async with Capture(path) as capture:
        await capture.install()
        async with capture.reading() as reader:
            before = await reader.state()
        assert await capture.mint_epoch(7, None)
        async with capture.reading() as reader:
            after = await reader.state(before.high)
        assert (after.epoch, after.high) == (8, before.high + 1)
        assert after.epoch_nonce != before.epoch_nonce
        assert (after.database_id, after.prev_nonce) == (before.database_id, before.high_nonce)
        # Another one who asks for the same finds it done.
        assert not await capture.mint_epoch(7, None)


async def test_the_second_look_keeps_an_epoch_that_is_sound(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    async with Capture(path) as capture:
        await capture.install()
        async with capture.reading() as reader:
            state = await reader.state()
        seen = Head(state.epoch, state.epoch_nonce, state.high, state.high_nonce, state.high)
        db.execute("INSERT INTO a VALUES (1)")
        db.execute("INSERT INTO a VALUES (2)")
        assert not await capture.mint_epoch(1, seen)
        db.execute("DELETE FROM _cdc_log WHERE change_id = ?", (state.high + 1,))
        assert await capture.mint_epoch(1, seen), "the log has a hole"


async def test_a_reader_below_what_was_pruned_does_not_condemn_the_log(
    path: str, db: sqlite3.Connection
) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    async with Capture(path) as capture:
        await capture.install()
        async with capture.reading() as reader:
            state = await reader.state()
        seen = Head(state.epoch, state.epoch_nonce, state.high, state.high_nonce, state.high)
        db.execute("INSERT INTO a VALUES (1)")
        db.execute("DELETE FROM _cdc_log WHERE change_id <= ?", (state.high,))
        db.execute("UPDATE _cdc_meta SET pruned_to = ?", (state.high,))
        assert not await capture.mint_epoch(1, seen)


async def test_the_same_ids_with_other_nonces_are_another_history(path: str, db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    async with Capture(path) as capture:
        await capture.install()
        async with capture.reading() as reader:
            state = await reader.state()
        for wrong in (
            Head(state.epoch, state.epoch_nonce, state.high, state.high_nonce + 1, 0),
            Head(state.epoch, state.epoch_nonce + 1, state.high, state.high_nonce, 0),
        ):
            above = wrong.epoch
            async with capture.reading() as reader:
                above = (await reader.state()).epoch
            assert await capture.mint_epoch(above, wrong)
