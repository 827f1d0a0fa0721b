"""Successive short read transactions of one source, each of which must continue the one before."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from cdc.capture import limits
from cdc.capture.errors import CaptureStaleError
from schemas.errors import SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from cdc.capture.log import LogState
    from cdc.capture.reader import CaptureReader
    from cdc.source import SourceMovedError, Statement


class Moments:
    """The moment that is open, if there is one, and what is known of those before.

    Args:
        open_moment: begins a short read transaction.
        tries: how often that is tried before the source counts as locked, or away.
        seconds: how long a moment lasts.
        moving: others can end a moment by a commit that changes what it read. So where the log ends is read
            at one, and rows at another, unless it all comes at once; and it is read again after the rows.

    Raises (every method):
        CaptureStaleError: the schema or the log was changed between two moments: begin anew.
    """

    def __init__(
        self,
        open_moment: Callable[[], AbstractAsyncContextManager[CaptureReader]],
        tries: int,
        seconds: float,
        *,
        moving: bool,
    ) -> None:
        self.seconds = seconds
        self.moving = moving
        self.count = 0
        """How many there were."""
        self.floor = -1
        """Changes are read from here on: pruned beyond it, the log does not lead on any more."""
        self.newest: LogState | None = None
        """The log's state at the newest of them, where that was read."""
        self.times_moved = 0
        """How often in a row others ended a moment before all was read."""
        self._open_moment = open_moment
        self._tries = tries
        self._moment: CaptureReader | None = None
        self._first: CaptureReader | None = None
        self._stack = AsyncExitStack()
        self._opened = 0.0
        self._again: Sequence[Statement] = ()
        self._is_loose = False
        """Rows were read that may be newer than the log's end as it is known."""

    @property
    def first(self) -> CaptureReader:
        """The first of them: what it says of the schema is so at all."""
        if self._first is None:
            raise RuntimeError("no moment was begun yet")
        return self._first

    @property
    def state(self) -> LogState:
        """The log's state at the newest of them."""
        if self.newest is None:
            raise RuntimeError("the log's state is read first")
        return self.newest

    @property
    def lasted(self) -> float:
        """The seconds since the moment was opened."""
        return time.monotonic() - self._opened

    @property
    def is_over(self) -> bool:
        """Whether it has lasted too long."""
        return self.lasted > self.seconds

    @property
    def often_moved(self) -> bool:
        """Whether less had better be read at one."""
        return self.times_moved > limits.MOVED_SAME_MAX

    async def now(self) -> CaptureReader:
        """Give the moment that is open, unless it has lasted long enough; else the next one."""
        if self._moment is not None and self.lasted < self.seconds / 2:
            return self._moment
        await self.rest()
        moment = await self._next()
        if self.newest is not None:
            state = self.newest = await self._continued(moment, self.newest)
            if self.moving:
                await self.rest()
                moment = await self._next()
                moment.assume(state)
                moment.ask_again(self._again)
                self._again = ()
                self._is_loose = True
        self.count += 1
        self._moment = moment
        return moment

    async def rest(self) -> None:
        """Leave the moment; the next call begins another one."""
        self._moment = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def look(self, prev: int | None, exact: int | None = None) -> LogState:
        """Read the log's state, and the nonces of the rows ``prev`` and ``exact``."""
        self.newest = await (await self.now()).state(prev, exact)
        # Whatever is read at this moment from now on is of that state, or the moment ends.
        self._is_loose = False
        return self.newest

    async def settle(self) -> None:
        """See that ``newest`` is at least as new as all that was read, and that the log went on."""
        if self._is_loose:
            await self.rest()
            moment = await self._next()
            self.newest = await self._continued(moment, self.state)
            self._is_loose = False
            await self.rest()

    @asynccontextmanager
    async def aside(self) -> AsyncGenerator[CaptureReader, None]:
        """Give a moment to ask one thing at, and keep the one that is open from ending by it."""
        if self.moving:
            async with self._open_moment() as moment:
                yield moment
        else:
            yield await self.now()

    def read_aside(self) -> None:
        """Take note that rows were read at a moment of their own."""
        self._is_loose |= self.moving and self.newest is not None

    async def were_moved(self, error: SourceMovedError) -> None:
        """Leave a moment that others ended; at the next one all that it was asked comes at once.

        Raises:
            SourceMovedError: that happened too often.
        """
        self.times_moved += 1
        if self.times_moved > limits.MOVED_MAX:
            raise error
        self._again = error.asked
        await self.rest()

    async def _next(self) -> CaptureReader:
        moment = await self._begun()
        self._opened = time.monotonic()
        if self._first is None:
            self._first = moment
        elif not moment.agrees_with(self._first):
            raise CaptureStaleError("the schema was changed between two reads")
        return moment

    async def _begun(self) -> CaptureReader:
        for _ in range(self._tries - 1):
            with suppress(SourceUnavailableError):
                return await self._stack.enter_async_context(self._open_moment())
        return await self._stack.enter_async_context(self._open_moment())

    async def _continued(self, moment: CaptureReader, newest: LogState) -> LogState:
        """Give the log's state at a later moment, if it goes on from an earlier one."""
        state = await moment.state(newest.high, alone=self.moving)
        if 0 <= self.floor < state.pruned_to:
            raise CaptureStaleError("the change log was pruned between two reads")
        if not state.continues(newest):
            raise CaptureStaleError("the change log was rewritten between two reads")
        return state
