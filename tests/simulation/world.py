"""One simulated world: a source, Kafka, a disk, and the processes that ship, all driven by one seed."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cdc import embedded
from cdc.capture import CaptureStaleError, prune
from cdc.kafka import polling
from cdc.poller import MINTS_MAX, LogUnsteadyError
from consumers import following, writer
from schemas.errors import CdcError, GaveUpError, SourceError
from schemas.topics import Topics
from tests.simulation import source as sources
from tests.simulation.checks import Checks, ViolationError
from tests.simulation.kafka import Broker, SimClients
from tests.simulation.loop import PROCESS, Process, SimLoop, StepsExceededError
from tests.simulation.redb import Disk, File, SimPath
from tests.simulation.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from consumers.groups import Group
    from schemas.event import Head

STEPS_MAX = 400_000
"""Callbacks of one world; a sound one takes some ten thousand."""

TRACE_LINES = 2000


class Counts(NamedTuple):
    """What a world was made of, or several of them."""

    commits: int = 0
    loads: int = 0
    mints: int = 0
    pruned: int = 0
    steps: int = 0

    def plus(self, more: Counts) -> Counts:
        return Counts(*map(sum, zip(self, more, strict=True)))


class Faults(msgspec.Struct):
    """Which kinds of faults this world has at this moment."""

    crashes: bool = False
    answers: bool = False


class Role:
    """A program that somebody keeps running: started again some time after it dies or ends."""

    def __init__(
        self, world: World, name: str, main: Callable[[asyncio.Event], Coroutine[Any, Any, Any]]
    ) -> None:
        self.world = world
        self.name = name
        self.process: Process | None = None
        self.stop: asyncio.Event | None = None
        self.starts = 0
        self.wanted = True
        self._main = main

    def start(self) -> None:
        world = self.world
        if not self.wanted or (self.process is not None and self.process.alive):
            return
        self.starts += 1
        process = self.process = world.loop.process(f"{self.name}.{self.starts}")
        process.world = world  # type: ignore[attr-defined]
        process.on_death.append(self._died)
        if world.faults.crashes and world.rng.random() < world.crash_rate:
            process.steps_left = int(world.rng.expovariate(1 / world.crash_steps))
        world.note(process.name, "starts")
        self.stop = asyncio.Event()
        task = world.loop.spawn(process, self._main(self.stop))
        task.add_done_callback(lambda task: self._ended(process, task))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def _died(self) -> None:
        world, process = self.world, self.process
        assert process is not None
        world.note(process.name, "is killed")
        world.loop.forget_dead()
        world.loop.call_outside(world.restart_seconds(), self.start)

    def _ended(self, process: Process, task: asyncio.Task[Any]) -> None:
        if self.world.loop.closing or not process.alive:
            return
        process.on_death.clear()
        process.kill()
        error = None if task.cancelled() else task.exception()
        self.world.note(process.name, "ends: %r", error)
        if error is not None:
            self.world.fail(f"{process.name} gave up: {error!r}", error)
        self.world.loop.forget_dead()
        self.world.loop.call_outside(self.world.restart_seconds(), self.start)


class _NodeSource(embedded.NodeSource):
    """The source of a node; what it answers is looked at."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world.capture_opener())  # type: ignore[arg-type]
        self._world = world
        self._name = name

    async def leads_through(self, head: Head, group: Group) -> bool:
        asked = self._world.checks.asked(self._name, head, group)
        answer = await super().leads_through(head, group)
        asked(answer)
        return answer

    async def has_lost(self, head: Head) -> bool:
        lost = await super().has_lost(head)
        if lost:
            self._world.checks.lost(self._name, head)
        return lost


