"""What others ask of a running node: done by its own loop, between two commits.

So nothing else ever writes the file, and whatever is asked for meets it at a checkpoint, not inside a group.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from consumers import limits
from schemas.errors import CacheBusyError, CacheError, CdcError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from schemas.position import Position

_Result = TypeVar("_Result")

Origin = Literal["source", "kafka"]


class Rebuild:
    """An order to load everything anew.

    Args:
        origin: where rows come from; None leaves it to the node.
    """

    def __init__(self, origin: Origin | None) -> None:
        self.origin: Origin | None = origin
        self.begun = False
        self.done: asyncio.Future[tuple[Position | None, int]] = asyncio.get_running_loop().create_future()

    def succeed(self, position: Position | None, rows: int) -> None:
        """Tells whoever asked where the cache stands, and how many rows were loaded."""
        if not self.done.done():
            self.done.set_result((position, rows))

    def fail(self, error: CdcError) -> None:
        """Tells whoever asked why it cannot be done."""
        if not self.done.done():
            self.done.set_exception(error)


class Orders:
    """A node's loop asks `waiting` at every turn, and calls `attend` when nothing of its own is half done."""

    def __init__(self) -> None:
        self.paused = False
        self.rebuild: Rebuild | None = None
        self._held_until = 0.0
        self._work: deque[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]] = deque()
        self._resting: asyncio.Timeout | None = None

    @property
    def waiting(self) -> bool:
        """Whether there is something to attend to."""
        return bool(self._work) or self.paused or self._held_until > 0 or self.rebuild is not None

    @property
    def rebuild_asked(self) -> bool:
        """Whether a rebuild is to be begun; whoever asked and left has changed their mind."""
        rebuild = self.rebuild
        if rebuild is not None and rebuild.done.done():
            self.rebuild = rebuild = None
        return rebuild is not None and not rebuild.begun

    def take_rebuild(self) -> Rebuild | None:
        """The rebuild that is to be begun now, if one is asked for."""
        if not self.rebuild_asked or self.rebuild is None:
            return None
        self.rebuild.begun = True
        return self.rebuild

    def begin_again(self) -> None:
        """What was begun has failed with whatever went wrong: it is to be done all the same."""
        if self.rebuild is not None:
            self.rebuild.begun = False

    async def ask(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """Have the node's loop do something at its next checkpoint.

        Raises:
            CacheBusyError: too much is waiting already.
        """
        if len(self._work) >= limits.ORDERS_MAX:
            raise CacheBusyError("too many requests wait for this node", "try again in a moment")
        future: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._work.append((work, future))
        self._wake()
        return await future

    async def ask_rebuild(self, origin: Origin | None) -> tuple[Position | None, int]:
        """Have the node load everything anew; returns where it stands then, and the rows loaded."""
        if self.rebuild is not None and not self.rebuild.done.done():
            raise CacheBusyError("this node is being rebuilt already", "wait for it: cdc status")
        rebuild = self.rebuild = Rebuild(origin)
        self._wake()
        return await rebuild.done

    def pause(self) -> None:
        """Stops applying at the next checkpoint, until `resume`."""
        self.paused = True
        self._wake()

    def resume(self) -> None:
        """Goes on applying."""
        self.paused = False
        self._wake()

    def hold(self, seconds: float) -> None:
        """Stands still for a moment, so that what was read of the source is not overtaken."""
        self._held_until = time.monotonic() + seconds
        self._wake()

    def let_go(self) -> None:
        """Ends a hold."""
        self._held_until = 0.0
        self._wake()

    async def attend(self, stop: asyncio.Event) -> None:
        """Does what was asked for; returns when there is nothing left, and the node is not to stand still.

        Raises:
            CacheError: the file failed; whoever asked is told so too.
        """
        while not stop.is_set():
            while self._work:
                work, future = self._work.popleft()
                if not future.done():
                    await _fulfil(work(), future)
            if self._held_until and time.monotonic() >= self._held_until:
                self._held_until = 0.0
            if self.rebuild_asked or not (self.paused or self._held_until):
                return
            left = self._held_until - time.monotonic() if self._held_until else limits.PAUSED_LOOK_SECONDS
            await self.rest(stop, max(0.001, left))

    async def rest(self, stop: asyncio.Event, seconds: float) -> None:
        """Waits that long, or until told to stop, or until something is asked for."""
        if self._work:
            return
        try:
            async with asyncio.timeout(seconds) as self._resting:
                await stop.wait()
        except TimeoutError:
            return
        finally:
            self._resting = None

    def close(self) -> None:
        """The node ends: whoever still waits is told so."""
        gone = CacheError("the node ended before that was done", "try again")
        for _, future in self._work:
            if not future.done():
                future.set_exception(gone)
        self._work.clear()
        if self.rebuild is not None:
            self.rebuild.fail(gone)
            self.rebuild = None

    def _wake(self) -> None:
        resting = self._resting
        if resting is not None and not resting.expired():
            resting.reschedule(asyncio.get_running_loop().time())


async def _fulfil(work: Awaitable[Any], future: asyncio.Future[Any]) -> None:
    try:
        result = await work
    except CdcError as error:
        if not future.done():
            future.set_exception(error)
        if isinstance(error, CacheError) and not isinstance(error, CacheBusyError):
            raise
    except BaseException:
        future.cancel()
        raise
    else:
        if not future.done():
            future.set_result(result)
