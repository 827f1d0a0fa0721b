"""A topic that belongs to another database is taken over only where somebody says so."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from schemas.errors import ExitCode
from tests.support.commands import cdc

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker


def make(path: Path, note: str, rows: int) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, note)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [(number, note) for number in range(rows)])


@pytest.mark.slow
def test_a_topic_of_another_database_is_refused_and_with_adopt_its_nodes_load_the_new_one(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    make(first, "first", 20)
    make(second, "second", 10)
    to = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    node = ("--cache", tmp_path / "cache.redb", "--node", "node-a")

    def poll(source: Path, *flags: str, code: int = ExitCode.DONE):
        return cdc("poll", "--once", "--json", "--source", source, *to, *flags, code=code)

    def notes() -> list[str]:
        cdc("consume", "--once", *to, *node)
        return [row["row"]["note"] for row in cdc("scan", "t", *node).json_lines]

    before = poll(first).json["position"]
    assert notes() == ["first"] * 20

    poll(second, code=ExitCode.OPERATOR)
    assert notes() == ["first"] * 20

    after = poll(second, "--adopt").json["position"]
    assert after["epoch"] == before["epoch"] + 1
    assert notes() == ["second"] * 10
    assert cdc("verify", "--json", "--source", second, *node).json["equal"]

    with closing(sqlite3.connect(second)) as db, db:
        db.execute("DELETE FROM t WHERE id = 3")
    # From now on the topic is this database's: it need not be said again, and changes nothing if it is.
    assert poll(second).json["position"]["epoch"] == after["epoch"]
    assert poll(second, "--adopt").json["position"]["epoch"] == after["epoch"]
    assert notes() == ["second"] * 9

    poll(first, code=ExitCode.OPERATOR)
    assert notes() == ["second"] * 9
    assert poll(first, "--adopt").json["position"]["epoch"] == after["epoch"] + 1
    assert notes() == ["first"] * 20
