"""Tells the quarantine topic what a node could not apply, for people: the marks in the cache count."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from aiokafka import AIOKafkaProducer

from consumers.quarantine import Marked, mark_document
from schemas.errors import KafkaUnavailableError, UsageError
from schemas.kafka_calls import kafka_errors
from schemas.kafka_clients import start_client, stop_client
from schemas.values import value_to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.marks import QuarantineMark

_FINISH_SECONDS = 2.0
"""How long a node that ends waits for what it tells."""

_log = structlog.get_logger("consumers.quarantine")


class QuarantineTopic:
    """Writes entries in the background, best effort: applying never waits for it.

    Args:
        producer_options: makes what aiokafka's producer takes.
        topic: where to.
        node: the node's name.
    """

    def __init__(self, producer_options: Callable[[], dict[str, Any]], topic: str, node: str) -> None:
        self._producer_options = producer_options
        self._topic = topic
        self._node = node
        self._telling: asyncio.Task[None] | None = None

    def tell(self, unsaid: list[tuple[bytes, QuarantineMark]]) -> None:
        """Take what is to be told out of ``unsaid``, unless an earlier batch is still under way."""
        if unsaid and (self._telling is None or self._telling.done()):
            entries = unsaid.copy()
            unsaid.clear()
            self._telling = asyncio.create_task(self._tell(entries))

    async def finish(self) -> None:
        """Wait for what is under way; every step of it has a limit."""
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=_FINISH_SECONDS)

    async def _tell(self, entries: list[tuple[bytes, QuarantineMark]]) -> None:
        producer = AIOKafkaProducer(**self._producer_options(), enable_idempotence=True, acks="all")
        try:
            await start_client(producer)
            for name, mark in entries:
                async with kafka_errors(f"writing to topic {self._topic}"):
                    await producer.send_and_wait(self._topic, _entry(self._node, name, mark), key=name)
        except (KafkaUnavailableError, UsageError) as error:
            _log.warning(
                "the quarantine topic does not know what this node could not apply",
                reason=error.message,
                rows=len(entries),
            )
        finally:
            await stop_client(producer)


def _entry(node: str, name: bytes, mark: QuarantineMark) -> bytes:
    """What ``cdc quarantine list`` prints, the node's name, and the record as it was."""
    document = mark_document(Marked(name, mark))
    event = value_to_json(mark.event) if mark.event else None
    return msgspec.json.encode({"node": node, **document, "event": event})
