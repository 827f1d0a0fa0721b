"""Pauses: between tries they grow and vary, and a signal to stop ends them."""

from __future__ import annotations

import asyncio
import random

BACKOFF_SECONDS_MIN = 0.2
"""First pause after a failure."""

BACKOFF_SECONDS_MAX = 10.0
"""Longest pause after repeated failures."""


class Backoff:
    """Growing pauses with jitter, so that pollers and nodes do not come back all at once."""

    def __init__(self) -> None:
        self._seconds = BACKOFF_SECONDS_MIN

    def reset(self) -> None:
        """It worked: the next pause is short again."""
        self._seconds = BACKOFF_SECONDS_MIN

    def next(self) -> float:
        """The length of the next pause, in seconds."""
        seconds = self._seconds * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, not a secret
        self._seconds = min(self._seconds * 2, BACKOFF_SECONDS_MAX)
        return seconds


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits that long, or until told to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
