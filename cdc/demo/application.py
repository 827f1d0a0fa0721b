"""The sample application: an agent's memory of what it did, written the way such programs write."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EPISODES = 20_000
PATTERNS = 200

_SCHEMA = """
CREATE TABLE episodes(
    episode_id TEXT PRIMARY KEY, domain TEXT NOT NULL, task TEXT, outcome TEXT, reward REAL,
    start_time INTEGER NOT NULL, steps TEXT);
CREATE TABLE patterns(
    pattern_id TEXT PRIMARY KEY, domain TEXT, success_rate REAL, seen INTEGER NOT NULL DEFAULT 0);
CREATE TABLE embeddings(
    embedding_id INTEGER PRIMARY KEY, item_id TEXT NOT NULL, model TEXT, vector BLOB);
CREATE INDEX episodes_by_start ON episodes(start_time);
CREATE INDEX embeddings_by_item ON embeddings(item_id);
"""

_DOMAINS = ("web", "files", "mail", "code", "search")
_VECTOR_BYTES = 128
_START_TIME = 1_780_000_000


class SampleApplication:
    """A database with three tables, and transactions that insert, update, replace and delete.

    Args:
        path: where to make the database.
        seed: the same seed, the same content.
    """

    def __init__(self, path: Path, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- sample data
        self.connection = sqlite3.connect(path, timeout=10)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self._next = 0

    def create(self) -> int:
        """Makes the tables and their first rows; returns how many rows."""
        with self.connection as connection:
            connection.executescript(_SCHEMA)
        with self.connection as connection:
            patterns = [(f"pattern-{n}", self._random.choice(_DOMAINS), 0.5, 0) for n in range(PATTERNS)]
            connection.executemany("INSERT INTO patterns VALUES (?, ?, ?, ?)", patterns)
            for _ in range(EPISODES):
                self._insert_episode(connection)
        return PATTERNS + 2 * EPISODES

    def work(self) -> int:
        """One transaction, as an agent that has finished a task writes it; returns the rows it touched."""
        draw = self._random
        with self.connection as connection:
            touched = 2 * sum(self._insert_episode(connection) for _ in range(draw.randint(1, 4)))
            touched += connection.execute(
                "UPDATE patterns SET seen = seen + 1, success_rate = ? WHERE domain = ?",
                (draw.random(), draw.choice(_DOMAINS)),
            ).rowcount
            known = f"episode-{draw.randrange(self._next)}"
            touched += connection.execute(
                "UPDATE episodes SET outcome = ?, reward = ? WHERE episode_id = ?",
                (draw.choice(("success", "failure")), draw.uniform(-1, 1), known),
            ).rowcount
            forgotten = f"episode-{draw.randrange(self._next)}"
            touched += connection.execute("DELETE FROM embeddings WHERE item_id = ?", (forgotten,)).rowcount
            touched += connection.execute("DELETE FROM episodes WHERE episode_id = ?", (forgotten,)).rowcount
        return touched

    def close(self) -> None:
        """Closes the database."""
        self.connection.close()

    def _insert_episode(self, connection: sqlite3.Connection) -> bool:
        number, draw = self._next, self._random
        self._next += 1
        domain = draw.choice(_DOMAINS)
        connection.execute(
            "INSERT INTO episodes VALUES (?, ?, ?, NULL, NULL, ?, ?)",
            (f"episode-{number}", domain, f"a task of {domain}", _START_TIME + number, '["look", "act"]'),
        )
        connection.execute(
            "INSERT INTO embeddings(item_id, model, vector) VALUES (?, 'demo-32', ?)",
            (f"episode-{number}", draw.randbytes(_VECTOR_BYTES)),
        )
        return True
