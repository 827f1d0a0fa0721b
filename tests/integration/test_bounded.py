"""Bounded tables on real files: the cache holds the newest rows and what follows them, always."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from cdc.capture import Capture
from cdc.cli.parts import open_capture
from cdc.cli.verify import verify_cache
from cdc.config_file import load
from cdc.embedded import CachePublication, sync
from cdc.poller import Poller
from cdc.table_settings import TableSettings
from consumers import _redb, limits
from consumers.cache import Cache
from consumers.writer import CacheWriter
from schemas import encode_key
from schemas.definition import Follow
from schemas.errors import UsageError
from schemas.rows import encode_row

if TYPE_CHECKING:
    from pathlib import Path

KEEP = 5
SETTINGS = {
    "episodes": TableSettings(keep=KEEP, keep_by="start"),
    "embeddings": TableSettings(follow=Follow(("episodes", "patterns"), "item")),
    "notes": TableSettings(follow=Follow(("embeddings",), "about")),
}
SCHEMA = """
CREATE TABLE episodes(id TEXT PRIMARY KEY, start, body);
CREATE TABLE patterns(id TEXT PRIMARY KEY, seen INTEGER);
CREATE TABLE embeddings(id INTEGER PRIMARY KEY, item TEXT, body);
CREATE TABLE notes(id INTEGER PRIMARY KEY, about INTEGER, body);
"""
STARTS = (None, 1, 2, 3, 3.0, 2**53, 2**53 + 1, float(2**53), "3", "a", b"a", -1.5)

# Written apart from the shipped queries: what has to be in the cache, by SQL's own means.
NEWEST = f"SELECT id FROM episodes {{where}} ORDER BY start DESC, id DESC LIMIT {KEEP}"
FOLLOWING = f"SELECT id FROM embeddings WHERE item IN ({NEWEST}) OR item IN (SELECT id FROM patterns)"
EXPECTED = {
    "episodes": f"SELECT * FROM episodes WHERE id IN ({NEWEST}) ORDER BY id",
    "patterns": "SELECT * FROM patterns ORDER BY id",
    "embeddings": f"SELECT * FROM embeddings WHERE id IN ({FOLLOWING}) ORDER BY id",
    "notes": f"SELECT * FROM notes WHERE about IN ({FOLLOWING}) ORDER BY id",
}

TRIGGERS = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'episodes'"


class Memory:
    """A database that is written at random, and its cache."""

    def __init__(self, folder: Path, seed: int, where: str = "") -> None:
        self.path, self.cache = folder / "app.db", folder / "cache.redb"
        self.draw = random.Random(seed)
        self.where = where
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(SCHEMA)

    def write(self) -> None:
        draw, db = self.draw, self.db
        db.execute("BEGIN")
        for _ in range(draw.choice((1, 2, 5, 30))):
            episode, pattern = f"e{draw.randrange(14)}", f"p{draw.randrange(3)}"
            number, body = draw.randrange(25), draw.randrange(1000)
            item = draw.choice((episode, episode, pattern, "nothing", None))
            match draw.randrange(9):
                case 0 | 1:
                    row = (episode, draw.choice(STARTS), body)
                    db.execute("INSERT OR REPLACE INTO episodes(id, start, body) VALUES (?, ?, ?)", row)
                case 2:
                    db.execute("UPDATE episodes SET start = ? WHERE id = ?", (draw.choice(STARTS), episode))
                case 3:
                    db.execute("DELETE FROM episodes WHERE id = ?", (episode,))
                case 4:
                    db.execute(
                        "UPDATE OR IGNORE episodes SET id = ? WHERE id = ?", (episode, f"e{body % 14}")
                    )
                case 5:
                    db.execute("INSERT OR REPLACE INTO patterns(id, seen) VALUES (?, ?)", (pattern, body))
                case 6:
                    db.execute("DELETE FROM patterns WHERE id = ?", (pattern,))
                case 7:
                    db.execute(
                        "INSERT OR REPLACE INTO embeddings(id, item, body) VALUES (?, ?, ?)",
                        (number, item, body),
                    )
                case _:
                    db.execute(
                        "INSERT OR REPLACE INTO notes(id, about, body) VALUES (?, ?, ?)",
                        (body % 40, number, body),
                    )
        db.execute("COMMIT")

    def assert_exact(self, without: str = "") -> None:
        with Cache.open(self.cache) as cache:
            for table, sql in EXPECTED.items():
                if table == without:
                    assert table not in cache.tables()
                    continue
                there = sql.replace(f"(SELECT id FROM {without})", "()") if without else sql
                cursor = self.db.execute(there.format(where=self.where))
                names = [column[0] for column in cursor.description]
                stored = [dict(zip(names, row, strict=True)) for row in cursor]
                assert repr([row for _, row in cache.scan(table)]) == repr(stored), table
                assert cache.count(table) == len(stored)


@pytest.mark.parametrize("seed", range(6))
async def test_the_cache_holds_the_newest_rows_and_what_follows_them(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "STREAM_ROWS_MAX", 7)
    monkeypatch.setattr(limits, "EVICTION_KEYS_MAX", (3, 50_000)[seed % 2])
    monkeypatch.setattr(limits, "EVICTION_PAGE_KEYS", 2)
    where = ("", "body % 3 <> 0")[seed % 3 == 0]
    memory = Memory(tmp_path, seed, f"WHERE {where}" if where else "")
    settings = dict(SETTINGS)
    if where:
        settings["episodes"] = TableSettings(keep=KEEP, keep_by="start", where=where)
    for _ in range(20):
        memory.write()
    for life in range(4):
        async with (
            CacheWriter(memory.cache, "test") as writer,
            Capture(str(memory.path), settings=settings) as c,
        ):
            await c.install()
            poller = Poller(c, CachePublication(writer, "url", rebuild=life == 2))
            for _ in range(25):
                for _ in range(memory.draw.choice((0, 1, 1, 3))):
                    memory.write()
                await poller.poll()
                memory.assert_exact()
    memory.db.close()


async def test_verify_leaves_open_what_pending_changes_decide_and_nothing_else(tmp_path: Path):
    memory = Memory(tmp_path, 3)
    (tmp_path / "cdc.toml").write_text(
        f"""
        [source]
        url = {str(memory.path)!r}
        [cache]
        path = {str(memory.cache)!r}
        [tables.episodes]
        keep = {KEEP}
        keep_by = "start"
        [tables.embeddings]
        follow = {{ table = ["episodes", "patterns"], column = "item" }}
        [tables.notes]
        follow = {{ table = "embeddings", column = "about" }}
        """
    )
    config = load(tmp_path / "cdc.toml")
    for turn in range(25):
        memory.write()
        async with CacheWriter(memory.cache, "test") as writer:
            await sync(lambda: open_capture(config), writer)
        memory.assert_exact()
        exact = await verify_cache(config)
        assert exact.equal
        assert not any(report.pending for report in exact.tables.values())
        for _ in range(turn % 3):
            memory.write()
        assert (await verify_cache(config)).equal, turn
    # A row that should not be there is found, also while another one is pending.
    with _redb.Database.open(memory.cache) as database:
        rows = [(encode_key((999,)), encode_row(("id", "item", "body"), (999, "nothing", 1)), 1)]
        database.apply({"embeddings": rows}, {})
    memory.db.execute("INSERT INTO patterns VALUES ('p9', 1)")
    found = await verify_cache(config)
    assert found.tables["embeddings"].unexpected == [encode_key((999,))]
    memory.db.close()


async def test_a_table_read_anew_brings_what_follows_its_rows(tmp_path: Path):
    memory = Memory(tmp_path, 1)
    async with CacheWriter(memory.cache, "test") as writer, Capture(str(memory.path), settings=SETTINGS) as c:
        await c.install()
        poller = Poller(c, CachePublication(writer, "url"))
        await poller.poll()
        for change in (
            "ALTER TABLE episodes ADD COLUMN more",
            "ALTER TABLE embeddings ADD COLUMN more",
            "DROP TABLE patterns",
            "CREATE TABLE patterns(id TEXT PRIMARY KEY, seen INTEGER)",
        ):
            dropped = change.startswith("DROP")
            for _ in range(0 if change.startswith("CREATE") else 10):
                memory.write()
            # What is written now is seen by no trigger: only reading all of it anew finds it.
            for (name,) in memory.db.execute(TRIGGERS).fetchall():
                memory.db.execute(f'DROP TRIGGER "{name}"')
            memory.db.execute("INSERT OR REPLACE INTO episodes(id, start) VALUES ('e1', 'z'), ('e2', 'z')")
            memory.db.execute(change)
            await poller.poll()
            memory.assert_exact(without="patterns" if dropped else "")
    memory.db.close()


async def test_inserts_of_the_newest_rows_carry_nothing_else(tmp_path: Path):
    memory = Memory(tmp_path, 1)
    async with CacheWriter(memory.cache, "test") as writer, Capture(str(memory.path), settings=SETTINGS) as c:
        await c.install()
        poller = Poller(c, CachePublication(writer, "url"))
        memory.db.executemany("INSERT INTO episodes VALUES (?, ?, 0)", [(f"x{n:03}", n) for n in range(50)])
        assert (await poller.poll()).rows == KEEP, "a load carries no more than is kept"
        memory.db.executemany(
            "INSERT INTO episodes VALUES (?, ?, 0)", [(f"y{n:03}", 90 + n) for n in range(3)]
        )
        assert (await poller.poll()).events == 3
        memory.db.execute("DELETE FROM episodes WHERE id = 'y000'")
        assert (await poller.poll()).events == 2, "the delete, and the row that takes its place"
        memory.assert_exact()
    memory.db.close()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"episodes": TableSettings(keep=1, keep_by="begin")}, "tables.episodes.keep_by"),
        (
            {"embeddings": TableSettings(follow=Follow(("episodes",), "of"))},
            "tables.embeddings.follow.column",
        ),
        ({"embeddings": TableSettings(follow=Follow(("others",), "item"))}, "tables.embeddings.follow.table"),
        ({"embeddings": TableSettings(follow=Follow(("pairs",), "item"))}, "several columns"),
        ({"embeddings": TableSettings(follow=Follow(("embeddings",), "item"))}, "circle"),
        ({"episodes": TableSettings(keep=1, keep_by="start", exclude=("start",))}, "tables.episodes.exclude"),
        (
            {
                "embeddings": TableSettings(follow=Follow(("notes",), "item")),
                "notes": TableSettings(follow=Follow(("episodes", "embeddings"), "about")),
            },
            "circle: embeddings, notes",
        ),
    ],
)
async def test_settings_that_do_not_fit_the_tables_are_refused(
    tmp_path: Path, settings: dict[str, Any], named: str
):
    memory = Memory(tmp_path, 1)
    memory.db.execute("CREATE TABLE pairs(a, b, PRIMARY KEY (a, b))")
    async with Capture(str(memory.path), settings=settings) as capture:
        with pytest.raises(UsageError, match=named):
            await capture.install()
    memory.db.close()


async def test_names_of_tables_and_columns_are_found_whatever_their_case(tmp_path: Path):
    memory = Memory(tmp_path, 1)
    settings = {
        "EPISODES": TableSettings(keep=KEEP, keep_by="Start"),
        "Embeddings": TableSettings(follow=Follow(("Episodes", "PATTERNS"), "ITEM")),
        "notes": SETTINGS["notes"],
    }
    async with CacheWriter(memory.cache, "test") as writer, Capture(str(memory.path), settings=settings) as c:
        await c.install()
        poller = Poller(c, CachePublication(writer, "url"))
        for _ in range(10):
            memory.write()
            await poller.poll()
            memory.assert_exact()
    memory.db.close()
