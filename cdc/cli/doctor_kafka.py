"""What `cdc doctor` looks at in Kafka."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cdc.cli.doctor_checks import Check, config_checks, snapshot_check, topic_checks
from cdc.cli.output import counted
from cdc.cli.parts import kafka_parts
from schemas.errors import BadEventError, CdcError
from schemas.kafka_admin import Admin
from schemas.kafka_rights import Right
from schemas.manifests import newest_snapshot
from schemas.snapshot import decode_chunk
from schemas.topics import TopicReader

if TYPE_CHECKING:
    from cdc.config import Config
    from schemas.kafka_properties import KafkaClients
    from schemas.topics import Topics

_READS = frozenset((Right.DESCRIBE, Right.READ))
_WRITES = frozenset((Right.DESCRIBE, Right.WRITE))


async def kafka_checks(config: Config) -> list[Check]:
    """Everything about the broker and our topics; none where no Kafka is configured.

    Raises:
        UsageError: a property is not allowed, or a file that it names cannot be read.
    """
    if config.kafka is None:
        return []
    clients, topics = kafka_parts(config)
    # Made here, so that a wrong TLS file is told as bad configuration.
    options = clients.admin()
    try:
        async with Admin(options) as admin:
            return await _with_admin(admin, config, clients, topics)
    except CdcError as error:
        return [Check("kafka", "reachable", "failure", error.message, error.remedy)]


async def _with_admin(admin: Admin, config: Config, clients: KafkaClients, topics: Topics) -> list[Check]:
    polls = config.source is not None
    needs = {
        topics.events: _READS | _WRITES if polls else _READS,
        topics.snapshots: _READS | _WRITES if polls else _READS,
        topics.quarantine: _WRITES,
    }
    cluster = await admin.describe(list(needs))
    checks = [Check("kafka", "reachable", "ok", counted(cluster.brokers, "broker"))]
    there = [name for name, facts in cluster.topics.items() if facts.exists]
    configs = await admin.configs(there) if there else {}
    for name, rights in needs.items():
        facts = cluster.topics[name]
        checks += topic_checks(name, facts, configs.get(name), rights)
        if not facts.exists:
            missing = cluster.rights is not None and Right.CREATE not in cluster.rights
            if missing and polls:
                remedy = f"grant Create on the cluster or on topic {name}, or create it with one partition"
                checks.append(
                    Check("kafka", f"{name}: rights", "warning", "no right to Create topics", remedy)
                )
        elif name in configs:
            checks += config_checks(name, configs[name], snapshots=name == topics.snapshots)
        else:
            remedy = f"grant DescribeConfigs on topic {name}"
            checks.append(Check("kafka", f"{name}: settings", "warning", "not shown to us", remedy))
    snapshot_rights = cluster.topics[topics.snapshots].rights
    if polls and snapshot_rights is not None and Right.DELETE not in snapshot_rights:
        remedy = f"grant Delete on topic {topics.snapshots}"
        message = "no right to Delete records: old snapshots stay"
        checks.append(Check("kafka", f"{topics.snapshots}: clean-up", "warning", message, remedy))
    if cluster.topics[topics.events].exists and cluster.topics[topics.snapshots].exists:
        checks.append(await _snapshot(clients, topics, configs.get(topics.events, {}).get("retention.ms")))
    checks += await _group(admin, config.cache.node)
    return checks


async def _snapshot(clients: KafkaClients, topics: Topics, retention_ms: str | None) -> Check:
    try:
        async with TopicReader(clients.consumer()) as reader:
            found = await newest_snapshot(reader, topics)
            if found is None:
                return snapshot_check(None, None)
            announced = await reader.record(topics.events, found.announcement_offset)
            chunk = await reader.record(topics.snapshots, found.announcement.first_offset)
            decode_chunk((chunk and chunk.value) or b"")
    except BadEventError as error:
        return Check("kafka", "snapshot", "failure", f"not readable: {error.message}", "run: cdc snapshot")
    except CdcError as error:
        return Check("kafka", "snapshot", "failure", error.message, error.remedy)
    age_s = 0.0 if announced is None else max(0.0, time.time() - announced.timestamp / 1000)
    no_limit = retention_ms is None or int(retention_ms) < 0
    return snapshot_check(age_s, None if no_limit else int(retention_ms or 0) / 1000)


async def _group(admin: Admin, group: str) -> list[Check]:
    """The group shows lag to people's tools; nothing of ours depends on it."""
    try:
        rights = await admin.group_rights(group)
    except CdcError as error:
        return [Check("kafka", f"group {group}", "warning", error.message, error.remedy)]
    if rights is None:
        return []
    if Right.READ in rights:
        return [Check("kafka", f"group {group}", "ok", "Read")]
    remedy = f"grant Read on group {group}, to see its lag in Kafka's tools"
    return [Check("kafka", f"group {group}", "warning", "no right to commit offsets", remedy)]
