"""Ten new nodes cost the source the one read of the snapshot: they need nothing but Kafka."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from consumers import Cache
from tests.support.bank import KEYS, make_bank
from tests.support.commands import cdc
from tests.support.rows import assert_same_rows, dumped_rows, source_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker

_NODES = 10
_AT_A_TIME = 3
_ROWS = 400


@pytest.mark.slow
def test_ten_nodes_start_from_one_snapshot_while_the_source_is_gone(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    kept = tmp_path / "source"
    kept.mkdir()
    source = kept / "bank.db"
    make_bank(source, _ROWS, random.Random(1))
    where = ("--source", source, "--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    published = cdc("poll", "--once", "--json", *where).json
    away = kept.rename(tmp_path / "away")

    def start(number: int) -> int:
        cache, node = tmp_path / f"node-{number}.redb", f"{topic}.node-{number}"
        return cdc("consume", "--once", "--json", "--cache", cache, "--node", node, *where).json["rows"]

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        loaded = list(pool.map(start, range(_NODES)))

    assert loaded == [published["rows"]] * _NODES
    lines = cdc("dump", "--cache", tmp_path / "node-0.redb").json_lines
    assert_same_rows(dumped_rows(lines), source_rows(away / "bank.db", KEYS), "node-0")
    first = held_by(tmp_path / "node-0.redb")
    assert all(held_by(tmp_path / f"node-{number}.redb") == first for number in range(1, _NODES))


def held_by(path: Path) -> object:
    """Everything that a node shows, and where it stands."""
    with Cache.open(path) as cache:
        return cache.position, {table: list(cache.scan(table)) for table in KEYS}
