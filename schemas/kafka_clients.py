"""The life of aiokafka's clients: connected to a broker that knows itself, closed without one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer.group_coordinator import GroupCoordinator

from schemas.kafka_calls import kafka_errors

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiokafka.client import AIOKafkaClient

STOP_SECONDS_MAX = 3.0
"""The longest wait for a client to close: it may wait for a broker that is away."""

START_PAUSE_SECONDS = 0.1
"""Between two questions to a broker that has just started."""


async def start_client(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
    """Connects an aiokafka client, and waits until it knows a broker to ask; an admin also a controller.

    A broker that has just started answers before it has heard of any broker, itself included. aiokafka 0.14
    calls itself connected then, and what it is asked next fails by an AttributeError or an AssertionError.

    Raises:
        KafkaUnavailableError: not within ``request_seconds``.
        UsageError: it refuses us, with its reason.
    """
    async with kafka_errors("connecting to Kafka"):
        await client.start()
        connections = connections_of(client)
        # Its ``create_topics`` asks the controller, which a cluster may not have for a while.
        needs_controller = isinstance(client, AIOKafkaAdminClient)
        while not connections.cluster.brokers() or (
            needs_controller and connections.cluster.controller is None
        ):
            await asyncio.sleep(START_PAUSE_SECONDS)
            await connections.force_metadata_update()


async def stop_client(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
    """Closes an aiokafka client, but does not wait for a broker that is away.

    While one is away, ``stop`` of aiokafka 0.14 may let out the CancelledError of a task of its own, which
    would end ours; and where one of its steps fails or takes long it leaves the ones behind it undone: a task
    that goes on fetching, connections that nobody closes.
    """
    stopping = client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop()
    if await _ends_well(stopping):
        return
    if isinstance(client, AIOKafkaConsumer):
        await _end_tasks(client)
    await _ends_well(connections_of(client).close())


def connections_of(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> AIOKafkaClient:
    """What a client reaches the brokers by, for requests that it has no method for."""
    if isinstance(client, AIOKafkaProducer):
        return client.client
    return client._client  # noqa: SLF001 -- no other way


async def _end_tasks(consumer: AIOKafkaConsumer) -> None:
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001 -- nothing else ends them
    if isinstance(coordinator, GroupCoordinator):
        await _ends_well(coordinator._stop_commit_offsets_refresh_task())  # noqa: SLF001
    if fetcher is not None:
        await _ends_well(fetcher.close())


async def _ends_well(closing: Coroutine[Any, Any, None]) -> bool:
    """Runs one step of a close for a limited time, apart from our own task; what it raises is no news."""
    task = asyncio.ensure_future(closing)
    try:
        await asyncio.wait([task], timeout=STOP_SECONDS_MAX)
    finally:
        task.cancel()
    if not task.done() or task.cancelled():
        return False
    error = task.exception()
    if error is not None and not isinstance(error, (OSError, RuntimeError)):
        raise error
    return error is None  # nothing of ours is lost: positions live in the topic and in redb
