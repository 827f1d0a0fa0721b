"""Asking an open client what it may do, and saying which right is missing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
)

from schemas.errors import MissingRightError
from schemas.kafka_rights import GroupsWithRights, MetadataWithRights, Right, rights_of, topic_id_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiokafka.client import AIOKafkaClient
    from aiokafka.protocol.api import Request

TOPIC_REFUSED: Final = 29
"""Kafka's code for a topic that its asker may not even see."""

GROUP_REFUSED: Final = 30


def missing_right(rights: Iterable[Right], resource: str) -> MissingRightError:
    """Make the error that names operations and the resource."""
    names = ", ".join(sorted(right.shown for right in rights))
    return MissingRightError(
        f"Kafka's access control does not let us {names} {resource}",
        f"grant {names} on {resource} to this user (kafka-acls.sh)",
    )


async def ask_any(client: AIOKafkaClient, request: Request[Any], first: int | None = None) -> Any:
    """Send a request to whichever broker is there, ``first`` if it is; one of several may be away.

    Raises:
        KafkaError: none of them is ready.
    """
    first = client.get_random_node() if first is None else first
    others = [broker.nodeId for broker in client.cluster.brokers() if broker.nodeId != first]
    for node in (first, *others[:-1]) if others else ():
        with contextlib.suppress(NodeNotReadyError, KafkaConnectionError):
            return await client.send(node, request)
    return await client.send(others[-1] if others else first, request)


async def require_topic_rights(
    client: AIOKafkaClient, needs: Mapping[str, Iterable[Right]]
) -> dict[str, int | None]:
    """Check what may be done with topics; give the id of each, None where the broker tells none.

    Those that do not exist are passed over.

    Raises:
        MissingRightError: something is missing.
    """
    try:
        response = await ask_any(client, MetadataWithRights(list(needs)), _leader(client, needs))
    except NotImplementedError:
        # A broker before Kafka 2.3: what is missing shows when it is needed.
        return dict.fromkeys(needs)
    ids: dict[str, int | None] = {}
    for topic in response.to_object()["topics"]:
        name = topic["topic"]
        if topic["error_code"] == TOPIC_REFUSED:
            raise missing_right((Right.DESCRIBE,), f"topic {name}")
        lacking = set(needs[name]) - rights_of(topic["rights"])
        if lacking and not topic["error_code"]:
            raise missing_right(lacking, f"topic {name}")
        if not topic["error_code"]:
            ids[name] = topic_id_of(topic)
    return ids


def _leader(client: AIOKafkaClient, topics: Iterable[str]) -> int | None:
    """Who leads one of the topics, as far as the client knows.

    Others may not have heard yet that it was deleted, or made anew; this one serves what is read.
    """
    known = {broker.nodeId for broker in client.cluster.brokers()}
    leaders = (client.cluster.leader_for_partition(TopicPartition(topic, 0)) for topic in topics)
    return next((leader for leader in leaders if leader in known), None)


async def group_rights(client: AIOKafkaClient, group: str) -> frozenset[Right] | None:
    """What may be done with a consumer group; None where that cannot be told now."""
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        response = await client.send(node, GroupsWithRights([group]))
    except GroupAuthorizationFailedError:
        return frozenset()
    except (KafkaError, NotImplementedError):
        return None
    (described,) = response.to_object()["groups"]
    return group_rights_of(described)


def group_rights_of(described: Mapping[str, Any]) -> frozenset[Right] | None:
    """Read the answer for one group."""
    if described["error_code"] == GROUP_REFUSED:
        return frozenset()
    return None if described["error_code"] else rights_of(described["rights"])
