"""How far a load or a snapshot has come, for whoever started it and wants to show it."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Work(msgspec.Struct, frozen=True):
    """Something long under way.

    Attributes:
        what: in the words of a log line.
        rows: says how many rows are done.
        rows_expected: about how many there will be; None where nobody knows.
        began_s: monotonic time.
    """

    what: str
    rows: Callable[[], int]
    rows_expected: int | None
    began_s: float


class Meter:
    """What is under way now, one at a time; made by who shows it, before the work begins."""

    def __init__(self) -> None:
        self.work: Work | None = None
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    def begin(self, work: Work) -> None:
        """Work begins."""
        self.work = work
        self.ended.clear()
        self.begun.set()

    def end(self) -> None:
        """It is over, well or not."""
        self.work = None
        self.begun.clear()
        self.ended.set()


watched_by: ContextVar[Meter | None] = ContextVar("watched_by", default=None)
"""The meter of this command, if somebody shows it."""


@contextmanager
def under_way(what: str, rows: Callable[[], int], rows_expected: int | None = None) -> Iterator[None]:
    """Let whoever watches see how far the block has come."""
    meter = watched_by.get()
    if meter is None:
        yield
        return
    meter.begin(Work(what, rows, rows_expected, time.monotonic()))
    try:
        yield
    finally:
        meter.end()
