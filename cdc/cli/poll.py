"""``cdc poll``: the poller, from the source to Kafka."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.parts import pipeline
from cdc.cli.results import print_progress
from cdc.cli.running import run_async
from cdc.cli.sites import Http, PollSite, serving_http
from cdc.kafka.polling import poll_forever, poll_once

if TYPE_CHECKING:
    from cdc.config import Config
    from cdc.kafka.polling import Pipeline


def poll(
    *,
    once: Annotated[
        bool,
        Parameter(
            env_var="CDC_ONCE",
            negative="",
            help="End when everything committed at the start is acknowledged.",
        ),
    ] = False,
    adopt: Annotated[
        bool,
        Parameter(
            env_var="CDC_ADOPT",
            negative="",
            help="Take over a topic that belongs to another database; its nodes load this one.",
        ),
    ] = False,
    http: Http = None,
    common: Common = DEFAULTS,
) -> None:
    """Publish the source's changes to Kafka; makes the topics and the first snapshot by itself."""
    config = common.load()
    work = replace(pipeline(config), adopt=adopt)
    stop = asyncio.Event()
    if not once:
        run_async(_poll(config, work, stop, http), stop=stop, shown_by=common)
        return
    began = time.monotonic()
    polled = run_async(poll_once(work, stop, common.timeout_s), stop=stop, shown_by=common)
    print_progress(
        common,
        "the topic stands",
        polled.head.position,
        rows=polled.rows,
        events=polled.events,
        seconds=time.monotonic() - began,
    )


async def _poll(config: Config, work: Pipeline, stop: asyncio.Event, http: str | None) -> None:
    site = PollSite(work.progress, config.cache.max_staleness_s)
    async with serving_http(config.http, http, site):
        await poll_forever(work, stop)
