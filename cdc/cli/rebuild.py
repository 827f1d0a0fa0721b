"""``cdc rebuild``: the fallback."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.consume import consume_once
from cdc.cli.results import print_progress
from cdc.cli.running import run_async
from cdc.cli.sync import sync_cache
from consumers.control import messages
from consumers.control.client import NoNodeError, ask
from schemas.position import Position

if TYPE_CHECKING:
    from cdc.config import Config
    from consumers.orders import Origin


def rebuild(
    *,
    origin: Annotated[
        Literal["source", "kafka"] | None,
        Parameter(
            name="--from", env_var="CDC_FROM", help="Where rows come from (Kafka where it is configured)."
        ),
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """Build a new cache file beside the old one and swap it in; a running node does it itself."""
    began = time.monotonic()
    config = common.load()
    stop = asyncio.Event()
    work = _rebuild(config, common.timeout_s, origin, stop)
    position, rows, events = run_async(work, stop=stop, shown_by=common)
    seconds = time.monotonic() - began
    print_progress(common, "rebuilt: the cache stands", position, rows=rows, events=events, seconds=seconds)


async def _rebuild(
    config: Config, timeout_s: float, origin: Origin | None, stop: asyncio.Event
) -> tuple[Position | None, int, int]:
    try:
        answer = await ask(config.cache.path, messages.Rebuild(origin), timeout_s)
    except NoNodeError:
        return await _rebuild_alone(config, timeout_s, origin, stop)
    position = answer["position"]
    return None if position is None else Position(**position), answer["rows"], answer["events"]


async def _rebuild_alone(
    config: Config, timeout_s: float, origin: Origin | None, stop: asyncio.Event
) -> tuple[Position | None, int, int]:
    if origin is None:
        origin = "source" if config.kafka is None else "kafka"
    if origin == "kafka":
        return await consume_once(config, timeout_s, stop, rebuild=True)
    polled = await sync_cache(config, timeout_s, rebuild=True)
    return polled.head.position, polled.rows, polled.events
