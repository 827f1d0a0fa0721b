"""A load that is killed or stopped half-way shows nothing, and the next start cleans up and ends equal."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.bank import make_bank
from tests.support.commands import USAGE, cdc
from tests.support.conditions import wait_until
from tests.support.deployment import EMBEDDED, Deployment
from tests.support.topics import stored_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

_ROWS = 40_000
_LIMIT_S = 30.0
_STARTED_BYTES = 3_000_000
"""A new cache file that has grown past this holds rows; an empty one is smaller."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "bank.db"
    make_bank(path, _ROWS, random.Random(1))
    return path


def make_heavy(source: Path) -> None:
    """Add some megabytes: the rows of a snapshot alone are loaded before anybody can see it begin."""
    generator = random.Random(2)
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.executemany(
            "INSERT INTO documents (id, version, body) VALUES (?, 0, ?)",
            [
                (f"{side}-{n:07}", generator.randbytes(300_000))
                for side in ("left", "right")
                for n in range(80)
            ],
        )


def loading_bytes(cache: Path) -> int:
    """The size of the file that is on its way to become the cache; 0 where there is none."""
    return max((file.stat().st_size for file in cache.parent.glob(f"{cache.name}.*")), default=0)


def under_way(deployment: Deployment, cache: Path) -> bool:
    deployment.check_alive()
    return loading_bytes(cache) > _STARTED_BYTES or cache.exists()


def start_and_suspend_loading(deployment: Deployment, node: str) -> None:
    """Start a node, and suspend it while its first load is under way."""
    cache = deployment.cache(node)
    deployment.start(node)
    wait_until(lambda: under_way(deployment, cache), _LIMIT_S, f"{node} loads")
    deployment.parts[node].suspend()
    assert not cache.exists(), "too fast: the load was over before it could be interrupted"


def assert_nothing_is_shown(deployment: Deployment, node: str) -> None:
    error = cdc("dump", "--cache", deployment.cache(node), code=USAGE).error
    assert "there is no cache file" in error


def assert_no_leftovers(cache: Path) -> None:
    names = {path.name for path in cache.parent.glob(f"{cache.name}*")}
    assert names <= {cache.name, f"{cache.name}.lock"}


def test_an_embedded_node_killed_in_its_first_load_starts_again_and_is_equal(source: Path, tmp_path: Path):
    with Deployment(tmp_path, source, "", "") as deployment:
        for _ in range(2):
            start_and_suspend_loading(deployment, EMBEDDED)
            assert_nothing_is_shown(deployment, EMBEDDED)
            deployment.parts[EMBEDDED].kill()
            assert_nothing_is_shown(deployment, EMBEDDED)
        cdc("sync", "--source", source, "--cache", deployment.cache(EMBEDDED))
        assert_no_leftovers(deployment.cache(EMBEDDED))
        deployment.assert_equal((EMBEDDED,))


def test_a_signal_ends_an_embedded_node_in_its_first_load(source: Path, tmp_path: Path):
    with Deployment(tmp_path, source, "", "") as deployment:
        start_and_suspend_loading(deployment, EMBEDDED)
        deployment.parts[EMBEDDED].resume()
        deployment.parts[EMBEDDED].stop()
        cdc("sync", "--source", source, "--cache", deployment.cache(EMBEDDED))
        assert_no_leftovers(deployment.cache(EMBEDDED))
        deployment.assert_equal((EMBEDDED,))


def test_a_load_leaves_that_of_a_neighbour_alone_whose_name_begins_with_its_own(source: Path, tmp_path: Path):
    with Deployment(tmp_path, source, "", "") as deployment:
        start_and_suspend_loading(deployment, EMBEDDED)
        neighbour = deployment.cache(EMBEDDED).with_suffix("")
        cdc("sync", "--source", source, "--cache", neighbour)
        deployment.parts[EMBEDDED].resume()
        deployment.wait_until_level((EMBEDDED,))
        deployment.stop()


@pytest.mark.slow
def test_poller_and_node_killed_in_the_first_snapshot_start_again_and_the_node_is_equal(
    kafka: KafkaBroker, topic: str, source: Path, tmp_path: Path
):
    make_heavy(source)
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment:
        deployment.start("poller", "node-b")
        snapshots = f"{topic}.snapshots"
        wait_until(lambda: stored_bytes(kafka, snapshots) > 0, _LIMIT_S, "a chunk of the snapshot lands")
        deployment.parts["poller"].kill()
        assert not deployment.parts["poller"].said("published a snapshot")
        assert_nothing_is_shown(deployment, "node-b")

        deployment.start("poller")
        deployment.parts["poller"].wait_for("published a snapshot")
        start_and_suspend_loading(deployment, "node-a")
        assert_nothing_is_shown(deployment, "node-a")
        deployment.parts["node-a"].kill()
        assert_nothing_is_shown(deployment, "node-a")

        deployment.start("node-a")
        deployment.wait_until_level(("node-a", "node-b"))
        deployment.stop()
        assert_no_leftovers(deployment.cache("node-a"))
        deployment.assert_equal(("node-a", "node-b"))


def test_a_database_without_tables_goes_through_kafka(kafka: KafkaBroker, topic: str, tmp_path: Path):
    source, cache = tmp_path / "empty.db", tmp_path / "empty.redb"
    sqlite3.connect(source).execute("PRAGMA user_version = 1").connection.close()
    where = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    cdc("poll", "--once", "--source", source, *where)
    assert cdc("consume", "--once", "--json", "--cache", cache, *where).json["rows"] == 0
    assert cdc("verify", "--json", "--source", source, "--cache", cache).json["equal"]


def test_a_cache_that_sync_filled_is_fed_by_kafka_from_then_on_without_a_warning(
    source: Path, kafka: KafkaBroker, topic: str, tmp_path: Path
):
    where = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    cache = ("--cache", tmp_path / "cache.redb", "--node", topic)
    cdc("poll", "--once", "--source", source, *where)
    cdc("sync", "--source", source, *cache)
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("UPDATE accounts SET note = 'later' WHERE id = 1")
        connection.commit()
    cdc("poll", "--once", "--source", source, *where)
    consumed = cdc("consume", "--once", "--json", *cache, *where)
    assert (consumed.json["rows"], consumed.json["events"]) == (0, 1)
    assert '"warning"' not in consumed.stderr
    assert cdc("verify", "--json", "--source", source, *cache).json["equal"]
