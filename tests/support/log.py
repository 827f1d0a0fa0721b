"""Where a source's change log stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.plan import log_head

if TYPE_CHECKING:
    from cdc.capture import Capture
    from schemas.event import Head


async def head_of(capture: Capture) -> Head:
    """Where a reader of everything that is in the log now would stand."""
    async with capture.reading() as reader:
        return log_head(await reader.state(), reader.settings)
