"""What is published changes while nodes follow a topic: every node holds all rows by the same settings."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tests.support.commands import cdc

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

PLAIN = ""
MASKED = '[tables.a]\nexclude = ["secret"]\nwhere = "n < 100"\n[tables.c]\nwhere = "v IS NULL"'
NARROW = 'tables = ["a", "b"]\n[tables.a]\nexclude = ["secret"]'


def test_pollers_of_different_settings_take_turns_and_no_node_holds_a_mixture(
    kafka: KafkaBroker, topic: str, tmp_path: Path
) -> None:
    source = tmp_path / "app.db"
    with closing(sqlite3.connect(source, isolation_level=None)) as db:
        db.executescript(
            "PRAGMA journal_mode = WAL; CREATE TABLE a (id INTEGER PRIMARY KEY, secret, n);"
            "CREATE TABLE b (id INTEGER PRIMARY KEY, v); CREATE TABLE c (id INTEGER PRIMARY KEY, v);"
            "INSERT INTO b VALUES (1, 'b'); INSERT INTO c VALUES (1, NULL), (2, 'c')"
        )
        kafka_flags = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
        nodes: list[Path] = []
        for turn, text in enumerate((PLAIN, MASKED, NARROW, PLAIN)):
            db.executemany("INSERT INTO a VALUES (?, 'top', ?)", [(turn * 10 + i, i * 60) for i in range(4)])
            config = tmp_path / f"{turn}.toml"
            config.write_text(f'[source]\nurl = "{source}"\n{text}')
            cdc("poll", "--once", "--config", config, *kafka_flags)
            if turn in (0, 2):
                # One that knows every change, and one that begins with an old snapshot in the middle.
                nodes.append(tmp_path / f"node-{turn}.redb")
            for node in nodes:
                known = node.exists()
                done = cdc("consume", "--once", "--json", "--cache", node, "--node", node.stem, *kafka_flags)
                assert not known or done.json["rows"] == 0, "loaded where the topic leads on"
                assert cdc("verify", "--json", "--config", config, "--cache", node).json["equal"]
                assert shown(node) == expected(db, text)
        # Nothing changed: nothing is published, and no table is read anew.
        assert cdc("poll", "--once", "--json", "--config", config, *kafka_flags).json["events"] == 0


def shown(node: Path) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {}
    for line in cdc("dump", "--cache", node).json_lines:
        rows.setdefault(line["table"], []).append(line["row"])
    return rows


def expected(db: sqlite3.Connection, text: str) -> dict[str, list[Any]]:
    queries = {"a": "SELECT id, secret, n FROM a", "b": "SELECT * FROM b", "c": "SELECT * FROM c"}
    if text == MASKED:
        queries |= {"a": "SELECT id, n FROM a WHERE n < 100", "c": "SELECT * FROM c WHERE v IS NULL"}
    if text == NARROW:
        queries = {"a": "SELECT id, n FROM a", "b": queries["b"]}
    found: dict[str, list[Any]] = {}
    for table, sql in queries.items():
        cursor = db.execute(f"{sql} ORDER BY id")
        names = [column[0] for column in cursor.description]
        found[table] = [dict(zip(names, row, strict=True)) for row in cursor]
    return found
