"""One comparison of cache and source in a process of its own: ``python -m cdc.cli.verify_child``.

So it costs the node's event loop nothing. What to compare comes as a line of JSON on standard input, which
stays open for as long as the node lives: when it ends, however it dies, this process does too.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import partial
from pathlib import Path

import msgspec

from cdc.cli.failures import print_failure
from cdc.cli.reaching import until_reached
from cdc.cli.running import run_async
from cdc.cli.verify import verify_cache
from cdc.config_file import Overrides, load
from cdc.limits import VERIFY_NICE
from cdc.logs import configure_logs
from consumers.live import Verified


class Order(msgspec.Struct, frozen=True):
    """What to compare: the node's configuration, as it was given."""

    file: str | None
    source: str
    cache: str
    node: str
    bootstrap_servers: str | None
    topic: str | None
    timeout_s: float


def main() -> int:
    """Compare once; print what was found as one JSON document (`consumers.live.Verified`)."""
    configure_logs("json", "error")
    try:
        os.nice(VERIFY_NICE)
        order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
        threading.Thread(target=_end_with_the_node, daemon=True).start()
        overrides = Overrides(order.source, order.cache, order.node, order.bootstrap_servers, order.topic)
        config = load(None if order.file is None else Path(order.file), overrides)
        found = run_async(until_reached(partial(verify_cache, config), order.timeout_s))
    except Exception as error:  # noqa: BLE001 -- the node is told of every failure in one line
        return print_failure(error, with_traceback=False)
    differences = {name: report.listed for name, report in found.tables.items() if not report.equal}
    sys.stdout.buffer.write(msgspec.json.encode(Verified(found.equal, differences)))
    return 0


def _end_with_the_node() -> None:
    # Not through `sys.stdin`, whose lock an interpreter that ends would find taken.
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
