"""``cdc sync``: the manual trigger, without a broker."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from cdc import embedded
from cdc.cli.common import DEFAULTS, Common
from cdc.cli.parts import check_source_file, open_capture
from cdc.cli.reaching import until_reached
from cdc.cli.results import print_progress
from cdc.cli.running import run_async
from cdc.cli.standing import WriterProcess
from cdc.poller import Done

if TYPE_CHECKING:
    from cdc.config import Config
    from cdc.poller import Polled


def sync(*, common: Common = DEFAULTS) -> None:
    """Bring the cache to everything committed at the source now, and end."""
    began = time.monotonic()
    polled = run_async(sync_cache(common.load(), common.timeout_s, rebuild=False), shown_by=common)
    print_progress(
        common,
        "the cache stands",
        polled.head.position,
        rows=polled.rows,
        events=polled.events,
        seconds=time.monotonic() - began,
    )


async def sync_cache(config: Config, timeout_s: float, *, rebuild: bool) -> Polled:
    """Brings a node's cache up to date from its source, by changes or, to rebuild it, by loading all rows."""
    check_source_file(config)
    kind = "rebuild" if rebuild else "sync"
    async with WriterProcess(config, kind, timeout_s).open_writer() as writer:
        # A cache that is rebuilt beside Kafka goes on from the topic, not from the log.
        leased = not (rebuild and config.kafka is not None)
        capture = partial(open_capture, config)
        work = partial(embedded.sync, capture, writer, rebuild=rebuild, leased=leased, done=Done())
        return await until_reached(work, timeout_s)
