"""Capture at every kind of source: installed, read, followed through changes, removed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from cdc.capture import Capture
from schemas import encode_key
from schemas.errors import SourceUnavailableError
from tests.support.replica import Replica, typed
from tests.support.sources import KINDS

if TYPE_CHECKING:
    from cdc.source import Client
    from tests.support.sources import Source
    from tests.support.sqld import Sqld

KEYS = {"notes": ["id"], "words": ["word"], "pairs": ["a", "b"]}
CREATE = (
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, body, score REAL, tag TEXT UNIQUE)",
    "CREATE TABLE words (word TEXT PRIMARY KEY COLLATE NOCASE, body)",
    "CREATE TABLE pairs (a, b, body, PRIMARY KEY (a, b))",
)
VALUES = (
    None,
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    1.5,
    9e999,
    -9e999,
    "",
    "a",
    "A",
    "é\u2028",
    "a\x00b",
    b"",
    b"\x00\xff",
)
POLLS = 12

every_kind = pytest.mark.parametrize("kind", KINDS)


def _capture(source: Source) -> Capture:
    return Capture(source.url, auth_token=source.token)


async def _create(db: Client) -> None:
    for sql in CREATE:
        await db.execute(sql)


async def _write(rnd: Random, db: Client) -> None:
    value, number = rnd.choice(VALUES), rnd.randrange(12)
    match rnd.randrange(8):
        case 0:
            sql = f"{rnd.choice(['INSERT OR IGNORE', 'REPLACE'])} INTO notes VALUES (?, ?, ?, ?)"
            await db.execute(sql, (number, value, rnd.choice([0.5, -1.5, 9e999]), f"tag {rnd.randrange(6)}"))
        case 1:
            await db.execute(
                "UPDATE OR REPLACE notes SET id = ?, body = ? WHERE id = ?", (number, value, number + 1)
            )
        case 2:
            await db.execute("DELETE FROM notes WHERE id % 3 = ?", (number % 3,))
        case 3:
            await db.execute("REPLACE INTO words VALUES (?, ?)", (rnd.choice("aAbBcC"), value))
        case 4:
            await db.execute(
                "UPDATE OR IGNORE words SET word = upper(word) WHERE word = ?", (rnd.choice("abc"),)
            )
        case 5:
            await db.execute(
                "INSERT OR IGNORE INTO pairs VALUES (?, ?, ?)",
                (rnd.choice([1, 1.0, "1", b"1"]), number % 3, value),
            )
        case 6:
            await db.execute("DELETE FROM pairs WHERE b = ?", (number % 3,))
        case _:
            async with db.writing() as transaction:
                for offset in range(5):
                    sql = "INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)"
                    await transaction.execute(sql, (number, offset, value))


async def _assert_equal(replica: Replica, db: Client) -> None:
    assert sorted(replica.tables) == sorted(KEYS)
    for table, key in KEYS.items():
        result = await db.execute(f"SELECT * FROM {table}")
        stored: dict[bytes, dict[str, Any]] = {}
        for values in result.rows:
            row = dict(zip(result.columns, values, strict=True))
            stored[encode_key([row[name] for name in key])] = row
        found = replica.tables[table]
        assert found.keys() == stored.keys(), table
        for encoded, row in stored.items():
            assert typed(found[encoded]) == typed(row), table


@pytest.mark.parametrize("seed", range(3))
@every_kind
async def test_a_replica_kept_from_changes_equals_the_source_after_every_poll(source: Source, seed: int):
    rnd = Random(seed)
    replica = Replica()
    async with _capture(source) as capture:
        db = capture.client
        await _create(db)
        for _ in range(20):
            await _write(rnd, db)
        for _ in range(POLLS):
            await replica.poll(capture)
            await _assert_equal(replica, db)
            for _ in range(rnd.randrange(12)):
                await _write(rnd, db)
        assert replica.polls > POLLS // 2


@every_kind
async def test_a_load_gives_every_row_and_changes_go_on_from_it(source: Source):
    async with _capture(source) as capture:
        db = capture.client
        await _create(db)
        await db.execute("INSERT INTO notes (id, body) VALUES (1, 'one'), (2, 'two')")
        assert not await capture.installed()
        report = await capture.install()
        assert (report.created, sorted(report.tables), report.skipped) == (True, sorted(KEYS), [])
        assert await capture.installed()
        assert (await capture.install()).changed == []
        async with capture.reading() as reader:
            position = (await reader.state()).high
            loaded = [change async for page in reader.rows("notes") for change in page]
        assert [change[2] for change in loaded] == [encode_key([1]), encode_key([2])]
        await db.execute("UPDATE notes SET body = 'zwei' WHERE id = 2")
        await db.execute("DELETE FROM notes WHERE id = 1")
        async with capture.reading() as reader:
            high = (await reader.state(position)).high
            changes = [change async for page in reader.changes(position, high) for change in page]
        assert [(change[0], change[2]) for change in changes] == [
            ("d", encode_key([1])),
            ("u", encode_key([2])),
        ]


@every_kind
async def test_a_schema_change_is_noticed_by_the_next_poll(source: Source):
    replica = Replica()
    async with _capture(source) as capture:
        db = capture.client
        await _create(db)
        await db.execute("INSERT INTO notes (id, body) VALUES (1, 'one')")
        await replica.poll(capture)
        for sql, columns in (
            ("ALTER TABLE notes ADD COLUMN more DEFAULT 5", {"id", "body", "score", "tag", "more"}),
            ("ALTER TABLE notes RENAME COLUMN more TO other", {"id", "body", "score", "tag", "other"}),
            ("ALTER TABLE notes DROP COLUMN other", {"id", "body", "score", "tag"}),
        ):
            await db.execute(sql)
            await replica.poll(capture)
            assert set(replica.tables["notes"][encode_key([1])]) == columns
        await db.execute("CREATE TABLE late (id INTEGER PRIMARY KEY)")
        await db.execute("INSERT INTO late VALUES (7)")
        await db.execute("DROP TABLE pairs")
        await replica.poll(capture)
        assert sorted(replica.tables) == ["late", "notes", "words"]
        assert list(replica.tables["late"]) == [encode_key([7])]


@every_kind
async def test_an_uninstalled_source_is_as_it_was(source: Source):
    async with _capture(source) as capture:
        db = capture.client
        await _create(db)
        before = await _schema(db)
        await capture.install()
        assert await capture.uninstall()
        assert await _schema(db) == before
        await db.execute("INSERT INTO notes (id) VALUES (1)")


async def _schema(db: Client) -> list[tuple[Any, ...]]:
    # SQLite makes sqlite_sequence with the first AUTOINCREMENT, and lets nobody drop it.
    sql = "SELECT type, name, sql FROM sqlite_master WHERE name <> 'sqlite_sequence' ORDER BY name"
    return (await db.execute(sql)).rows


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_capture_goes_on_after_the_server_was_killed(source: Source, sqld: Sqld):
    replica = Replica()
    async with _capture(source) as capture:
        db = capture.client
        await _create(db)
        await replica.poll(capture)
        await db.execute("INSERT INTO notes (id, body) VALUES (1, 'one')")
        sqld.kill()
        with pytest.raises(SourceUnavailableError):
            await replica.poll(capture)
        sqld.start()
        await replica.poll(capture)
        await _assert_equal(replica, db)
