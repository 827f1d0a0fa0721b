"""``cdc tail``: change events as JSON lines."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.parts import kafka_parts, open_capture
from cdc.cli.running import run_async
from cdc.cli.tail_kafka import TopicTail
from cdc.cli.tail_lines import Output
from cdc.cli.tail_log import LogTail
from schemas.kafka_calls import REQUEST_SECONDS_MAX, request_seconds

if TYPE_CHECKING:
    from cdc.config import Config


def tail(
    *,
    from_beginning: Annotated[
        bool,
        Parameter(env_var="CDC_FROM_BEGINNING", negative="", help="Begin with the oldest event there is."),
    ] = False,
    limit: Annotated[
        int | None,
        Parameter(env_var="CDC_LIMIT", validator=Number(gte=0), help="End after so many row events."),
    ] = None,
    no_follow: Annotated[
        bool, Parameter(env_var="CDC_NO_FOLLOW", negative="", help="End at the present end.")
    ] = False,
    everything: Annotated[
        bool,
        Parameter(
            name="--all", env_var="CDC_ALL", negative="", help="Control events, such as heartbeats, too."
        ),
    ] = False,
    common: Common = DEFAULTS,
) -> None:
    """Print change events as JSON lines, from Kafka, or from the change log where no Kafka is configured."""
    config = common.load()
    stop = asyncio.Event()
    output = Output(limit)
    source = _source(config, output, stop, control=everything)
    work = source.print_all(from_beginning=from_beginning, follow=not no_follow, timeout_s=common.timeout_s)
    request_seconds.set(min(REQUEST_SECONDS_MAX, common.timeout_s))
    run_async(work, stop=stop)


def _source(config: Config, output: Output, stop: asyncio.Event, *, control: bool) -> TopicTail | LogTail:
    if config.kafka is not None:
        clients, topics = kafka_parts(config)
        return TopicTail(clients, topics.events, output, stop, control=control)
    pause_s = config.need_source().poll_interval_s
    return LogTail(partial(open_capture, config), output, stop, pause_s, control=control)
