"""Runs a command's coroutine, and ends it in good order when a signal says so."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

from cdc import limits
from cdc.cli.progress import showing_progress
from schemas.errors import CdcError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from cdc.cli.common import Common

STOP_GRACE_S = 3.0
"""How long a command may go on by itself after the first signal, before it is cancelled."""
STOP_LIMIT_S = 4.5
"""When the process ends whatever it does: every stop is safe, and 5 s are promised (CONTRACT)."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_Result = TypeVar("_Result")


def run_async(
    work: Coroutine[Any, Any, _Result],
    *,
    stop: asyncio.Event | None = None,
    shown_by: Common | None = None,
) -> _Result:
    """Run a coroutine to its end on uvloop.

    SIGINT and SIGTERM set ``stop``, and the coroutine is to finish what it has in hand and return. Without
    ``stop``, after a second signal, and after `STOP_GRACE_S`, it is cancelled. A process that still lives
    after `STOP_LIMIT_S` (a thread in a call that does not return) is ended with exit code 0.

    With ``shown_by``, the command's flags, loads and snapshots show how far they are.

    Raises:
        KeyboardInterrupt: the coroutine was cancelled by a signal; the command ends with 0.
        CdcError: the process may open too few files.
    """
    _refuse_few_files(work)
    # What the imports made lives as long as the process: the collector need not look at it again and again
    # while records come and go (5 % of a node's processor time).
    gc.freeze()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            whole = _watch_signals(work, stop)
            return runner.run(whole if shown_by is None else showing_progress(shown_by, whole))
    finally:
        # A loop that ends leaves the defaults behind, which would kill a command that prints its result.
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse_few_files(work: Coroutine[Any, Any, Any]) -> None:
    """Say so at once, instead of failing anywhere: an event loop alone takes eight, clients many more."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < limits.FILE_HANDLES_MIN:
        work.close()
        raise CdcError(
            f"this process may open {allowed} files at a time, it needs {limits.FILE_HANDLES_MIN}",
            "raise the limit: ulimit -n 1024",
        )


async def _watch_signals(work: Coroutine[Any, Any, _Result], stop: asyncio.Event | None) -> _Result:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            deadline = threading.Timer(STOP_LIMIT_S, os._exit, (int(ExitCode.DONE),))
            deadline.daemon = True
            deadline.start()
        if stop is None or signals > 1:
            task.cancel()
        else:
            stop.set()
            loop.call_later(STOP_GRACE_S, task.cancel)

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        if signals:
            raise KeyboardInterrupt from None
        raise
