"""Questions about topics and groups, and deleting old records: a thin shell over aiokafka's admin client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    NoError,
    for_code,
)

from schemas.kafka_access import ask_any, group_rights_of
from schemas.kafka_calls import kafka_errors
from schemas.kafka_clients import connections_of, start_client, stop_client
from schemas.kafka_rights import GroupsWithRights, MetadataWithRights, Right, rights_of
from schemas.topics import PARTITION

if TYPE_CHECKING:
    from collections.abc import Sequence

UNKNOWN_TOPIC: Final = 3

_PAUSE_SECONDS = 0.2


class TopicFacts(msgspec.Struct, frozen=True):
    """A topic as the broker describes it to us.

    ``error`` is Kafka's code, 0 where there is none; ``rights`` is None where the broker does not tell.
    ``replicas`` and ``in_sync`` count those of the first partition.
    """

    error: int
    partitions: int = 0
    replicas: int = 0
    in_sync: int = 0
    rights: frozenset[Right] | None = None

    @property
    def exists(self) -> bool:
        """Whether there is such a topic, as far as we may know."""
        return not self.error


class ClusterFacts(msgspec.Struct, frozen=True):
    """The brokers' number, what we may do with the cluster, and the topics that were asked for."""

    brokers: int
    rights: frozenset[Right] | None
    topics: dict[str, TopicFacts]


class Admin:
    """An open admin client. Use as ``async with``; every call is limited in time.

    Args:
        client_options: how to reach Kafka, as aiokafka's admin client takes it.
    """

    def __init__(self, client_options: dict[str, Any]) -> None:
        self._options = client_options

    async def __aenter__(self) -> Self:
        self._admin = AIOKafkaAdminClient(**self._options)
        try:
            await start_client(self._admin)
        except BaseException:
            await stop_client(self._admin)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await stop_client(self._admin)

    async def describe(self, topics: Sequence[str]) -> ClusterFacts:
        """Ask for topics, with what we may do with them. A broker before Kafka 2.3 does not tell rights."""
        client = connections_of(self._admin)
        async with kafka_errors("describing topics"):
            try:
                response = await ask_any(client, MetadataWithRights(list(topics)))
            except NotImplementedError:
                described = await self._admin.describe_topics(list(topics))
                return ClusterFacts(0, None, {topic["topic"]: _facts(topic) for topic in described})
        found = response.to_object()
        return ClusterFacts(
            len(found["brokers"]),
            rights_of(found["cluster_rights"]),
            {topic["topic"]: _facts(topic) for topic in found["topics"]},
        )

    async def group_rights(self, group: str) -> frozenset[Right] | None:
        """What we may do with a consumer group; None where the broker does not tell."""
        client = connections_of(self._admin)
        async with kafka_errors(f"describing group {group}"):
            try:
                node = await self._coordinator(group)
                response = await client.send(node, GroupsWithRights([group]))
            except GroupAuthorizationFailedError:
                return frozenset()
            except NotImplementedError:
                return None
        (described,) = response.to_object()["groups"]
        return group_rights_of(described)

    async def _coordinator(self, group: str) -> int:
        while True:
            try:
                return await self._admin.find_coordinator(group)
            except GroupCoordinatorNotAvailableError:
                # The first to ask has the topic of offsets made; `kafka_errors` limits the wait.
                await asyncio.sleep(_PAUSE_SECONDS)

    async def configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """The settings of topics by name, with the broker's defaults; one that is refused is missing."""
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        async with kafka_errors("asking for the topics' settings"):
            responses = await self._admin.describe_configs(resources)
        return {
            name: {entry[0]: entry[1] for entry in entries}
            for response in responses
            # Its SCHEMA has them; aiokafka's type of it does not say so.
            for code, _, _, name, entries in response.resources  # pyright: ignore[reportAttributeAccessIssue]
            if not code
        }

    async def delete_before(self, topic: str, offset: int) -> int:
        """Delete the records before an offset; return the first one that is left.

        Raises:
            KafkaUnavailableError, MissingRightError: as `kafka_errors` has it.
        """
        partition = TopicPartition(topic, PARTITION)
        async with kafka_errors(f"deleting old records of topic {topic}"):
            done = await self._admin.delete_records({partition: RecordsToDelete(before_offset=offset)})
        return done[partition]


def _facts(topic: dict[str, Any]) -> TopicFacts:
    if topic["error_code"] != NoError.errno:
        return TopicFacts(topic["error_code"])
    partitions = topic["partitions"]
    first = next(iter(sorted(partitions, key=lambda one: one["partition"])), None)
    return TopicFacts(
        error=0,
        partitions=len(partitions),
        replicas=0 if first is None else len(first["replicas"]),
        in_sync=0 if first is None else len(first["isr"]),
        rights=rights_of(topic["rights"]) if "rights" in topic else None,
    )


def reason_of(code: int) -> str:
    """Kafka's own words for an error code."""
    return str(for_code(code).description)
