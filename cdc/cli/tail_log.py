"""``cdc tail`` from the change log at the source, where no Kafka is configured: what a poll would publish."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import structlog

from cdc.capture import CaptureStaleError
from cdc.cli.tail_lines import GroupLines, Line
from cdc.plan import Changes, Idle, log_head, plan_poll
from schemas.errors import GaveUpError, SourceUnavailableError
from schemas.event import NIL, Op
from schemas.retrying import Backoff, IdlePace, pause

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from cdc.capture import Capture, Change, LogState, SourceReader
    from cdc.cli.tail_lines import Output
    from schemas.event import Head

_log = structlog.get_logger("cdc.cli")


class LogTail:
    """Prints what changed at a source, poll by poll; it writes nothing there.

    Args:
        open_capture: opens the source.
        output: where lines go.
        stop: ends it in good order.
        pause_s: the longest pause between two looks.
        control: print groups without rows as heartbeats, too.
    """

    def __init__(
        self,
        open_capture: Callable[[], Capture],
        output: Output,
        stop: asyncio.Event,
        pause_s: float,
        *,
        control: bool,
    ) -> None:
        self._open_capture = open_capture
        self._output = output
        self._stop = stop
        self._pause_s = pause_s
        self._control = control
        self._head: Head | None = None

    async def print_all(self, *, from_beginning: bool, follow: bool, timeout_s: float) -> None:
        """Print from the log's beginning or its end on, up to its end now or for ever.

        Raises:
            GaveUpError: the source was not reached within the timeout.
            CaptureStaleError: without ``follow``: capture is not installed, or outgrown by the schema.
        """
        backoff = Backoff()
        deadline_s = time.monotonic() + timeout_s
        while not self._stop.is_set() and not self._output.enough:
            try:
                async with self._open_capture() as capture:
                    await self._print_on(capture, from_beginning=from_beginning, follow=follow)
            except (SourceUnavailableError, CaptureStaleError) as error:
                # Capture is remade by the poller or node that follows this source.
                begun = follow and self._head is not None
                if not begun and isinstance(error, CaptureStaleError):
                    raise
                if not begun and time.monotonic() > deadline_s:
                    raise GaveUpError(error.message, error.remedy) from error
                _log.warning("trying again", reason=error.message, remedy=error.remedy)
                self._output.check_reader()
                await pause(self._stop, backoff.next())
            else:
                return

    async def _print_on(self, capture: Capture, *, from_beginning: bool, follow: bool) -> None:
        pace = IdlePace(self._pause_s)
        while not self._stop.is_set() and not self._output.enough:
            self._output.check_reader()
            if await capture.data_changed():
                with GroupLines(self._output.left) as lines:
                    moved = await self._poll(capture, lines, from_beginning=from_beginning)
                    # The source's read transaction is over: whoever reads our output may take its time.
                    if not lines.empty:
                        await self._output.send(lines)
                if moved:
                    pace.active()
            if not follow:
                return
            await pause(self._stop, pace.next())

    async def _poll(self, capture: Capture, lines: GroupLines, *, from_beginning: bool) -> bool:
        """Gather what was committed since the last look; say whether there was anything."""
        head = self._head
        async with capture.reading() as reader:
            state = await reader.state(None if head is None else head.change_id)
            here = log_head(state, reader.settings)
            prev = self._begin(state, from_beginning=from_beginning)
            if prev < state.high:
                await self._gather(reader, lines, prev, here)
        self._head = here
        return head != here

    def _begin(self, state: LogState, *, from_beginning: bool) -> int:
        """The id after which the group begins."""
        head = self._head
        if head is None:
            return state.pruned_to if from_beginning else state.high
        plan = plan_poll(head, state)
        match plan:
            case Idle():
                return state.high
            case Changes(prev=prev):
                return prev
        _log.warning("the change log does not lead on from where we were", reason=plan.reason)
        same_row = state.prev_nonce == head.nonce and head.change_id > state.pruned_to
        return head.change_id if same_row else state.pruned_to

    async def _gather(self, reader: SourceReader, lines: GroupLines, prev: int, here: Head) -> None:
        held: list[Change] = []
        async with aclosing(reader.changes(prev, here.change_id)) as pages:
            async for page in pages:
                _add(lines, held, prev, here, last=False)
                if lines.full:
                    return
                held = page
        _add(lines, held, prev, here, last=True)
        if lines.empty and self._control:
            lines.add(_line((Op.HEARTBEAT, "", b"", NIL, None, here.change_id, 0), prev, here, end=True))


def _add(lines: GroupLines, page: list[Change], prev: int, here: Head, *, last: bool) -> None:
    final = len(page) - 1 if last else -1
    for index, change in enumerate(page):
        lines.add(_line(change, prev, here, end=index == final))


def _line(change: Change, prev: int, here: Head, *, end: bool) -> Line:
    op, table, _, key_values, after, change_id, ts_ms = change
    return Line(
        op=op,
        table=table,
        key=key_values,
        after=after or b"",
        ts_ms=ts_ms,
        change_id=change_id,
        position=here.position,
        prev=prev,
        rows_at=here.exact_at,
        end=end,
    )
