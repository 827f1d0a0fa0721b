"""``cdc run``: the embedded default."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from cdc import embedded
from cdc.cli.common import DEFAULTS, Common
from cdc.cli.parts import check_source_file, open_capture, open_writer
from cdc.cli.running import run_async

if TYPE_CHECKING:
    from cdc.config import Config


def run(*, common: Common = DEFAULTS) -> None:
    """Keep the cache equal to the source until SIGINT or SIGTERM, poller and applier in one process."""
    config = common.load()
    check_source_file(config)
    stop = asyncio.Event()
    run_async(_run(config, common.timeout_s, stop), stop=stop)


async def _run(config: Config, timeout_s: float, stop: asyncio.Event) -> None:
    source = config.need_source()
    await embedded.run(
        partial(open_capture, config),
        partial(open_writer, config, timeout_s),
        source.poll_interval_s,
        stop,
        retention_seconds=source.log_retention_s,
    )
