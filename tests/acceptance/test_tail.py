"""cdc tail beside a poller that is killed again and again: every change once, in whole groups."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from tests.support.bank import KEYS, Writers, make_bank
from tests.support.commands import FAILED, cdc
from tests.support.deployment import POLLER, Deployment
from tests.support.rows import assert_same_rows, source_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker
    from tests.support.rows import Tables


def test_the_lines_of_a_topic_lead_from_its_snapshot_to_the_source(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source = tmp_path / "bank.db"
    make_bank(source, 40, random.Random(1))
    where = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    cdc("tail", "--no-follow", *where, code=FAILED)
    replica = source_rows(source, KEYS)
    with Deployment(tmp_path, source, kafka.bootstrap, topic) as deployment:
        deployment.start(POLLER)
        deployment.parts[POLLER].wait_for("published a snapshot")
        with Writers(source, 3) as writers:
            for _ in range(2):
                writers.wait_for(60)
                deployment.parts[POLLER].kill()
                deployment.start(POLLER)
            writers.wait_for(60)
        deployment.stop()
    cdc("poll", "--once", "--source", source, *where)

    lines = cdc("tail", "--from-beginning", "--no-follow", *where).json_lines
    offsets = [line["kafka"]["offset"] for line in lines]
    assert offsets == sorted(set(offsets))
    check_groups(lines)
    replay(replica, lines)
    assert_same_rows(replica, source_rows(source, KEYS), "what tail printed")

    assert cdc("tail", "--from-beginning", "--limit", "7", *where).json_lines == lines[:7]
    everything = cdc("tail", "--from-beginning", "--no-follow", "--all", *where).json_lines
    assert [line for line in everything if line["op"] not in "hse"] == lines
    assert everything[0]["op"] == "s"


def check_groups(lines: list[Any]) -> None:
    """Positions rise from group to group, and only there."""
    last = 0
    previous = None
    for line in lines:
        position = line["position"]["change_id"]
        if previous is None or previous["end"]:
            assert position > last
        else:
            assert position == last
        last, previous = position, line
    assert previous is not None
    assert previous["end"]


def replay(tables: Tables, lines: list[Any]) -> None:
    """Do to rows what the lines say."""
    for line in lines:
        key = json.dumps(line["key"])
        if line["op"] == "d":
            tables[line["table"]].pop(key, None)
        else:
            tables[line["table"]][key] = json.dumps(line["after"], sort_keys=True)
