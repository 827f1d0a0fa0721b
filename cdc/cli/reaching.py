"""One-shot work at the source: tried again while the source cannot be reached, until --timeout."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from schemas.errors import GaveUpError, SourceUnavailableError
from schemas.retrying import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = structlog.get_logger("cdc.cli")
_Result = TypeVar("_Result")


async def until_reached(work: Callable[[], Awaitable[_Result]], timeout_s: float) -> _Result:
    """Run work that is safe to repeat, again for as long as the source is away or locked.

    Args:
        work: starts it.
        timeout_s: how long after its first start it is tried again.

    Raises:
        GaveUpError: the source was still away then.
    """
    deadline_s = time.monotonic() + timeout_s
    backoff = Backoff()
    while True:
        try:
            return await work()
        except SourceUnavailableError as error:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise GaveUpError(error.message, error.remedy) from error
            _log.warning("trying again", reason=error.message)
            await asyncio.sleep(min(backoff.next(), left_s))
