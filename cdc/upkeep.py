"""What a running reader of the log does for it now and then: its lease, a heartbeat row, pruning.

All of it is best effort and beside the polls: the application's writes come first, and a source that is busy
is asked again the next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Self

import structlog

from cdc.capture import limits
from cdc.capture.heartbeat import write_heartbeat
from cdc.capture.leases import renew, renew_unless_fresh
from cdc.capture.prune import prune
from cdc.capture.prune_plan import log_warning
from schemas.errors import CdcError

if TYPE_CHECKING:
    from cdc.capture.leases import Reader
    from cdc.capture.prune import Pruned
    from cdc.source import Client
    from schemas.event import Head

_log = structlog.get_logger("cdc.upkeep")


class Upkeep:
    """The upkeep of one open source by one reader of its log. Use as ``async with``.

    Args:
        client: the source.
        log_reader: whose lease to renew; None: nobody's.
        retention_seconds: how long log rows are kept for readers that are away.
    """

    def __init__(self, client: Client, log_reader: Reader | None, retention_seconds: float) -> None:
        now = time.monotonic()
        self._client = client
        self._log_reader = log_reader
        self._retention_seconds = retention_seconds
        self._task: asyncio.Task[None] | None = None
        self._head: Head | None = None
        self._moved = self._next = now
        self._leased: tuple[Head | None, float] = (None, now)
        self._beaten = now
        self._unseen = 0
        self._prune_at = now + limits.UPKEEP_SECONDS
        self._warned = now - limits.LOG_WARNING_SECONDS
        self._failing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def tick(self, head: Head | None) -> None:
        """Start what is due, beside the caller; returns at once.

        Args:
            head: where the reader stands for good. Not while a poll is under way: what it moves to is not
                durable yet.
        """
        now = time.monotonic()
        if head is not self._head:
            if head != self._head:
                self._moved, self._unseen = now, 0
            self._head = head
        if now < self._next or head is None or (self._task is not None and not self._task.done()):
            return
        task, self._task = self._task, None
        if task is not None:
            task.result()  # anything but a source that refuses is a mistake of ours
        self._next = now + limits.UPKEEP_SECONDS
        self._task = asyncio.create_task(self._do_what_is_due(head, now))

    def wants_a_look(self) -> bool:
        """Whether the log went on and nobody told; once."""
        wants, self._unseen = self._unseen > 1, 0 if self._unseen > 1 else self._unseen
        return wants

    async def _do_what_is_due(self, head: Head, now: float) -> None:
        try:
            await self._renew(head, now)
            await self._beat(head, now)
            if now >= self._prune_at:
                self._prune_at = now + limits.PRUNE_SECONDS
                self._report(await self._prune(), now)
        except CdcError as error:
            tell = _log.debug if self._failing else _log.info
            tell("the source has no time for its upkeep", reason=error.message)
            self._failing = True
        else:
            self._failing = False

    async def _renew(self, head: Head, now: float) -> None:
        leased, when = self._leased
        if self._log_reader is not None and (leased != head or now - when >= limits.LEASE_IDLE_SECONDS):
            await renew(self._client, self._log_reader, head)
            self._leased = (head, now)

    async def _beat(self, head: Head, now: float) -> None:
        """Logs a row where the reader saw none for a while: what is committed must come through."""
        quiet = now - max(self._moved, self._beaten)
        if quiet < limits.HEARTBEAT_ROW_SECONDS:
            return
        self._beaten = now
        if await write_heartbeat(self._client, head):
            return
        # The reader stood still all that time, and the log did not. Once may be a change of this very moment.
        self._unseen += 1
        if self._unseen > 1:
            _log.warning(
                "the log goes on, and no change was seen: looking anyway", position=str(head.position)
            )

    async def _prune(self) -> Pruned:
        pruned = await prune(self._client, self._retention_seconds, batches_max=limits.PRUNE_BATCHES_MAX)
        if pruned.rows:
            bounds = pruned.keeping.bounds
            _log.info("pruned the log", rows=pruned.rows, pruned_to=bounds.pruned_to, left=bounds.rows)
        if not pruned.done:
            self._prune_at = 0.0
        return pruned

    def _report(self, pruned: Pruned, now: float) -> None:
        warning = log_warning(pruned.keeping.leases, pruned.keeping.bounds, self._retention_seconds)
        if warning is not None and pruned.done and now - self._warned >= limits.LOG_WARNING_SECONDS:
            self._warned = now
            _log.warning("the log is long", reason=warning)


async def leave_lease(client: Client, log_reader: Reader | None, head: Head) -> None:
    """Write where a command that ends leaves its reader; best effort: the lease it has holds more."""
    if log_reader is None:
        return
    try:
        await renew_unless_fresh(client, log_reader, head)
    except CdcError as error:
        _log.info("left without renewing the lease", reason=error.message)
