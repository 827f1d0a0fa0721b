"""A deterministic event loop: virtual time, one seed, and processes that can die or sleep at any await.

It stands where asyncio's own loop does, so the shipped coroutines run unchanged. Callbacks of one process
run in the order asyncio would run them; which one comes next is drawn from the seed. Threads do not exist:
what is handed to an executor runs in the loop, a drawn moment later.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import types
from collections import deque
from collections.abc import Callable  # noqa: TC003 -- msgspec resolves annotations at run time
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import random
    from collections.abc import Coroutine, Generator

PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


class ProcessDied(BaseException):
    """Raised in the simulated parts when the process that called them is killed there."""


class StepsExceededError(Exception):
    """The world takes more steps than any sound one does: something spins."""


class Handle(msgspec.Struct, eq=False):
    """As much of an asyncio.Handle as is used; making one of those costs more than running most of them."""

    callback: Callable[..., Any]
    args: tuple[Any, ...]
    context: contextvars.Context
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Process:
    """One operating system process: a queue of callbacks that stops when it is killed or paused."""

    def __init__(self, name: str, loop: SimLoop) -> None:
        self.name = name
        self.loop = loop
        self.started_at = loop.now
        self.alive = True
        self.paused = False
        self.steps_left: int | None = None
        """Callbacks until it is killed; None: it lives."""
        self.queue: deque[Handle] = deque()
        self.task: asyncio.Task[Any] | None = None
        self.on_death: list[Callable[[], None]] = []

    def lives_on(self) -> bool:
        """Counts a callback of those until it is killed; False where it is."""
        assert self.steps_left is not None
        self.steps_left -= 1
        if self.steps_left < 0:
            self.kill()
        return self.alive

    def kill(self) -> None:
        """As kill -9 does: nothing of it runs again, no finally, no destructor."""
        if self.alive:
            self.alive = False
            self.queue.clear()
            for callback in self.on_death:
                callback()


class SimLoop(asyncio.AbstractEventLoop):
    """See the module."""

    def __init__(self, rng: random.Random, steps_max: int) -> None:
        self.rng = rng
        self.now = 0.0
        self.steps = 0
        self.closing = False
        self.over = False
        """Nothing that happens from here on tells anything."""
        self.failures: list[dict[str, Any]] = []
        self._steps_max = steps_max
        self._sequence = itertools.count()
        self._timers: list[tuple[float, int, Handle, Process]] = []
        self._processes: list[Process] = []
        self._all_processes: list[Process] = []
        self._busy_until: dict[Any, float] = {}
        """By executor; not by its id, which is given again when it is gone: then a seed would not replay."""
        self._tasks: list[asyncio.Task[Any]] = []
        self._running: Process | None = None
        """The process that runs, and whether another one has something to do since."""
        self._woken = False
        self.outside = self.process("world")

    def process(self, name: str) -> Process:
        process = Process(name, self)
        self._processes.append(process)
        self._all_processes.append(process)
        return process

    def spawn(self, process: Process, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts the first task of a process."""
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        process.task = self.create_task(coroutine, context=context)
        return process.task

    def run_until(self, condition: Callable[[], bool], until: float) -> bool:
        """Runs until the condition holds (looked at when time moves), time is over or `over` is set; says
        whether it was one of those two.
        """
        asyncio._set_running_loop(self)
        try:
            while True:
                self._run_ready()
                if self.over or condition():
                    return True
                if not self._advance(until):
                    return self.over or condition()
        finally:
            asyncio._set_running_loop(None)

    def _run_ready(self) -> None:
        """Runs every callback that is due."""
        choose, outside = self.rng.random, self.outside
        while ready := [process for process in self._processes if process.queue and not process.paused]:
            self._woken = False
            while ready and not self._woken:
                alone = len(ready) == 1 and ready[0] is not outside
                process = ready[0] if alone else ready[int(choose() * len(ready))]
                self._run(process, alone=alone)
                if not process.queue:
                    ready.remove(process)
                if process is outside:
                    # Only from there processes are ended, put to sleep and woken.
                    self._woken = True
            if not self._woken:
                return

    def _run(self, process: Process, *, alone: bool) -> None:
        """Runs the next callback of a process; of one that is alone, all until another one has something."""
        queue, self._running = process.queue, process
        while queue:
            handle = queue.popleft()
            if not handle.is_cancelled and (process.steps_left is None or process.lives_on()):
                self.steps += 1
                if self.steps > self._steps_max:
                    raise StepsExceededError
                try:
                    handle.context.run(handle.callback, *handle.args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 -- as asyncio's own loop does
                    message = f"exception in {handle.callback!r}"
                    self.call_exception_handler({"message": message, "exception": error})
            if self._woken or not alone:
                return

    def _advance(self, until: float) -> bool:
        timers, pop = self._timers, heapq.heappop
        while timers:
            when, _, handle, process = timers[0]
            if handle.is_cancelled or not process.alive:
                pop(timers)
                continue
            if when > until:
                break
            self.now = max(self.now, when)
            # A little slack puts what is due at nearly the same time into one round, in any order.
            together = when + 1e-4
            while timers and timers[0][0] <= together:
                _, _, handle, process = pop(timers)
                if process.alive and not handle.is_cancelled:
                    process.queue.append(handle)
            return True
        self.now = max(self.now, until)
        return False

    def living(self) -> list[Process]:
        return [process for process in self._processes if process.alive]

    def forget_dead(self) -> None:
        self._processes = [process for process in self._processes if process.alive]

    def stop_everything(self) -> None:
        """Ends the world.

        Python would end the coroutines that are under way when it collects them, and again what is tidied up
        there: that takes it several times as long. Nothing of it is seen by anybody: all processes are dead.
        """
        self.closing = True
        for process in self._processes:
            process.alive = False
            process.queue.clear()
        self._timers.clear()
        # Else what coroutines do as they end makes a loop of asyncio's own, which keeps it for ever.
        asyncio._set_running_loop(self)
        try:
            for task in self._tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                if not task.done():
                    _close(task.get_coro())
        finally:
            asyncio._set_running_loop(None)
        self._tasks.clear()
        # Contexts of tasks hold their process, in circles that only a collection takes apart.
        for process in self._all_processes:
            vars(process).clear()

    # What asyncio asks of a loop.

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:  # type: ignore[override]
        if context is None:
            context = contextvars.copy_context()
        handle = Handle(callback, args, context)
        process = context.get(PROCESS, self.outside)
        if process.alive:
            process.queue.append(handle)
            if process is not self._running:
                self._woken = True
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:  # type: ignore[override]
        return self._at(self.now + delay, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:  # type: ignore[override]
        return self._at(when, callback, args, context)

    def _at(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> Handle:
        if context is None:
            context = contextvars.copy_context()
        handle = Handle(callback, args, context)
        timer = (when, next(self._sequence), handle, context.get(PROCESS, self.outside))
        heapq.heappush(self._timers, timer)
        return handle

    def call_outside(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        """Calls something that belongs to no process: the network, a broker, a person."""
        handle = Handle(callback, args, contextvars.Context())
        heapq.heappush(self._timers, (self.now + delay, next(self._sequence), handle, self.outside))

    async def sleep(self, seconds: float) -> None:
        """As asyncio.sleep; most of what the world does is to wait here."""
        if seconds <= 0:
            await _turn()
            return
        future = asyncio.Future[None](loop=self)
        timer = self._at(self.now + seconds, _succeed, (future, None), None)
        try:
            await future
        finally:
            timer.is_cancelled = True

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Runs the call a moment later; calls of one executor one after the other."""
        future = self.create_future()
        context = contextvars.copy_context()
        start = self.now
        if executor is not None:
            start = max(start, self._busy_until.get(executor, 0.0))
        begin = start + self.rng.random() * 0.004
        if executor is not None:
            self._busy_until[executor] = begin

        def call() -> None:
            try:
                result = func(*args)
            except ProcessDied:
                return
            except BaseException as error:  # noqa: BLE001 -- it is the caller's
                self.call_later(self.rng.random() * 0.002, _fail, future, error)
            else:
                self.call_later(self.rng.random() * 0.002, _succeed, future, result)

        self.call_at(begin, call, context=context)
        return future

    def finalize_generator(self, generator: Any) -> None:
        """Closes a forgotten asynchronous generator, as asyncio does."""
        process = PROCESS.get(None)
        if not self.closing and process is not None and process.alive:
            self.create_task(generator.aclose())

    get_debug = bool
    """Asked with every future; the quickest way to say False."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.closing:
            self.failures.append(context)


@types.coroutine
def _turn() -> Generator[None, None, None]:
    """Lets others have their turn."""
    yield


def _close(coroutine: Any) -> None:
    """Ends a coroutine, which awaits something else now and then before it does."""
    for _ in range(20):
        with contextlib.suppress(BaseException):
            coroutine.close()
            return


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
