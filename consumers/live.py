"""What a node knows of itself while it runs: counters, and how fresh what it shows is."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from consumers.meta import Checkpoint

MARKS_MAX = 1024
"""Ends of the topic that are remembered until the node has come so far; more often seen ones are left out."""

_MARK_SECONDS = 0.05
"""How far apart they are remembered."""


class Verified(msgspec.Struct, frozen=True):
    """What a scheduled verification found: how many keys differ, by table."""

    equal: bool
    differences: dict[str, int] = {}


class Live:
    """Counters and freshness of one writer. Kept by its loop, read by the control socket and by HTTP.

    Freshness is by this machine's monotonic clock alone: the last moment of which it is known that everything
    published by then is applied. No clock is compared with another machine's.
    """

    def __init__(self) -> None:
        self.commits = 0
        self.rows_written = 0
        self.events = 0
        self.loads = 0
        self.rows_loaded = 0
        self.errors = 0
        self.void = 0
        self.foreign = 0
        self.torn = 0
        self.quarantined = 0
        """Rows that this life could not apply."""
        self.mended = 0
        """Rows that verify --repair and quarantine retry have put right."""
        self.loading = False
        self.trouble: str | None = None
        """Why it does not go on now."""
        self.failed = False
        """Whether the trouble is with the cache file itself."""
        self.lag_events: int | None = None
        self.verified_at: float | None = None
        """When (Unix time) a scheduled verification last ended; ``verified_equal`` says how."""
        self.verified_equal: bool | None = None
        self.differences = 0
        """Keys that it found to differ."""
        self.verify_soon = asyncio.Event()
        """Rows were put right since it found some that differ."""
        self._fresh_at: float | None = None
        self._first_end: int | None = None
        self._marks: deque[tuple[float, int]] = deque(maxlen=MARKS_MAX)
        self._level_to = 0

    @property
    def lag_seconds(self) -> float | None:
        """For how long nothing newer than what is applied is known; None before it once was level."""
        return None if self._fresh_at is None else max(0.0, time.monotonic() - self._fresh_at)

    def verified(self, found: Verified, at: float) -> None:
        """A verification ended at ``at`` (Unix time)."""
        self.verified_at, self.verified_equal = at, found.equal
        self.differences = sum(found.differences.values())

    def repaired(self) -> None:
        """Rows were put right, or all of them loaded anew: a verification that found some is out of date."""
        if self.verified_equal is False:
            self.verify_soon.set()

    @staticmethod
    def now_ms() -> int:
        """Unix time in milliseconds, for people: nothing is decided by it."""
        return time.time_ns() // 1_000_000

    def level(self, at: float) -> None:
        """Everything that was there at ``at`` (monotonic seconds) is applied."""
        self._fresh_at = at
        self.lag_events = 0
        self.went_on()

    def went_on(self) -> None:
        """Whatever was wrong is over."""
        self.trouble = None
        self.failed = False

    def stumbled(self, reason: str, *, failed: bool) -> None:
        """Something went wrong; it is tried again."""
        self.errors += 1
        self.trouble = reason
        self.failed = failed

    def begin_topic(self, end: int) -> None:
        """A subscription begins; what lies before ``end`` may have been written long ago."""
        self._first_end = self._level_to = end
        self._marks.clear()

    def barred(self) -> None:
        """Only a load leads on: nobody knows how far behind it is."""
        self.lag_events = None

    def read_to(self, offset: int, end: int, level_to: int) -> None:
        """The topic was read up to ``offset`` and ends at ``end``.

        Only groups that arrived in this life and ended where the node stands, the last one at ``level_to``,
        show that a poller works, and goes on from there: old ones, those of what the node is ahead of, and
        records that do not count say nothing of how fresh their source is.
        """
        now = time.monotonic()
        self.lag_events = max(0, end - offset)
        self.went_on()
        if self._first_end is not None and end > self._first_end:
            last = self._marks[-1] if self._marks else (0.0, 0)
            if end > last[1] and now - last[0] > _MARK_SECONDS and len(self._marks) < MARKS_MAX:
                self._marks.append((now, end))
        reached = None
        while self._marks and self._marks[0][1] <= offset:
            reached = self._marks.popleft()[0]
        if reached is not None and level_to > self._level_to:
            self._fresh_at = reached
            self._level_to = level_to

    def state(self, checkpoint: Checkpoint | None, max_staleness_s: float) -> str:
        """One of the states that ``cdc status`` names."""
        if checkpoint is None:
            return "bootstrapping"
        if self.failed:
            return "failed"
        if self.loading:
            return "rebuilding"
        seconds = self.lag_seconds
        if seconds is not None and seconds > max_staleness_s:
            return "stale"
        if seconds is None or self.lag_events != 0 or not checkpoint.exact:
            return "catching_up"
        return "live"
