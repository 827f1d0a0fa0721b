"""The life of a node fed by Kafka: following, and coming back after failures."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog

from consumers import limits
from consumers.node import Consumed, KafkaNode
from schemas.errors import (
    CacheError,
    CdcError,
    GaveUpError,
    KafkaUnavailableError,
    MissingRightError,
    SourceUnavailableError,
    UnsupportedVersionError,
    UsageError,
    may_heal,
)
from schemas.kafka_calls import REQUEST_SECONDS_MAX, request_seconds
from schemas.retrying import Backoff, pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.live import Live
    from consumers.meta import Checkpoint
    from consumers.quarantine_topic import QuarantineTopic
    from consumers.source_access import SourceAccess
    from consumers.writer import CacheWriter
    from schemas.topics import Topics

_log = structlog.get_logger("consumers.node")


async def follow_once(
    open_writer: Callable[[], CacheWriter],
    client_options: Callable[[], dict[str, Any]],
    topics: Topics,
    stop: asyncio.Event,
    timeout_seconds: float,
    *,
    rebuild: bool = False,
    source: SourceAccess | None = None,
    quarantine: QuarantineTopic | None = None,
) -> tuple[Consumed, Checkpoint | None]:
    """Applies what the topic holds now, durably.

    Args:
        open_writer: opens the cache path.
        client_options: makes what aiokafka's consumer takes.
        topics: where the events are.
        stop: ends it in good order.
        timeout_seconds: how long to go without reaching Kafka, or a source that has to be asked.
        rebuild: load the newest snapshot first, whatever the cache holds.
        source: the source, where the node has access to it.
        quarantine: is told what could not be applied.

    Raises:
        GaveUpError: Kafka, or a source that has to be asked, was not reached within the timeout.
        OperatorError: there is a hole, or no cache yet, and no snapshot to start from.
        CancelledError: told to stop before that.
    """
    backoff = Backoff()
    deadline = time.monotonic() + timeout_seconds
    request_seconds.set(min(REQUEST_SECONDS_MAX, timeout_seconds))
    async with open_writer() as writer:
        node = KafkaNode(
            writer, client_options, topics, stop, rebuild=rebuild, source=source, quarantine=quarantine
        )
        while True:
            try:
                await node.follow(once=True)
            except (KafkaUnavailableError, SourceUnavailableError) as error:
                if stop.is_set():
                    raise asyncio.CancelledError from error
                if time.monotonic() > deadline:
                    raise GaveUpError(error.message, error.remedy) from error
                _log.warning("trying again", reason=error.message)
                await pause(stop, backoff.next())
            else:
                if stop.is_set():
                    raise asyncio.CancelledError
                return node.consumed, writer.checkpoint


async def follow_forever(
    open_writer: Callable[[], CacheWriter],
    client_options: Callable[[], dict[str, Any]],
    topics: Topics,
    stop: asyncio.Event,
    source: SourceAccess | None = None,
    quarantine: QuarantineTopic | None = None,
) -> None:
    """Keeps the cache equal to the topic until told to stop; never gives up on who is away.

    Raises:
        CacheBusyError: another process writes this cache.
        MissingRightError, UsageError: Kafka refuses us from the start.
    """
    backoff = Backoff()
    begun, reached = asyncio.Event(), asyncio.Event()
    live: Live | None = None
    while not stop.is_set():
        try:
            async with open_writer() as writer:
                begun.set()
                live = writer.live
                node = KafkaNode(
                    writer,
                    client_options,
                    topics,
                    stop,
                    source=source,
                    quarantine=quarantine,
                    reached=reached,
                )
                await _follow(node, writer, backoff, stop)
        except CdcError as error:
            # A full disk, say: readers are served from the last commit meanwhile. What Kafka refuses from the
            # start is for whoever started us.
            refused = isinstance(error, (MissingRightError, UsageError)) and not reached.is_set()
            if not may_heal(error, begun=begun.is_set() and not refused):
                raise
            if live is not None:
                live.stumbled(error.message, failed=isinstance(error, CacheError))
            await pause(stop, _told(error, backoff))


async def _follow(node: KafkaNode, writer: CacheWriter, backoff: Backoff, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await node.follow(once=False)
        except (KafkaUnavailableError, SourceUnavailableError) as error:
            writer.live.stumbled(error.message, failed=False)
            await _rest(writer, stop, _told(error, backoff))
        except UnsupportedVersionError as error:
            # Readers are served from what was applied. Who can read on is a newer program, or this one again
            # when the topic was begun anew.
            _log.error("stopped applying", reason=error.message, remedy=error.remedy)
            writer.live.stumbled(error.message, failed=True)
            await _rest(writer, stop, limits.UPGRADE_LOOK_SECONDS)


async def _rest(writer: CacheWriter, stop: asyncio.Event, seconds: float) -> None:
    """Waits before the next try; what is asked for meanwhile, and needs no Kafka, is done."""
    await writer.orders.rest(stop, seconds)
    if writer.orders.waiting:
        await writer.orders.attend(stop)


def _told(error: CdcError, backoff: Backoff) -> float:
    seconds = backoff.next()
    _log.warning("trying again", reason=error.message, remedy=error.remedy, seconds=round(seconds, 2))
    return seconds
