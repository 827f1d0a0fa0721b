"""Makes the topics where they are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError, for_code

from schemas.errors import KafkaUnavailableError, UsageError
from schemas.kafka_access import missing_right, require_topic_rights
from schemas.kafka_calls import kafka_errors
from schemas.kafka_clients import connections_of, start_client, stop_client
from schemas.kafka_rights import Right

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.topics import Topics

_log = structlog.get_logger("cdc.kafka")

_BROKERS_DEFAULT = -1
"""Lets the broker choose (its default.replication.factor)."""

_TOPIC_ALREADY_EXISTS = 36

_RIGHTS = (Right.DESCRIBE, Right.READ, Right.WRITE)
"""What a poller must be allowed to do with the topics that it writes."""

_EVENTS_CONFIG = {
    # Retention, not compaction: a hole stays visible, and no node can miss a tombstone. The broker's clock
    # decides what is old, not the source's.
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
}

_SNAPSHOTS_CONFIG = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "message.timestamp.type": "LogAppendTime",
}


async def ensure_topics(client_options: dict[str, Any], topics: Topics) -> None:
    """Creates the topics that do not exist yet, with one partition each.

    Raises:
        KafkaUnavailableError: Kafka does not answer.
        MissingRightError: we may not see, read, write or create one.
        UsageError: it refuses, with its reason.
    """
    admin = AIOKafkaAdminClient(**client_options)
    try:
        await start_client(admin)
        async with kafka_errors("listing topics"):
            existing = set(await admin.list_topics())
            # Before anything is made or written, so that what is missing is named.
            await require_topic_rights(
                connections_of(admin),
                dict.fromkeys((topics.events, topics.snapshots), _RIGHTS),
            )
        wanted = {
            topics.events: _EVENTS_CONFIG,
            topics.snapshots: _SNAPSHOTS_CONFIG,
            topics.quarantine: _EVENTS_CONFIG,
        }
        missing = [
            # aiokafka takes the broker's default replication only beside an (empty) replica assignment
            NewTopic(name, 1, _BROKERS_DEFAULT, replica_assignments={}, topic_configs=config)
            for name, config in wanted.items()
            if name not in existing
        ]
        if missing:
            await _create(admin, missing)
    finally:
        await stop_client(admin)


async def _create(admin: AIOKafkaAdminClient, missing: Iterable[NewTopic]) -> None:
    async with kafka_errors("creating topics"):
        response = await admin.create_topics(list(missing))
    errors: list[tuple[Any, ...]] = getattr(response, "topic_errors", [])
    for topic, code, *message in errors:
        if code == _TOPIC_ALREADY_EXISTS:
            continue  # another poller was faster
        if code in (TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno):
            raise missing_right((Right.CREATE,), f"topic {topic}")
        if code:
            error = for_code(code)
            reason = next((text for text in message if text), error.description)
            kind = KafkaUnavailableError if error.retriable else UsageError
            raise kind(
                f"Kafka refuses to create topic {topic}: {reason}",
                "create it with one partition, or grant the right to CREATE topics",
            )
        _log.info("created topic", topic=topic)
