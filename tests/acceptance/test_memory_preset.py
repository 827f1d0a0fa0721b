"""``[preset.memory]``: the newest episodes of an agent's memory are cached, and whatever belongs to them."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from consumers import Cache
from tests.support.commands import cdc

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

EPISODES = 5_000
KEEP = 300

SCHEMA = """
CREATE TABLE episodes(
    episode_id TEXT PRIMARY KEY, task_type TEXT, task_description TEXT, context TEXT, start_time INTEGER,
    end_time INTEGER, steps TEXT, outcome TEXT, reward TEXT, reflection TEXT, patterns TEXT, heuristics TEXT,
    checkpoints TEXT, metadata TEXT, domain TEXT, language TEXT, created_at INTEGER, archived_at INTEGER);
CREATE TABLE patterns(
    pattern_id TEXT PRIMARY KEY, pattern_type TEXT, pattern_data TEXT, success_rate REAL,
    context_domain TEXT, context_language TEXT, context_tags TEXT,
    occurrence_count INTEGER, created_at INTEGER, updated_at INTEGER);
CREATE TABLE heuristics(
    heuristic_id TEXT PRIMARY KEY, condition_text TEXT, action_text TEXT, confidence REAL);
CREATE TABLE embeddings(
    embedding_id TEXT PRIMARY KEY, item_id TEXT, item_type TEXT, embedding_data TEXT, embedding_vector BLOB,
    dimension INTEGER, model TEXT, created_at INTEGER);
CREATE TABLE episode_relationships(
    from_episode_id TEXT NOT NULL, to_episode_id TEXT NOT NULL, relationship_type TEXT NOT NULL,
    strength REAL,
    UNIQUE(from_episode_id, to_episode_id, relationship_type));
