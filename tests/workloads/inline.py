"""No threads: one workload hands over hundreds of times, and waits cost more than the work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest import mock

import cdc.source.sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class InlineLoop(asyncio.SelectorEventLoop):
    """Does in place what an executor is asked for."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # noqa: ARG002 -- the loop's interface
        return _done(lambda: func(*args))


def run_inline(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, all of it in this thread."""
    with (
        mock.patch.object(cdc.source.sqlite, "submit", lambda _, work: _done(work)),
        asyncio.Runner(loop_factory=InlineLoop) as runner,
    ):
        runner.run(main)


def _done(work: Callable[[], Any]) -> asyncio.Future[Any]:
    future = asyncio.get_running_loop().create_future()
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 -- it is whoever waits who is told
        future.set_exception(error)
    return future
