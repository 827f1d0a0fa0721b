"""Answers what is asked of the process that writes a cache."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from consumers import limits
from consumers.control.messages import (
    Contents,
    Damaged,
    Drop,
    Hold,
    LetGo,
    ListQuarantined,
    Mend,
    Pause,
    Ping,
    Rebuild,
    Request,
    Reread,
    Resume,
    RetryStored,
    Status,
)
from consumers.control.server import ControlServer, OneShotError
from consumers.mending import mend, where
from consumers.meta import QUARANTINE_TABLE, Checkpoint, read_checkpoint, read_definitions
from consumers.quarantine import drop, marks_page, retry_stored
from schemas.errors import CacheError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from consumers import _redb
    from consumers.live import Live
    from consumers.writer import CacheWriter
    from schemas.position import Position


class LastVerified(msgspec.Struct, frozen=True):
    """The last scheduled verification: when it ended (Unix time in seconds), and keys found to differ."""

    at: float
    equal: bool
    differences: int


class NodeState(msgspec.Struct, frozen=True):
    """How a running node stands, by itself: what ``cdc status`` and HTTP tell of it.

    Attributes:
        state: as ``cdc status`` names it.
        lag_events: records of the topic that are not applied; None where that is not known.
        lag_seconds: for how long nothing newer than what is applied is known.
        trouble: why it does not go on now.
        verified: when a scheduled verification last ended, and how.
    """

    kind: str
    pid: int
    state: str
    paused: bool
    position: dict[str, int] | None
    offset: int | None
    lag_events: int | None
    lag_seconds: float | None
    trouble: str | None
    verified: LastVerified | None = None


class FileContents(msgspec.Struct, frozen=True):
    """What a cache file holds: its checkpoint, rows by table, and how many rows are quarantined."""

    checkpoint: Checkpoint | None
    rows: dict[str, int]
    quarantined: int


def contents_of(database: _redb.Database) -> FileContents:
    """Look at one state of an open file."""
    with database.snapshot() as snapshot:
        meta = snapshot.meta()
        rows = {name: snapshot.count(name) for name in read_definitions(meta)}
        return FileContents(read_checkpoint(meta), rows, snapshot.count(QUARANTINE_TABLE))


class Desk:
    """The control socket of one writer: its `consumers.writer.Listener`.

    Args:
        kind: the command that writes.
        standing: it goes on until it is stopped; a one-shot command only says who it is.
        max_staleness_s: older than this, the node calls itself stale.
        reread: has a table read anew by every reader of the log, where the source is at hand.
    """

    def __init__(
        self,
        kind: str,
        *,
        standing: bool,
        max_staleness_s: float,
        reread: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._kind = kind
        self._standing = standing
        self._max_staleness_s = max_staleness_s
        self._reread = reread
        self._server: ControlServer | None = None
        self.told_of_damage: Callable[[str, bytes], None] | None = None
        """Takes note of a damaged row, where the node mends such by itself."""
        self.writer: CacheWriter | None = None
        """The open writer; None while there is none."""

    async def open(self, writer: CacheWriter) -> None:
        """Listen beside the cache of this writer."""
        self.writer = writer
        self._server = ControlServer(writer.path, self.answer)
        await self._server.open()

    async def close(self) -> None:
        """Stop listening."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.orders.close()
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    def state(self) -> NodeState | None:
        """How the node stands; None while it has no open cache."""
        writer = self.writer
        if writer is None:
            return None
        checkpoint, live = writer.checkpoint, writer.live
        seconds = live.lag_seconds
        return NodeState(
            kind=self._kind,
            pid=os.getpid(),
            state=live.state(checkpoint, self._max_staleness_s),
            paused=writer.orders.paused,
            position=None if checkpoint is None else position_form(checkpoint.position),
            offset=None if checkpoint is None else checkpoint.offset,
            lag_events=None if writer.orders.paused else live.lag_events,
            lag_seconds=None if seconds is None else round(seconds, 3),
            trouble=live.trouble,
            verified=_last_verified(live),
        )

    async def answer(self, request: Request) -> Any:  # noqa: C901, PLR0911, PLR0912 -- a table of requests
        """Do what is asked and return the result.

        Raises:
            CdcError: it cannot be done.
        """
        writer = self.writer
        if writer is None:
            raise CacheError("the node is opening its cache again", "try again in a moment")
        match request:
            case Ping():
                return {"kind": self._kind, "pid": os.getpid(), "standing": self._standing}
            case Status() if self._standing:
                return self.state()
            case Contents():
                if writer.database is None:
                    raise CacheError("the node is opening its cache again", "try again in a moment")
                return contents_of(writer.database)
            case ListQuarantined(after=after):
                return marks_page(writer.database, after)
            case _ if not self._standing:
                raise OneShotError(
                    f"cdc {self._kind} writes this cache just now (process {os.getpid()})",
                    "wait until it has ended",
                )
            case Pause():
                writer.orders.pause()
                await writer.orders.ask(_stands_still)
                return self.state()
            case Resume():
                writer.orders.resume()
                return self.state()
            case Rebuild(origin=origin):
                if self._kind == "run" and origin == "kafka":
                    raise UsageError("a node of cdc run loads from its source", "leave --from out")
                events = writer.live.events
                position, rows = await writer.orders.ask_rebuild(origin)
                return {
                    "position": None if position is None else position_form(position),
                    "rows": rows,
                    "events": writer.live.events - events,
                }
            case Reread(table=table):
                if self._reread is None:
                    raise UsageError(
                        "this node has no access to the source",
                        "give cdc reread a --source, or run it where the poller runs",
                    )
                await self._reread(table)
                return None
            case Hold():
                writer.orders.hold(limits.HOLD_SECONDS)
                return await writer.orders.ask(partial(where, writer))
            case LetGo():
                writer.orders.let_go()
                return None
            case Mend():
                return await writer.orders.ask(partial(mend, writer, request))
            case Damaged(table=table, key=key):
                if self.told_of_damage is not None:
                    self.told_of_damage(table, key)
                return None
            case RetryStored(keys=keys):
                return await writer.orders.ask(partial(retry_stored, writer, keys))
            case Drop(keys=keys):
                return await writer.orders.ask(partial(drop, writer, keys))
            case _:
                raise UsageError("this is no request of this version", "use one version")


def _last_verified(live: Live) -> LastVerified | None:
    if live.verified_at is None or live.verified_equal is None:
        return None
    return LastVerified(round(live.verified_at, 3), live.verified_equal, live.differences)


async def _stands_still() -> None:
    """Done by the node's loop when it has come to its next checkpoint."""


def position_form(position: Position) -> dict[str, int]:
    """A position as JSON documents show it."""
    return {"epoch": position.epoch, "change_id": position.change_id}
