"""``cdc snapshot``: one snapshot of the source in Kafka."""

from __future__ import annotations

import asyncio
import time

from cdc.cli.common import DEFAULTS, Common
from cdc.cli.output import counted, print_result
from cdc.cli.parts import pipeline, position_document
from cdc.cli.running import run_async
from cdc.kafka.polling import snapshot_once


def snapshot(*, common: Common = DEFAULTS) -> None:
    """Publish one snapshot of the source to Kafka, from which new nodes start."""
    stop = asyncio.Event()
    began = time.monotonic()
    work = snapshot_once(pipeline(common.load()), stop, common.timeout_s)
    head, written = run_async(work, stop=stop, shown_by=common)
    seconds = time.monotonic() - began
    document = {
        "position": position_document(head.position),
        "rows": written.rows,
        "chunks": written.chunks,
        "seconds": round(seconds, 3),
    }
    text = (
        f"a snapshot at {head.position}: {counted(written.rows, 'row')} in "
        f"{counted(written.chunks, 'chunk')}, "
        f"in {seconds:.2f} s"
    )
    print_result(common, document, text)
