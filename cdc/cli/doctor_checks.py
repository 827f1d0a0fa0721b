"""What `cdc doctor` makes of what it finds. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from cdc import limits
from cdc.cli.output import counted
from schemas.kafka_access import TOPIC_REFUSED
from schemas.kafka_admin import UNKNOWN_TOPIC, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.kafka_admin import TopicFacts
    from schemas.kafka_rights import Right

Level = Literal["ok", "warning", "failure"]


class Check(msgspec.Struct, frozen=True):
    """One line: which part, what was looked at, how it is, and what to do about it."""

    part: str
    check: str
    level: Level
    message: str
    remedy: str = ""


def clock_check(ahead_s: float) -> Check:
    """How far the source's clock is ahead of ours: lag in seconds is told by both."""
    if abs(ahead_s) <= limits.DOCTOR_CLOCK_SECONDS_MAX:
        return Check("source", "clock", "ok", f"{abs(ahead_s):.1f} s apart from ours")
    return Check(
        "source",
        "clock",
        "warning",
        f"the source's clock and ours are {abs(ahead_s):.0f} s apart",
        "set both by NTP: lag in seconds is wrong by as much",
    )


def log_check(rows: int, oldest_age_s: float | None, retention_s: float) -> Check:
    """How long the change log is: ``oldest_age_s`` is the age of its first row."""
    age = "" if oldest_age_s is None else f", the oldest {oldest_age_s / 3600:.1f} h old"
    message = f"{counted(rows, 'row')}{age}"
    too_old = oldest_age_s is not None and oldest_age_s > limits.DOCTOR_LOG_RETENTIONS_MAX * retention_s
    if too_old and rows > limits.DOCTOR_LOG_ROWS_MAX:
        remedy = "see which reader holds it (below), and start that one; then: cdc prune"
        return Check("source", "change log", "warning", message, remedy)
    return Check("source", "change log", "ok", message)


def lease_check(reader: str, behind: int, silent_s: float, *, live: bool) -> Check:
    """A reader of the log: ``behind`` is how many rows it holds, ``silent_s`` how long it said nothing."""
    name = f"reader {reader}"
    message = f"{counted(behind, 'row')} behind the log's end, last heard of {silent_s / 3600:.1f} h ago"
    if not live:
        return Check("source", name, "ok", f"{message}; it holds nothing any more")
    if silent_s > limits.DOCTOR_READER_SILENT_SECONDS:
        remedy = "start it again; if it is gone for good, its lease ends by itself"
        return Check("source", name, "warning", f"{message}: it keeps these rows from being pruned", remedy)
    return Check("source", name, "ok", message)


def topic_checks(
    name: str, facts: TopicFacts, config: Mapping[str, str] | None, needs: frozenset[Right]
) -> Iterator[Check]:
    """What is said of a topic of ours: that it is there, its partition and replicas, what we may do."""

    def check(what: str, level: Level, message: str, remedy: str = "") -> Check:
        return Check("kafka", f"{name}: {what}", level, message, remedy)

    if facts.error == UNKNOWN_TOPIC:
        yield check("exists", "warning", "not there", "start the poller, which makes it: cdc poll")
        return
    if facts.error == TOPIC_REFUSED:
        yield check("rights", "failure", "no right to Describe it", f"grant Describe on topic {name}")
        return
    if facts.error:
        yield check("exists", "failure", reason_of(facts.error), "see the broker's log")
        return
    if facts.partitions != 1:
        remedy = "make it anew with one partition: the order of changes depends on it"
        yield check("partitions", "failure", f"{facts.partitions} instead of 1", remedy)
    yield _replica_check(name, facts, config)
    if facts.rights is not None:
        missing = sorted(right.shown for right in needs - facts.rights)
        shown = ", ".join(sorted(right.shown for right in needs))
        if missing:
            remedy = f"grant {', '.join(missing)} on topic {name}"
            yield check("rights", "failure", f"no right to {', '.join(missing)}", remedy)
        else:
            yield check("rights", "ok", shown)


