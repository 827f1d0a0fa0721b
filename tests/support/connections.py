"""Waiting until a client's connections are really gone."""

from __future__ import annotations

import asyncio
from typing import Any

_CLOSED_S_MAX = 20
_PAUSE_S = 0.01


async def connections_closed() -> None:
    """Wait until the running loop has no open connection; for the end of a test that a broker turned away.

    aiokafka's ``stop()`` begins to close its connections and does not wait for the end of it, which TLS draws
    out. What a loop leaves open when it ends is a ResourceWarning in whichever test then collects garbage.
    """
    loop: Any = asyncio.get_running_loop()
    async with asyncio.timeout(_CLOSED_S_MAX):
        while any(transport._sock is not None for transport in list(loop._transports.values())):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(_PAUSE_S)
