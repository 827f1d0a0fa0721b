"""``cdc run``: the embedded default."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from cdc import embedded
from cdc.cli.common import DEFAULTS, Common
from cdc.cli.parts import check_source_file, open_capture
from cdc.cli.running import run_async
from cdc.cli.scheduled import verifying
from cdc.cli.self_mending import mending_itself
from cdc.cli.sites import Http, NodeSite, serving_http
from cdc.cli.standing import WriterProcess

if TYPE_CHECKING:
    from cdc.config import Config


def run(*, http: Http = None, common: Common = DEFAULTS) -> None:
    """Keep the cache equal to the source until SIGINT or SIGTERM, poller and applier in one process."""
    config = common.load()
    check_source_file(config)
    stop = asyncio.Event()
    work = _run(config, common.timeout_s, stop, http)
    run_async(work, stop=stop, shown_by=common)


async def _run(config: Config, timeout_s: float, stop: asyncio.Event, http: str | None) -> None:
    source = config.need_source()
    process = WriterProcess(config, "run", timeout_s, standing=True)
    async with (
        serving_http(config.http, http, NodeSite(config, process)),
        verifying(config, process.live),
        mending_itself(config, process),
    ):
        await embedded.run(
            partial(open_capture, config),
            process.open_writer,
            source.poll_interval_s,
            stop,
            retention_seconds=source.log_retention_s,
        )
