"""Pauses: between tries they grow and vary, and a signal to stop ends them."""

from __future__ import annotations

import asyncio
import random
import time

BACKOFF_SECONDS_MIN = 0.2
"""First pause after a failure."""

WORKED_SECONDS = 30.0
"""A try that lasted so long did not fail at once."""

BACKOFF_SECONDS_MAX = 10.0
"""Longest pause after repeated failures."""


class Backoff:
    """Growing pauses with jitter, so that pollers and nodes do not come back all at once.

    A try that lasted for a while did work: the pause after it is short again.
    """

    def __init__(self) -> None:
        self._seconds = BACKOFF_SECONDS_MIN
        self._tried_at = time.monotonic()

    def next(self) -> float:
        """The length of the next pause, in seconds."""
        now = time.monotonic()
        if now - self._tried_at > WORKED_SECONDS:
            self._seconds = BACKOFF_SECONDS_MIN
        self._tried_at = now + self._seconds
        seconds = self._seconds * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, not a secret
        self._seconds = min(self._seconds * 2, BACKOFF_SECONDS_MAX)
        return seconds


PAUSE_SECONDS_MIN = 0.001
"""The pause right after something happened: more is likely to follow."""

PAUSE_PER_IDLE_SECOND = 0.1
"""How much the pause grows with the time that nothing happened."""


class IdlePace:
    """Pauses between looks at something that may have changed: short after a change, then longer and longer.

    Args:
        longest_seconds: the longest pause.
    """

    def __init__(self, longest_seconds: float) -> None:
        self._longest = longest_seconds
        self._active_at = time.monotonic()

    def active(self) -> None:
        """Something happened."""
        self._active_at = time.monotonic()

    def next(self) -> float:
        """The length of the next pause, in seconds."""
        idle = time.monotonic() - self._active_at
        return min(self._longest, max(PAUSE_SECONDS_MIN, idle * PAUSE_PER_IDLE_SECOND))


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits that long, or until told to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
