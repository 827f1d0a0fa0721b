"""``cdc poll``: the poller, from the source to Kafka."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.parts import kafka_parts, open_capture
from cdc.cli.results import print_progress
from cdc.cli.running import run_async
from cdc.kafka.polling import Pipeline, poll_forever, poll_once

if TYPE_CHECKING:
    from cdc.config import Config


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
    common: Common = DEFAULTS,
) -> None:
    """Publish the source's changes to Kafka; makes the topics and the first snapshot by itself."""
    pipeline = _pipeline(common.load())
    stop = asyncio.Event()
    if not once:
        run_async(poll_forever(pipeline, stop), stop=stop)
        return
    began = time.monotonic()
    polled = run_async(poll_once(pipeline, stop, common.timeout_s), stop=stop)
    print_progress(
        common,
        "the topic stands",
        polled.head.position,
        rows=polled.rows,
        events=polled.events,
        seconds=time.monotonic() - began,
    )


def _pipeline(config: Config) -> Pipeline:
    clients, topics = kafka_parts(config)
    return Pipeline(partial(open_capture, config), clients, topics, config.need_source().poll_interval_s)
