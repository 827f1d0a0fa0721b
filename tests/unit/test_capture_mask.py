"""What of a table is published: exclude, hash and where, in every way in which rows are read."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from cdc.capture import Capture
from cdc.hash_key import HashKey
from cdc.table_settings import TableSettings
from schemas import InvalidText, decode_row, decode_values, encode_key
from schemas.definition import Follow
from schemas.errors import UsageError
from tests.support.replica import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]

KEY = HashKey("a key")
PEOPLE = "CREATE TABLE people (email TEXT, id TEXT PRIMARY KEY COLLATE NOCASE, note, secret, ts INTEGER)"


@asynccontextmanager
async def people(
    tmp_path: Path, settings: TableSettings, create: str = PEOPLE
) -> AsyncIterator[tuple[sqlite3.Connection, Capture]]:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.create_function("shout", 1, str, deterministic=True)
        db.execute(create)
        async with Capture(str(path), settings={"PEOPLE": settings}, hash_key=KEY) as capture:
            yield db, capture


async def polled(replica: Replica, capture: Capture) -> list[tuple[str, Any, Any]]:
    return [
        (op, decode_values(values)[0], None if after is None else decode_row(after))
        for op, _, _, values, after, *_ in await replica.poll(capture)
        if op != "t"
    ]


async def test_columns_that_are_left_out_are_never_read(tmp_path: Path) -> None:
    settings = TableSettings(exclude=("SECRET", "email"))
    # To read it would fail: nothing knows its function here.
    create = "CREATE TABLE people (email, id PRIMARY KEY, note, secret AS (shout(note)), ts)"
    async with people(tmp_path, settings, create) as (db, capture):
        db.execute("INSERT INTO people VALUES ('x', 1, 'n', 3)")
        replica = Replica()
        assert await polled(replica, capture) == [("r", 1, {"id": 1, "note": "n", "ts": 3})]
        db.execute("UPDATE people SET ts = 4")
        assert await polled(replica, capture) == [("u", 1, {"id": 1, "note": "n", "ts": 4})]
        async with capture.reading() as reader:
            definition = reader.tables()["people"]
            assert [column.name for column in definition.columns] == ["id", "note", "ts"]
            change = await reader.row("people", encode_key((1,)))
            assert change is not None
            assert change[4] is not None
            assert decode_row(change[4]) == {"id": 1, "note": "n", "ts": 4}


async def test_hashed_columns_are_keyed_digests_that_tell_classes_apart(tmp_path: Path) -> None:
    values = [None, 1, 1.0, "1", b"1", "", 0.0, -0.0, InvalidText(b"\xff"), "1\0"]
    async with people(tmp_path, TableSettings(hash=("Note",))) as (db, capture):
        for number, value in enumerate(values):
            mark = "CAST(? AS TEXT)" if isinstance(value, InvalidText) else "?"
            shown = value.data if isinstance(value, InvalidText) else value
            db.execute(f"INSERT INTO people VALUES ('e', ?, {mark}, 's', 1)", (str(number), shown))
        replica = Replica()
        found = [row["note"] for _, _, row in await polled(replica, capture)]
        db.execute("UPDATE people SET ts = 2")
        assert [row["note"] for _, _, row in await polled(replica, capture)] == found
        assert found[0] is None
        assert len(set(found)) == len(values)
        assert found[1] == hmac.new(b"a key", b"\x02\x80" + bytes(6) + b"\x01", hashlib.sha256).hexdigest()
        async with capture.reading() as reader:
            affinities = {column.name: column.affinity for column in reader.tables()["people"].columns}
        assert affinities["note"] == "TEXT"
    assert "a key" not in f"{KEY} {KEY!r} {capture.__dict__}"


async def test_rows_come_and_go_as_they_meet_the_condition(tmp_path: Path) -> None:
    async with people(tmp_path, TableSettings(where="ts > 5 AND secret IS NULL", exclude=("secret",))) as (
        db,
        capture,
    ):
        db.execute("INSERT INTO people VALUES ('e', 'in', 1, NULL, 6), ('e', 'out', 1, NULL, 5)")
        replica = Replica()
        row = {"email": "e", "id": "in", "note": 1, "ts": 6}
        assert await polled(replica, capture) == [("r", "in", row)]
        db.execute("UPDATE people SET secret = 1 WHERE id = 'in'")
        db.execute("INSERT INTO people VALUES ('e', 'new', 1, NULL, 7), ('e', 'not', 1, NULL, 4)")
        new = {**row, "id": "new", "ts": 7}
        assert await polled(replica, capture) == [("d", "in", None), ("c", "new", new), ("d", "not", None)]
        db.execute("UPDATE people SET secret = NULL, id = 'IN' WHERE id = 'in'")
        assert await polled(replica, capture) == [("c", "IN", {**row, "id": "IN"}), ("d", "in", None)]
        async with capture.reading() as reader:
            assert await reader.row("people", encode_key(("out",))) is None
            assert await reader.row("people", encode_key(("new",))) is not None
            assert [change[2] async for page in reader.rows("people") for change in page] == [
                encode_key(("IN",)),
                encode_key(("new",)),
            ]


@pytest.mark.parametrize(
    "create",
    [
        "people (id INTEGER PRIMARY KEY, ts)",
        "people (ts, id REAL PRIMARY KEY) WITHOUT ROWID",
        "people (ts, id, PRIMARY KEY (id COLLATE NOCASE, ts))",
    ],
)
async def test_the_condition_holds_for_every_kind_of_key(tmp_path: Path, create: str) -> None:
    async with people(tmp_path, TableSettings(where="ts <> 2"), f"CREATE TABLE {create}") as (db, capture):
        replica = Replica()
        await replica.poll(capture)
        db.execute("INSERT INTO people (id, ts) VALUES (1, 1), (2, 2)")
        await replica.poll(capture)
        db.execute("INSERT INTO people (id, ts) VALUES (3, 2), (4, 3)")
        db.execute("UPDATE people SET ts = CASE ts WHEN 1 THEN 2 ELSE 1 END WHERE id < 3")
        await replica.poll(capture)
        found = sorted((row["id"], row["ts"]) for row in replica.tables["people"].values())
        assert found == [(2, 1), (4, 3)]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (TableSettings(exclude=("nothing",)), 'tables.PEOPLE.exclude names "nothing"'),
        (TableSettings(hash=("nothing",)), 'tables.PEOPLE.hash names "nothing"'),
        (TableSettings(exclude=("ID",)), 'tables.PEOPLE.exclude names "id", which is part of the key'),
        (TableSettings(hash=("ID",)), 'tables.PEOPLE.hash names "id", which is part of the key'),
        (TableSettings(exclude=("note",), hash=("NOTE",)), "tables.PEOPLE.hash names"),
        (TableSettings(exclude=("ts",), keep=1, keep_by="TS"), "which keep_by needs"),
        (TableSettings(hash=("ts",), keep=1, keep_by="TS"), "which keep_by needs"),
        (TableSettings(exclude=("ts",), index=("ts",)), "which index needs"),
        (TableSettings(hash=("note",), follow=Follow(("x",), "note")), "which follow needs"),
        (TableSettings(where="ts > random()"), "tables.PEOPLE.where is no condition on the row alone"),
        (TableSettings(where="ts > AND"), 'the where of table "people" cannot be asked'),
        (TableSettings(where="max(ts) > 1"), 'the where of table "people" cannot be asked'),
        (TableSettings(where="ts REGEXP 'a'"), '"REGEXP" is no column'),
    ],
)
async def test_settings_that_do_not_fit_the_table_are_refused(
    tmp_path: Path, settings: TableSettings, line: str
) -> None:
    async with people(tmp_path, settings) as (_, capture):
        with pytest.raises(UsageError) as caught:
            await capture.install()
        assert line in str(caught.value)


async def test_a_column_that_is_renamed_under_its_exclude_is_not_published(tmp_path: Path) -> None:
    async with people(tmp_path, TableSettings(exclude=("secret",))) as (db, capture):
        db.execute("INSERT INTO people VALUES ('e', '1', 1, 'top', 1)")
        replica = Replica()
        await replica.poll(capture)
        db.execute("ALTER TABLE people RENAME COLUMN secret TO open")
        db.execute("UPDATE people SET ts = 2")
        for _ in range(2):
            with pytest.raises(UsageError, match="exclude"):
                await replica.poll(capture)
        db.execute("ALTER TABLE people RENAME COLUMN open TO secret")
        await replica.poll(capture)
        assert [row["ts"] for row in replica.tables["people"].values()] == [2]


def test_every_command_sees_what_is_published_and_nothing_else(
    cdc: Cdc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASHING", "hunter2")
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.execute(PEOPLE)
        db.execute("INSERT INTO people VALUES ('e', 'a', 1, 'top', 1), ('f', 'b', 1, 'top', 9)")
        db.commit()
        (tmp_path / "cdc.toml").write_text(
            '[source]\nurl = "app.db"\nhash_key = "env:HASHING"\n'
            '[tables.people]\nexclude = ["secret"]\nhash = ["email"]\nwhere = "ts < 5"'
        )
        assert cdc("sync").code == 0
        (line,) = cdc("dump").json_lines()
        digest = HashKey("hunter2").digest("e")
        assert line["row"] == {"email": digest, "id": "a", "note": 1, "ts": 1}
        assert cdc("verify", "--json").json()["equal"]
        db.execute("UPDATE people SET ts = 10 - ts")
        db.commit()
        assert cdc("verify", "--json").json()["tables"]["people"]["pending"] == 2
        assert cdc("sync").code == 0
        assert [line["key"] for line in cdc("dump").json_lines()] == [["b"]]
        assert cdc("verify", "--json").json()["equal"]
        assert cdc("rebuild").code == 0
        assert cdc("verify", "--json").json()["equal"]


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("hash = ['email']", "tables.people.hash needs source.hash_key"),
        ("exclude = ['nothing']", "tables.people.exclude"),
        ("where = 'id IN (SELECT 1)'", "tables.people.where"),
        ("exclude = 'email'", "tables.people.exclude"),
    ],
)
def test_wrong_settings_end_a_command_with_exit_code_2(
    cdc: Cdc, tmp_path: Path, section: str, line: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.execute(PEOPLE)
    (tmp_path / "cdc.toml").write_text(f'[source]\nurl = "app.db"\n[tables.people]\n{section}')
    ended = cdc("sync")
    assert ended.code == 2
    assert line in ended.err
