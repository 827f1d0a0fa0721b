"""``cdc consume``: a cache node, from Kafka to redb."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.parts import kafka_parts, source_access
from cdc.cli.results import print_progress
from cdc.cli.running import run_async
from cdc.cli.scheduled import verifying
from cdc.cli.self_mending import mending_itself
from cdc.cli.sites import Http, NodeSite, serving_http
from cdc.cli.standing import WriterProcess
from consumers.following import follow_forever, follow_once
from consumers.quarantine_topic import QuarantineTopic

if TYPE_CHECKING:
    from cdc.config import Config
    from schemas.position import Position


def consume(
    *,
    once: Annotated[
        bool,
        Parameter(
            env_var="CDC_ONCE", negative="", help="End when everything in the topic at the start is durable."
        ),
    ] = False,
    http: Http = None,
    common: Common = DEFAULTS,
) -> None:
    """Keep the cache equal to what the poller publishes; needs no access to the source."""
    config = common.load()
    stop = asyncio.Event()
    if not once:
        run_async(_consume(config, common.timeout_s, stop, http), stop=stop, shown_by=common)
        return
    began = time.monotonic()
    work = consume_once(config, common.timeout_s, stop, rebuild=False)
    position, rows, events = run_async(work, stop=stop, shown_by=common)
    seconds = time.monotonic() - began
    print_progress(common, "the cache stands", position, rows=rows, events=events, seconds=seconds)


async def _consume(config: Config, timeout_s: float, stop: asyncio.Event, http: str | None) -> None:
    clients, topics = kafka_parts(config)
    process = WriterProcess(config, "consume", timeout_s, standing=True)
    async with (
        serving_http(config.http, http, NodeSite(config, process)),
        verifying(config, process.live),
        mending_itself(config, process),
    ):
        told = QuarantineTopic(clients.producer, topics.quarantine, config.cache.node)
        await follow_forever(process.open_writer, clients.consumer, topics, stop, source_access(config), told)


async def consume_once(
    config: Config, timeout_s: float, stop: asyncio.Event, *, rebuild: bool
) -> tuple[Position | None, int, int]:
    """Applies what the topic holds now; returns the position, rows loaded and events applied."""
    clients, topics = kafka_parts(config)
    process = WriterProcess(config, "rebuild" if rebuild else "consume --once", timeout_s)
    consumed, checkpoint = await follow_once(
        process.open_writer,
        clients.consumer,
        topics,
        stop,
        timeout_s,
        rebuild=rebuild,
        source=source_access(config),
        quarantine=QuarantineTopic(clients.producer, topics.quarantine, config.cache.node),
    )
    return None if checkpoint is None else checkpoint.position, consumed.rows, consumed.events
