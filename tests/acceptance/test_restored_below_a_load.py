"""A cache was loaded from the source while the poller slept: its rows are ahead of what the topic says."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import GAVE_UP, Running, cdc
from tests.support.conditions import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker


class Site:
    """A source, a topic that ends below what the cache was loaded at, and a backup from before that load."""

    def __init__(self, folder: Path, kafka: KafkaBroker, topic: str) -> None:
        self.source, self.cache, self.backup = folder / "app.db", folder / "node.redb", folder / "backup.db"
        # In rollback-journal mode (SQLite's default) the file is all there is, and can be locked.
        self.write("CREATE TABLE a (id INTEGER PRIMARY KEY, v); INSERT INTO a VALUES (1, 'old')")
        self.kafka = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
        self.at_source = ("--source", f"file:{self.source}")
        self.node = ("--cache", self.cache, "--node", "node")
        self.poll()
        shutil.copy(self.source, self.backup)
        self.write("INSERT INTO a VALUES (2, 'lost'), (3, 'too'); UPDATE a SET v = 'b' WHERE id = 1")
        cdc("sync", *self.at_source, *self.node)

    def write(self, sql: str) -> None:
        with closing(sqlite3.connect(self.source)) as db:
            db.executescript(sql)

    def poll(self) -> None:
        cdc("poll", "--once", *self.at_source, *self.kafka)

    def consume(self, *arguments: str) -> dict[str, int]:
        return cdc("consume", "--once", "--json", *self.node, *self.kafka, *arguments).json

    def cached(self) -> list[int]:
        return [line["key"][0] for line in cdc("scan", "a", "--cache", self.cache).json_lines]

    def is_equal(self) -> bool:
        return cdc("verify", "--json", *self.at_source, *self.node).json["equal"]


@pytest.fixture
def site(kafka: KafkaBroker, topic: str, tmp_path: Path) -> Site:
    return Site(tmp_path, kafka, topic)


def publish_past_the_load(site: Site) -> None:
    site.write("".join(f"INSERT INTO a VALUES ({n}, 'new');" for n in range(10, 20)))
    site.poll()


def test_a_node_that_was_loaded_from_the_source_reads_on_in_the_middle_of_a_group(site: Site) -> None:
    publish_past_the_load(site)
    done = site.consume(*site.at_source)
    assert (done["rows"], done["events"]) == (0, 13)
    assert site.is_equal()


def test_a_backup_restored_to_below_the_load_and_above_what_was_published_is_noticed(site: Site) -> None:
    shutil.copy(site.backup, site.source)
    publish_past_the_load(site)
    assert site.consume(*site.at_source)["rows"] == 1
    assert site.is_equal()


def test_it_is_noticed_also_while_the_log_ends_below_what_was_lost(site: Site) -> None:
    shutil.copy(site.backup, site.source)
    site.write("INSERT INTO a VALUES (10, 'new')")
    site.poll()
    assert site.consume(*site.at_source)["rows"] == 1
    assert site.is_equal()
    assert site.consume(*site.at_source)["rows"] == 0


def test_a_node_ahead_of_a_late_poller_is_not_loaded_again(site: Site) -> None:
    assert site.consume(*site.at_source)["rows"] == 0
    publish_past_the_load(site)
    assert site.consume(*site.at_source)["rows"] == 0
    assert site.is_equal()


@pytest.mark.parametrize("restored", [False, True])
def test_a_node_with_nobody_to_ask_loads_a_snapshot_once(site: Site, *, restored: bool) -> None:
    if restored:
        shutil.copy(site.backup, site.source)
    publish_past_the_load(site)
    assert site.consume()["rows"] == 1
    assert site.is_equal()
    site.write("DELETE FROM a WHERE id = 1")
    site.poll()
    assert site.consume()["rows"] == 0
    assert site.is_equal()


def test_a_source_that_cannot_be_asked_is_waited_for(site: Site) -> None:
    publish_past_the_load(site)
    before = cdc("dump", "--cache", site.cache).stdout
    with closing(sqlite3.connect(site.source, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        flags = (*site.node, *site.kafka, *site.at_source, "--timeout", "1s")
        gave_up = cdc("consume", "--once", *flags, code=GAVE_UP)
        assert "cannot ask" in gave_up.stderr
        assert cdc("dump", "--cache", site.cache).stdout == before
    assert site.consume(*site.at_source)["rows"] == 0
    assert site.is_equal()


def test_a_running_node_with_nobody_to_ask_learns_it_from_a_poller_that_looked_at_the_source_since(
    site: Site, tmp_path: Path
) -> None:
    shutil.copy(site.backup, site.source)
    site.write("INSERT INTO a VALUES (10, 'new')")
    site.poll()
    with Running(tmp_path, "consume", *site.node, *site.kafka) as node:
        # What the topic holds already could be of a poller that is late.
        node.wait_for("the cache was not filled by this topic: reading from further back")
        assert site.cached() == [1, 2, 3]
        with Running(tmp_path, "poll", *site.at_source, *site.kafka):
            wait_until(lambda: site.cached() == [1, 10], 60.0, "the node has loaded what the topic says")
    assert site.is_equal()