CREATE INDEX by_start ON episodes(start_time);
CREATE INDEX by_item ON embeddings(item_id);
CREATE TABLE other(id INTEGER PRIMARY KEY);
"""

# By SQL's own means, apart from what the program asks: what has to be in the cache.
NEWEST = f"SELECT episode_id FROM episodes ORDER BY start_time DESC, episode_id DESC LIMIT {KEEP}"
EXPECTED = {
    "episodes": f"SELECT * FROM episodes WHERE episode_id IN ({NEWEST}) ORDER BY 1",
    "patterns": "SELECT * FROM patterns ORDER BY 1",
    "heuristics": "SELECT * FROM heuristics ORDER BY 1",
    "embeddings": f"""SELECT * FROM embeddings WHERE item_id IN ({NEWEST})
        OR item_id IN (SELECT pattern_id FROM patterns)
        OR item_id IN (SELECT heuristic_id FROM heuristics) ORDER BY 1""",
    "episode_relationships": "SELECT * FROM episode_relationships ORDER BY 1, 2, 3",
}


class Application:
    """Writes its memory as the application does: INSERT OR REPLACE, all of it."""

    def __init__(self, path: Path) -> None:
        self.draw = random.Random(7)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(SCHEMA)
        self.db.execute("BEGIN")
        for number in range(EPISODES):
            self.remember(number)
        self.learn()
        self.db.execute("COMMIT")

    def remember(self, number: int) -> None:
        # Some begin in the same second, some at no known time.
        start = None if number % 97 == 0 else 1_700_000_000 + self.draw.randrange(EPISODES // 3)
        episode = f"ep-{number}"
        row = (episode, "test", "a task", "{}", start, None, "[]", None, None, None, "[]", "[]", "[]", "{}")
        self.replace("episodes", (*row, "web", "python", start, None))
        self.embed(episode)

    def learn(self) -> None:
        for number in range(40):
            pattern = (f"p-{number}", "tool", "{}", self.draw.random(), "web", "python", "[]", number, 1, 2)
            self.replace("patterns", pattern)
            self.replace("heuristics", (f"h-{number}", "if", "then", self.draw.random()))
            self.embed(f"p-{number}")
            self.embed(f"h-{number}")
            ends = (f"ep-{self.draw.randrange(EPISODES)}", f"ep-{self.draw.randrange(EPISODES)}")
            self.replace("episode_relationships", (*ends, "follows", self.draw.random()))

    def embed(self, item: str) -> None:
        vector = self.draw.randbytes(32)
        self.replace("embeddings", (f"of-{item}", item, "episode", "[0.1]", vector, 8, "small", 1))

    def replace(self, table: str, row: tuple[Any, ...]) -> None:
        places = ", ".join("?" * len(row))
        self.db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", row)

    def work(self) -> None:
        """Rows move across the limit in both directions, are replaced and deleted."""
        db, draw = self.db, self.draw
        db.execute("BEGIN")
        newest = [key for (key,) in db.execute(NEWEST)]
        for episode in draw.sample(newest, 40):
            db.execute("UPDATE episodes SET start_time = start_time - 5000 WHERE episode_id = ?", (episode,))
        for episode in draw.sample(newest, 40):
            db.execute("DELETE FROM episodes WHERE episode_id = ?", (episode,))
        for number in draw.sample(range(EPISODES), 60):
            self.remember(number)
        later = 1_700_000_000 + EPISODES
        for number in draw.sample(range(EPISODES), 20):
            db.execute("UPDATE episodes SET start_time = ? WHERE episode_id = ?", (later, f"ep-{number}"))
        db.execute("DELETE FROM patterns WHERE pattern_id = 'p-3'")
        self.replace("embeddings", ("of-p-4", "nothing", "episode", "[]", b"", 0, "small", 2))
        self.embed(f"p-{draw.randrange(9)}")
        db.execute("COMMIT")

    def assert_cached(self, cache: Path) -> None:
        with Cache.open(cache) as reader:
            assert set(reader.tables()) == set(EXPECTED)
            for table, sql in EXPECTED.items():
                cursor = self.db.execute(sql)
                names = [column[0] for column in cursor.description]
                stored = [dict(zip(names, row, strict=True)) for row in cursor]
                assert [row for _, row in reader.scan(table)] == stored, table
                assert reader.count(table) == len(stored)
            assert reader.definition("episodes").key_type == "text"


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return Application(tmp_path / "memory.db")


def configure(folder: Path, node: str, kafka: str = "", *, source: bool = True) -> Path:
    path = folder / f"{node}.toml"
    path.write_text(
        (f"[source]\nurl = 'file:{folder / 'memory.db'}'\n" if source else "")
        + kafka
        + f"[cache]\npath = '{folder / node}.redb'\nnode = '{node}'\n"
        + f"[preset.memory]\nmax_episodes_cache = {KEEP}\nbatch_size = 50\n"
    )
    return path


def test_the_memory_is_cached_in_one_process(application: Application, tmp_path: Path):
    config, cache = configure(tmp_path, "embedded"), tmp_path / "embedded.redb"
    loaded = cdc("sync", "--config", config, "--json").json
    assert loaded["rows"] < EPISODES, "a load reads what is kept, not all"
    application.assert_cached(cache)
    for _ in range(5):
        application.work()
        cdc("sync", "--config", config)
        application.assert_cached(cache)
    verified = cdc("verify", "--config", config, "--json").json
    assert verified["equal"]
    assert verified["tables"]["episodes"]["cache_rows"] == KEEP
    assert len(cdc("dump", "episodes", "--config", config).json_lines) == KEEP


def test_the_memory_is_cached_by_nodes_behind_kafka(
    kafka: KafkaBroker, topic: str, application: Application, tmp_path: Path
):
    section = f"[kafka]\nbootstrap_servers = '{kafka.bootstrap}'\ntopic = '{topic}'\n"
    poller = configure(tmp_path, "poller", section)
    nodes = {name: configure(tmp_path, name, section, source=False) for name in ("early", "late")}
    cdc("poll", "--once", "--config", poller)
    for turn in range(4):
        if turn:
            application.work()
            cdc("poll", "--once", "--config", poller)
        cdc("consume", "--once", "--config", nodes["early"])
        application.assert_cached(tmp_path / "early.redb")
    cdc("snapshot", "--config", poller)
    cdc("consume", "--once", "--config", nodes["late"])
    application.assert_cached(tmp_path / "late.redb")