def _replica_check(name: str, facts: TopicFacts, config: Mapping[str, str] | None) -> Check:
    what = f"{name}: replicas"
    least = int((config or {}).get("min.insync.replicas", "1"))
    message = f"{facts.replicas}, {facts.in_sync} in sync, min.insync.replicas {least}"
    if facts.in_sync < least:
        return Check("kafka", what, "failure", message, "nothing can be written: bring brokers back")
    if facts.replicas <= 1:
        return Check("kafka", what, "warning", message, "with 3 replicas no single broker loses the topic")
    if least <= 1:
        return Check("kafka", what, "warning", message, "set min.insync.replicas = 2")
    if least == facts.replicas:
        return Check("kafka", what, "warning", message, "one broker away stops the poller: add a replica")
    if facts.in_sync < facts.replicas:
        return Check("kafka", what, "warning", message, "bring the missing broker back")
    return Check("kafka", what, "ok", message)


def config_checks(name: str, config: Mapping[str, str], *, snapshots: bool) -> Iterator[Check]:
    """The settings that correctness and retention depend on."""
    policy = config.get("cleanup.policy", "delete")
    remedy = f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config "
    if policy != "delete":
        message = f"cleanup.policy is {policy}: a compacted group is no group"
        yield Check("kafka", f"{name}: cleanup", "failure", message, f"{remedy}cleanup.policy=delete")
    if config.get("message.timestamp.type", "") != "LogAppendTime":
        message = (
            "message.timestamp.type is CreateTime: the source's clock would decide what retention deletes"
        )
        yield Check(
            "kafka", f"{name}: time", "warning", message, f"{remedy}message.timestamp.type=LogAppendTime"
        )
    size = int(config.get("max.message.bytes", "0"))
    if size < limits.DOCTOR_MESSAGE_BYTES_MIN:
        yield Check(
            "kafka",
            f"{name}: size",
            "failure",
            f"max.message.bytes is {size:,}",
            f"{remedy}max.message.bytes=1048588",
        )
    if snapshots and (config.get("retention.ms"), config.get("retention.bytes")) != ("-1", "-1"):
        message = "it has a retention of its own, which would delete the snapshot that nodes start from"
        yield Check(
            "kafka",
            f"{name}: retention",
            "failure",
            message,
            f"{remedy}retention.ms=-1,retention.bytes=-1",
        )


def snapshot_check(age_s: float | None, retention_s: float | None) -> Check:
    """The newest snapshot's age against how long the events behind it stay; None: there is none; no limit."""
    if age_s is None:
        return Check(
            "kafka",
            "snapshot",
            "failure",
            "none that a node could start from",
            "run: cdc poll, or cdc snapshot",
        )
    message = f"{age_s / 3600:.1f} h old"
    if retention_s is not None:
        message += f", events stay for {retention_s / 3600:.1f} h"
        if age_s > limits.DOCTOR_SNAPSHOT_RETENTIONS_MAX * retention_s:
            remedy = "a running poller publishes one in time: start cdc poll, or run cdc snapshot"
            return Check("kafka", "snapshot", "warning", message, remedy)
    return Check("kafka", "snapshot", "ok", message)


def room_check(free_bytes: int, cache_bytes: int) -> Check:
    """Room for a rebuild, which writes a whole new file beside the old one."""
    message = f"{free_bytes >> 20:,} MiB free, the cache has {cache_bytes >> 20:,} MiB"
    if free_bytes < limits.DOCTOR_FREE_BYTES_MIN:
        return Check("cache", "free space", "failure", message, "free disk space")
    if free_bytes < limits.DOCTOR_FREE_FILES_MIN * cache_bytes:
        return Check("cache", "free space", "warning", message, "a rebuild needs room for a second file")
    return Check("cache", "free space", "ok", message)


def age_check(age_s: float, max_staleness_s: float, *, alive: bool, fed_by_kafka: bool) -> Check:
    """How long ago the file was written; behind Kafka a node commits every few seconds, as pollers beat."""
    message = f"last written {age_s:.0f} s ago"
    if alive and fed_by_kafka and age_s > max_staleness_s:
        return Check("cache", "age", "warning", message, "see that a poller runs: cdc status")
    return Check("cache", "age", "ok", message)