class World:
    """See the module.

    Args:
        seed: the world's fate.
        trace: called with every line, as it happens.
    """

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.short_reads = False
        """The source is read in many short moments."""
        self.loop = SimLoop(self.rng, STEPS_MAX)
        self.faults = Faults()
        self.crash_rate = 0.0
        self.crash_steps = 300.0
        self.failpoint_rate = 0.0
        self.slow_rate = 0.0
        self.ack_seconds_max = 5.0
        self.batch_records_max = self.rng.choice((1, 2, 3, 8))
        self.fetch_records_max = self.rng.choice((1, 3, 20))
        self.page_seconds = self.rng.choice((0.0, 0.0, 0.4))
        """How long a page of a whole table takes at most: loads that go on while much else happens."""
        self.retention_seconds = self.rng.choice((0.0, 1.0, 1000.0))
        self.topics = Topics("t")
        self.settings = SETTINGS[0]
        """What programs that start now are configured to publish."""
        self.broker = Broker(self)
        self.disk = Disk(self)
        self.source = sources.SimSource(self)
        self.clients = SimClients()
        self.cache_names: set[str] = set()
        self.sourced: set[str] = set()
        """Those of nodes that have access to the source."""
        self.roles: list[Role] = []
        self.checks = Checks(self)
        self.source.record_truth = self.checks.record_truth
        self.lines: deque[tuple[float, str, str, tuple[Any, ...]]] = deque(maxlen=TRACE_LINES)
        self.failure: ViolationError | None = None
        self.quiet_at = float("inf")
        """When the faults ended."""
        self._trace = trace

    # What the simulated parts draw and tell.

    def latency(self) -> float:
        return self.rng.random() * 0.004

    def wire_seconds(self) -> float:
        if self.faults.answers and self.rng.random() < self.slow_rate:
            return self.rng.random() * 12
        return self.rng.random() * 0.02

    def restart_seconds(self) -> float:
        return self.rng.random() * (3.0 if self.faults.crashes else 0.5)

    def note(self, who: str, text: str, *args: Any) -> None:
        self.lines.append((self.loop.now, who, text, args))
        if self._trace is not None:
            self._trace(render(self.lines[-1]))

    def log(self, level: str, event: str, values: dict[str, Any]) -> None:
        """A line that the shipped code logs."""
        process = PROCESS.get(None)
        if event == "took up the chain" and values["broken"]:
            # This life found nothing to go on from: it may begin an epoch.
            self.checks.incident()
        details = " ".join(f"{key}={value}" for key, value in values.items())
        self.note("?" if process is None else process.name, f"{level}: %s %s", event, details)

    def fail(self, what: str, cause: BaseException | None = None) -> None:
        """Ends the world: something happened that must not."""
        if self.failure is None and not self.loop.closing:
            self.failure = ViolationError(what)
            self.failure.__cause__ = cause
            self.loop.over = True
            self.note("VIOLATION", "%s", what)

    def committed(self, name: str, file: File) -> None:
        self.checks.committed(name, file)

    def minted(self, process: Process, above: int) -> None:
        self.note(process.name, "mints an epoch: %s", self.source.now.meta)
        self.checks.minted(process, above)

    def install_tables(self, *args: Any) -> None:
        sources.install_tables(self.source, *args)

    def read_transaction(
        self, source: sources.SimSource, contents: sources.Contents
    ) -> sources.SimTransaction:
        return sources.SimTransaction(source, contents)

    # Programs.

    def add_poller(self, pause_seconds: float = 0.3) -> Role:
        def main(stop: asyncio.Event) -> Coroutine[Any, Any, Any]:
            pipeline = polling.Pipeline(
                self.capture_opener(),
                self.clients,
                self.topics,
                pause_seconds,
                retention_seconds=self.retention_seconds,
            )  # type: ignore[arg-type]
            return polling.poll_forever(pipeline, stop)

        return self._add(f"poller{1 + sum(r.name.startswith('poller') for r in self.roles)}", main)

    def add_node(self, *, sourced: bool = False) -> Role:
        """A cache node; ``sourced``: it may load from the source where Kafka has no snapshot."""
        name = f"node{1 + sum(r.name.startswith('node') for r in self.roles)}"
        if sourced:
            self.sourced.add(name)

        def main(stop: asyncio.Event) -> Coroutine[Any, Any, Any]:
            return following.follow_forever(
                self._open_writer(name),
                self.clients.consumer,
                self.topics,
                stop,
                _NodeSource(self, name) if sourced else None,
            )

        return self._add(name, main)

    def add_embedded(self, pause_seconds: float = 0.3) -> Role:
        def main(stop: asyncio.Event) -> Coroutine[Any, Any, Any]:
            return embedded.run(
                self.capture_opener(),
                self._open_writer("embedded"),
                pause_seconds,
                stop,
                retention_seconds=self.retention_seconds,
            )  # type: ignore[arg-type]

        return self._add("embedded", main)

    def run_once(self) -> None:
        """Somebody runs ``cdc poll --once`` beside everything else."""
        process = self.loop.process(f"once{self.loop.steps}")
        process.world = self  # type: ignore[attr-defined]
        self.note(process.name, "starts")
        pipeline = polling.Pipeline(self.capture_opener(), self.clients, self.topics, 0.3)  # type: ignore[arg-type]
        task = self.loop.spawn(process, polling.poll_once(pipeline, asyncio.Event(), 5.0))
        task.add_done_callback(lambda task: self._once_ended(process, task))

    def _once_ended(self, process: Process, task: asyncio.Task[Any]) -> None:
        process.kill()
        error = task.exception()
        self.note(process.name, "ends: %r", error or task.result())
        # Where the schema, or the log, changes during every try, it says so and ends.
        unsteady = self.checks.incidents_since(process.started_at) > MINTS_MAX
        expected = (GaveUpError, CaptureStaleError, *((LogUnsteadyError,) if unsteady else ()))
        if error is not None and not isinstance(error, expected):
            self.fail(f"{process.name} gave up: {error!r}", error)

    def run_prune(self) -> None:
        """Somebody runs ``cdc prune --keep 0s`` beside everything else."""
        process = self.loop.process(f"prune{self.loop.steps}")
        process.world = self  # type: ignore[attr-defined]
        self.note(process.name, "starts")

        async def main() -> prune.Pruned | None:
            async with self.capture_opener()() as capture:
                return await prune.prune(capture.client, 0.0) if await capture.installed() else None  # type: ignore[arg-type]

        task = self.loop.spawn(process, main())
        task.add_done_callback(lambda task: self._prune_ended(process, task))

    def _prune_ended(self, process: Process, task: asyncio.Task[Any]) -> None:
        process.kill()
        error = task.exception()
        self.note(process.name, "ends: %r", error or task.result())
        if error is not None and not isinstance(error, (SourceError, CaptureStaleError)):
            self.fail(f"{process.name} gave up: {error!r}", error)

    def rebuild_from_source(self, role: Role) -> None:
        """Somebody runs ``cdc rebuild --from source`` at a node that is not running."""
        role.wanted = False
        role.kill()
        self.checks.rebuilt(role.name)
        process = self.loop.process(f"rebuild{self.loop.steps}")
        process.world = self  # type: ignore[attr-defined]
        self.note(process.name, "rebuilds %s from the source", role.name)
        process.on_death.append(lambda: self.come_back(role))
        task = self.loop.spawn(process, self._rebuild(role.name))
        task.add_done_callback(lambda task: self._rebuilt(process, task))

    async def _rebuild(self, name: str) -> int:
        async with self._open_writer(name)() as cache:
            return await _NodeSource(self, name).load(cache)

    def _rebuilt(self, process: Process, task: asyncio.Task[Any]) -> None:
        if self.loop.closing or not process.alive:
            return
        error = task.exception()
        self.note(process.name, "ends: %r", error or task.result())
        if error is not None and not isinstance(error, CdcError):
            self.fail(f"{process.name} gave up: {error!r}", error)
        process.kill()

    def come_back(self, role: Role) -> None:
        role.wanted = True
        self.loop.forget_dead()
        self.loop.call_outside(self.restart_seconds(), role.start)

    def capture_opener(self) -> Callable[[], sources.SimCapture]:
        """What a program has from its start to its end: the configuration of that moment."""
        settings = self.settings
        return lambda: sources.SimCapture(self.source, settings)

    def _open_writer(self, name: str) -> Callable[[], writer.CacheWriter]:
        self.cache_names.add(name)
        return lambda: writer.CacheWriter(SimPath(self.disk, name), name)  # type: ignore[arg-type]

    def _add(self, name: str, main: Callable[[asyncio.Event], Coroutine[Any, Any, Any]]) -> Role:
        role = Role(self, name, main)
        self.roles.append(role)
        return role

    # Time.

    def run(self, condition: Callable[[], bool], until: float) -> bool:
        """Runs until the condition holds or the time is over.

        Raises:
            ViolationError: something happened that must not.
        """
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self.loop.finalize_generator)
        try:
            held = self.loop.run_until(condition, until)
        except StepsExceededError:
            self.fail(f"more than {STEPS_MAX} steps")
            held = False
        finally:
            sys.set_asyncgen_hooks(*hooks)
        if self.loop.failures:
            self.fail(f"asyncio: {self.loop.failures[0]}", self.loop.failures[0].get("exception"))
        if self.failure is not None:
            raise self.failure
        return held

    def end(self) -> Counts:
        """Lets go of everything, and of what is still under way without letting it do anything."""
        checks, loop = self.checks, self.loop
        loop.stop_everything()
        # Its parts know it: taken from each other they are freed at once, not by a collection much later.
        vars(self).clear()
        return Counts(checks.commits, checks.loads, checks.mints, checks.pruned, loop.steps)


def say(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def render(line: tuple[float, str, str, tuple[Any, ...]]) -> str:
    now, who, text, args = line
    return f"{now:9.4f} {who:<12} {text % args if args else text}"
