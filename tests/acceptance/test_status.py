"""cdc status where a topic stands between source and cache."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.support.bank import make_bank
from tests.support.commands import cdc
from tests.support.deployment import Deployment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker


def test_what_the_poller_has_not_published_counts_as_lag(kafka: KafkaBroker, topic: str, tmp_path: Path):
    source = tmp_path / "bank.db"
    make_bank(source, 100, random.Random(1))
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment:
        cache = deployment.cache("node-a")
        reach = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
        where = ("--source", source, "--cache", cache, "--node", "node-a", *reach)
        cdc(*deployment.arguments("poller"), "--once")
        cdc(*deployment.arguments("node-a"), "--once")
        level = cdc("status", "--json", *where).json
        assert level["healthy"], level
        with closing(sqlite3.connect(source)) as connection, connection:
            connection.execute("UPDATE accounts SET note = 'x' WHERE id < 5")
        behind = cdc("status", "--json", *where).json
        assert not behind["healthy"]
        assert behind["cache"]["lag_events"] == 5
        cdc(*deployment.arguments("poller"), "--once")
        unread = cdc("status", "--json", *where).json
        assert not unread["healthy"]
        assert unread["cache"]["lag_events"] >= 5
        cdc(*deployment.arguments("node-a"), "--once")
        assert cdc("status", "--json", *where).json["healthy"]
        # A node need not know the source.
        assert cdc("status", "--json", "--cache", cache, "--node", "node-a", *reach).json["healthy"]
