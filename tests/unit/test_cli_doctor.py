"""cdc doctor: what it makes of what it finds, and on real files without a broker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from cdc.cli.doctor_checks import (
    Check,
    age_check,
    clock_check,
    config_checks,
    lease_check,
    log_check,
    room_check,
    snapshot_check,
    topic_checks,
)
from schemas.kafka_access import TOPIC_REFUSED
from schemas.kafka_admin import UNKNOWN_TOPIC, TopicFacts
from schemas.kafka_rights import Right
from tests.support.caches import living_writer
from tests.support.database import execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.command import Ended

    Cdc = Callable[..., Ended]

HOUR = 3600.0
GOOD = {
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": "1048588",
    "min.insync.replicas": "2",
    "retention.ms": "-1",
    "retention.bytes": "-1",
}
READS = frozenset((Right.READ, Right.DESCRIBE))


def levels(checks: Any) -> list[str]:
    return [check.level for check in checks]


@pytest.mark.parametrize(
    ("check", "level"),
    [
        (clock_check(1.0), "ok"),
        (clock_check(-60.0), "warning"),
        (log_check(50_000, 1 * HOUR, 24 * HOUR), "ok"),
        (log_check(50_000, 100 * HOUR, 24 * HOUR), "warning"),
        (log_check(1, 1000 * HOUR, 24 * HOUR), "ok"),
        (log_check(0, None, 24 * HOUR), "ok"),
        (lease_check("topic cdc.app", 9, 60.0, live=True), "ok"),
        (lease_check("topic cdc.app", 9, 30 * HOUR, live=True), "warning"),
        (lease_check("topic cdc.app", 9, 900 * HOUR, live=False), "ok"),
        (snapshot_check(None, 24 * HOUR), "failure"),
        (snapshot_check(10 * HOUR, 24 * HOUR), "ok"),
        (snapshot_check(23 * HOUR, 24 * HOUR), "warning"),
        (snapshot_check(1000 * HOUR, None), "ok"),
        (room_check(1 << 40, 1 << 30), "ok"),
        (room_check(1 << 30, 1 << 30), "warning"),
        (room_check(1 << 20, 0), "failure"),
        (age_check(100, 30, alive=True, fed_by_kafka=True), "warning"),
        (age_check(100, 30, alive=False, fed_by_kafka=True), "ok"),
        (age_check(100, 30, alive=True, fed_by_kafka=False), "ok"),
    ],
)
def test_each_finding_has_its_level(check: Check, level: str):
    assert check.level == level
    assert bool(check.remedy) == (level != "ok")


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (TopicFacts(0, 1, 3, 3, READS), ["ok", "ok"]),
        (TopicFacts(0, 1, 3, 3, None), ["ok"]),
        (TopicFacts(0, 1, 3, 3, frozenset((Right.DESCRIBE,))), ["ok", "failure"]),
        (TopicFacts(0, 2, 3, 3, READS), ["failure", "ok", "ok"]),
        (TopicFacts(0, 1, 3, 2, READS), ["warning", "ok"]),
        (TopicFacts(0, 1, 2, 2, READS), ["warning", "ok"]),
        (TopicFacts(0, 1, 3, 1, READS), ["failure", "ok"]),
        (TopicFacts(UNKNOWN_TOPIC), ["warning"]),
        (TopicFacts(TOPIC_REFUSED), ["failure"]),
        (TopicFacts(-1), ["failure"]),
    ],
)
def test_a_topic_is_judged_by_partition_replicas_and_rights(facts: TopicFacts, found: list[str]):
    assert levels(topic_checks("t", facts, GOOD, READS)) == found


def test_a_single_replica_is_a_warning():
    facts = TopicFacts(0, 1, 1, 1, READS)
    assert levels(topic_checks("t", facts, {"min.insync.replicas": "1"}, READS)) == ["warning", "ok"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"cleanup.policy": "compact,delete"}, ["failure"]),
        ({"message.timestamp.type": "CreateTime"}, ["warning"]),
        ({"max.message.bytes": "1000"}, ["failure"]),
        ({"retention.ms": "604800000"}, ["failure"]),
    ],
)
def test_settings_of_topics_are_judged(change: dict[str, str], found: list[str]):
    assert levels(config_checks("t", GOOD | change, snapshots=True)) == found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    execute(
        path, "PRAGMA journal_mode=WAL", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)"
    )
    return path


def doctor(cdc: Cdc, code: int = 0) -> dict[tuple[str, str], str]:
    ended = cdc("doctor", "--source", "app.db", "--json")
    assert ended.code == code, ended.err
    assert ended.json()["ok"] == (code == 0)
    return {(check["part"], check["check"]): check["level"] for check in ended.json()["checks"]}


def test_a_healthy_embedded_node_has_nothing_but_ok(cdc: Cdc, source: Path):
    assert source.exists()
    assert doctor(cdc)[("source", "capture")] == "warning"
    assert cdc("sync", "--source", "app.db").code == 0
    found = doctor(cdc)
    assert set(found.values()) == {"ok"}
    # Who holds the log.
    assert [check for part, check in found if check.startswith("reader cache ")]


def test_a_source_that_is_none_and_a_journal_that_is_not_wal_are_told(cdc: Cdc, source: Path):
    execute(source, "PRAGMA journal_mode=DELETE", "CREATE TABLE keyless (v)")
    levels_found = doctor(cdc)
    assert levels_found[("source", "journal")] == "warning"
    assert cdc("install", "--source", "app.db").code == 0
    assert doctor(cdc)[("source", 'table "keyless"')] == "warning"
    source.write_bytes(b"no database" * 1000)
    assert doctor(cdc, code=1)[("source", "reachable")] == "failure"


def test_capture_that_the_schema_has_outgrown_is_a_failure(cdc: Cdc, source: Path):
    assert cdc("install", "--source", "app.db").code == 0
    execute(source, "CREATE TABLE u (id INTEGER PRIMARY KEY)")
    assert doctor(cdc, code=1)[("source", "capture")] == "failure"


def test_a_damaged_cache_is_a_failure_with_its_remedy(cdc: Cdc, source: Path, tmp_path: Path):
    assert source.exists()
    assert cdc("sync", "--source", "app.db").code == 0
    cache = tmp_path / "cache.redb"
    cache.write_bytes(cache.read_bytes()[: 8 * 1024])
    ended = cdc("doctor", "--source", "app.db")
    assert ended.code == 1
    assert "FAILURE" in ended.out
    assert "cdc rebuild" in ended.out
    assert ended.err.splitlines()[-1].startswith("error: 1 of ")


def test_a_folder_that_may_not_be_written_is_a_failure(cdc: Cdc, source: Path, tmp_path: Path):
    assert source.exists()
    ended = cdc("doctor", "--source", "app.db", "--cache", str(tmp_path / "nowhere" / "c.redb"), "--json")
    assert ended.code == 1
    assert next(check["check"] for check in ended.json()["checks"] if check["level"] == "failure") == "folder"


def test_it_looks_at_the_rows_of_a_cache_that_a_node_writes(cdc: Cdc, source: Path, tmp_path: Path):
    assert source.exists()
    assert cdc("sync", "--source", "app.db").code == 0
    with living_writer(tmp_path / "cache.redb"):
        assert doctor(cdc)[("cache", "integrity")] == "ok"


def test_a_broker_that_is_away_is_a_failure_and_a_wrong_property_bad_configuration(
    cdc: Cdc, source: Path, monkeypatch: pytest.MonkeyPatch
):
    assert source.exists()
    monkeypatch.setitem(os.environ, "CDC_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setitem(os.environ, "CDC_TOPIC", "cdc.app")
    ended = cdc("doctor", "--source", "app.db", "--json", "--timeout", "2s")
    assert ended.code == 1
    assert [check["part"] for check in ended.json()["checks"] if check["level"] == "failure"] == ["kafka"]
