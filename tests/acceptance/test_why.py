"""cdc why with everything at hand: the event and the offset that wrote a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.commands import NO_ROW, cdc
from tests.support.database import execute

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import KafkaBroker


def test_a_row_is_followed_from_the_source_over_the_topic_into_the_cache(
    kafka: KafkaBroker, topic: str, tmp_path: Path
):
    source, cache = tmp_path / "app.db", tmp_path / "cache.redb"
    broker = ("--bootstrap-servers", kafka.bootstrap, "--topic", topic)
    poll = ("poll", "--once", "--source", source, *broker)
    consume = ("consume", "--once", "--cache", cache, *broker)

    def why(key: int, code: int = 0) -> Any:
        where = ("--source", source, "--cache", cache, *broker)
        return cdc("why", "t", str(key), "--json", *where, code=code).json

    execute(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    cdc(*poll)
    execute(source, "UPDATE t SET v = 'x' WHERE id = 1", "INSERT INTO t VALUES (3, 'c')")
    cdc(*poll)
    cdc(*consume)
    wrote = why(1)["event"]
    lines = cdc("tail", "--from-beginning", "--no-follow", "--all", *broker).json_lines
    by_offset = {line["kafka"]["offset"]: line for line in lines}
    line = by_offset[wrote["kafka"]["offset"]]
    assert (line["op"], line["key"], line["after"]) == (wrote["op"], [1], {"id": 1, "v": "x"})

    # What came with a snapshot was written by its announcement.
    assert why(2)["event"]["op"] == "s"

    # Published and not applied, committed and not published: both are told apart from what is cached.
    execute(source, "UPDATE t SET v = 'y' WHERE id = 1")
    cdc(*poll)
    execute(source, "DELETE FROM t WHERE id = 1")
    document = why(1)
    assert document["event"] == wrote
    assert [event["op"] for event in document["newer_events"]] == ["u"]
    assert [touch["op"] for touch in document["pending"]] == ["u", "d"]
    assert document["cache"]["row"] == {"id": 1, "v": "x"}
    assert document["source"]["row"] is None

    cdc(*poll)
    cdc(*consume)
    assert why(1)["event"]["op"] == "d"
    assert why(99, code=NO_ROW)["known"] is False
