"""What happens to a world: each seed draws which kinds of faults it has, how often, and when."""

from __future__ import annotations

import contextvars
import gc
import random
from typing import TYPE_CHECKING, Any

from tests.simulation.accidents import begin_anew, restore_below, restore_between
from tests.simulation.checks import ViolationError
from tests.simulation.leases import LEASE_SECONDS
from tests.simulation.loop import PROCESS
from tests.simulation.settings import BOUNDED, SETTINGS
from tests.simulation.staged import comes_late, stage
from tests.simulation.world import World, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.loop import Process
    from tests.simulation.source import Contents
    from tests.simulation.world import Counts, Role

QUIET_SECONDS_MAX = 60.0
"""Simulated time within which every node arrives once the faults are gone."""

_KEYS = 6

_BOUNDED = frozenset((6, 9, 15, 16))
"""Of which seeds, modulo 19, nodes hold a part of the rows only: none that had found something before."""

_CONFIGURED_SHARE = 0.25
_CONFIGURED_RATE = 0.5
"""Of seeds, and changes of the configuration a second in those."""


class Scenario:
    """One seed from beginning to end."""

    def __init__(self, world: World) -> None:
        self.world = world
        rng = world.rng
        self.end_at = rng.uniform(6, 16)
        self.configuring = random.Random(f"settings {world.seed}")
        self.configured = self.configuring.random() < _CONFIGURED_SHARE
        self.settings = SETTINGS
        self.is_still = False
        """The application does not write."""
        self.cells = 1000
        if world.seed % 19 in _BOUNDED:
            self.settings = (*BOUNDED, SETTINGS[0])
            world.settings = self.configuring.choice(BOUNDED)
            # Few values, so that rows often follow others, and often tie.
            self.cells = _KEYS
        self.rates: dict[str, float] = {"transaction": rng.choice((1.0, 3.0, 8.0))}
        world.short_reads = random.Random(f"short reads {world.seed}").random() < SHORT_READS
        restore_between(self)
        share = rng.choice((0.1, 0.3, 0.5))
        disaster = rng.random() < 0.2
        for name, rate in RATES.items():
            if rng.random() < share or (disaster and name in _DISASTERS):
                self.rates[name] = rate * rng.choice((0.5, 1.0, 2.0))
        if rng.random() < 0.6:
            world.crash_rate = rng.choice((0.3, 0.7, 1.0))
            world.crash_steps = rng.choice((30.0, 150.0, 600.0))
            world.failpoint_rate = rng.choice((0.0, 0.02, 0.1))
        world.slow_rate = rng.choice((0.0, 0.0, 0.02, 0.1))
        world.faults.crashes = True
        world.faults.answers = rng.random() < 0.5
        self.pollers = [world.add_poller(rng.choice((0.05, 0.3))) for _ in range(rng.choice((1, 1, 2, 3)))]
        sourced = rng.random() < 0.4
        self.nodes = [world.add_node(sourced=sourced and number == 0) for number in range(2)]
        if rng.random() < 0.3:
            self.nodes.append(world.add_embedded())

    @property
    def is_over(self) -> bool:
        """Whether no fault happens any more."""
        return self.world.loop.now >= self.end_at or self.world.failure is not None

    def run(self) -> None:
        world = self.world
        for _ in range(world.rng.randint(0, 3)):
            self.transaction()
        for role in world.roles:
            world.loop.call_outside(world.rng.random() * world.rng.choice((0.1, 1, 10)), role.start)
        for name in self.rates:
            self._schedule(name)
        if self.configured:
            self._reconfigure_later()
        begin_anew(self)
        restore_below(self)
        stage(self)
        world.run(lambda: False, self.end_at)
        self.quiet()

    def quiet(self) -> None:
        """All faults are gone: everything must come right by itself."""
        world = self.world
        world.note("world", "faults end")
        world.quiet_at = world.loop.now
        world.faults.crashes = world.faults.answers = False
        world.broker.away_until = world.source.away_until = world.disk.full_until = 0.0
        for role in world.roles:
            if role.process is not None:
                role.process.steps_left = None
                role.process.paused = False
            role.start()
        if comes_late(self):
            self.truncate_wholly()
            world.add_node().start()
        # What is on the wire still lands now and then.
        if not world.run(world.checks.arrived, self.end_at + QUIET_SECONDS_MAX):
            world.fail(f"not everybody arrived within {QUIET_SECONDS_MAX:g} s without faults")
            world.run(lambda: True, 0)

    def _schedule(self, name: str) -> None:
        world = self.world
        world.loop.call_outside(world.rng.expovariate(self.rates[name]), self._act, name)

    def _act(self, name: str) -> None:
        world = self.world
        if not self.is_over:
            if not world.source.locked or name in ("kill", "pause", "stop"):
                getattr(self, name)()
            self._schedule(name)

    def transaction(self) -> None:
        if not self.is_still:
            rng = self.world.rng
            self.write(rng, rng.choice((1, 1, 2, 3, 8)))

    def write(self, rng: random.Random, changes_max: int) -> None:
        """Somebody commits."""
        changes: list[tuple[str, int, tuple[Any, ...] | None]] = []
        for _ in range(changes_max):
            table = rng.choice("ab")
            key = rng.randrange(_KEYS)
            definition = self.world.source.now.schema.get(table)
            if rng.random() < 0.3 or definition is None:
                changes.append((table, key, None))
            else:
                cells = (rng.randrange(self.cells) for _ in definition.columns[1:])
                changes.append((table, key, (key, *cells)))
        self.world.source.transaction(changes)
        newest = self.world.source.now.log[-1:]
        self.world.note("source", "commits, log ends at %s", newest[0].change_id if newest else None)

    def kill(self) -> None:
        if (role := self._living()) is not None:
            assert role.process is not None
            role.process.kill()

    def pause(self) -> None:
        """A process sleeps (a stopped container, a long collection, a laptop's lid) and wakes much later."""
        self._sleep(self.world.rng.choice((0.5, 3.0, 10.0)) * self.world.rng.random())

    def _sleep(self, seconds: float) -> None:
        role = self._living()
        if role is None or role.process is None or role.process.paused:
            return
        self.put_to_sleep(role.process, seconds)

    def put_to_sleep(self, process: Process, seconds: float) -> None:
        self.world.note(process.name, "sleeps for %.1f s", seconds)
        process.paused = True
        self.world.loop.call_outside(seconds, self._wake, process)

    def _wake(self, process: Process) -> None:
        if process.paused:
            process.paused = False
            self.world.note(process.name, "wakes")

    def stop(self) -> None:
        """Somebody stops a program in good order; it is started again later."""
        role = self._living()
        if role is not None and role.process is not None and role.stop is not None:
            self.world.note(role.process.name, "is told to stop")
            context = contextvars.Context()
            context.run(PROCESS.set, role.process)
            context.run(role.stop.set)

    def poll_once(self) -> None:
        self.world.run_once()

    def _reconfigure_later(self) -> None:
        seconds = self.configuring.expovariate(_CONFIGURED_RATE)
        self.world.loop.call_outside(seconds, self._reconfigure)

    def _reconfigure(self) -> None:
        """Somebody changes what is published; programs that start from now on know it."""
        world = self.world
        if not self.is_over:
            world.settings = self.configuring.choice(self.settings)
            world.note("operator", "configures %s", world.settings)
            living = [role for role in (*self.pollers, *self.nodes) if role.process is not None]
            if living and self.configuring.random() < 0.7:
                self.configuring.choice(living).kill()
            self._reconfigure_later()

    def rebuild_from_source(self) -> None:
        node = self.nodes[0]
        if node.wanted:
            self.world.rebuild_from_source(node)

    def backup(self) -> None:
        self.world.source.backup()
        self.world.note("source", "is backed up")

    def restore(self) -> None:
        if self.world.source.backups:
            self.put_in_place(self.world.rng.choice(self.world.source.backups))

    def put_in_place(self, backup: Contents) -> None:
        source = self.world.source
        source.restore(backup)
        newest = source.now.log[-1:]
        self.world.note(
            "source", "a backup is restored in place, log ends at %s", newest[0].change_id if newest else None
        )
        self.world.checks.incident()

    def replace(self) -> None:
        self.world.source.replace()
        self.world.note("source", "another database takes its place")
        self.world.checks.incident()

    def wipe_capture(self) -> None:
        self.world.source.wipe_capture()
        self.world.note("source", "capture is uninstalled")
        self.world.checks.incident()

    def break_log(self) -> None:
        # Of the newest row nothing tells that it was there, until the next change.
        log = self.world.source.now.log[:-1]
        if log:
            row = self.world.rng.choice(log[-6:])
            self.world.source.break_log(row.change_id)
            self.world.note("source", "somebody deletes log row %s", row.change_id)
            self.world.checks.incident()

    def prune(self) -> None:
        self.world.run_prune()

    def sleep_past_the_lease(self) -> None:
        """A process sleeps for longer than a lease lives."""
        self._sleep(LEASE_SECONDS * self.world.rng.uniform(1.0, 2.0))

    def prune_by_hand(self) -> None:
        """Somebody deletes what leases hold, and says so."""
        log = self.world.source.now.log
        if log:
            to = self.world.rng.choice(log[-8:]).change_id
            self.world.source.prune(to)
            self.world.note("source", "the log is pruned to %s", to)

    def alter(self) -> None:
        tables = list(self.world.source.now.schema)
        if tables:
            table = self.world.rng.choice(tables)
            self.world.source.alter(table)
            self.world.note("source", "table %s gets a column", table)

    def drop_or_create(self) -> None:
        table = self.world.rng.choice("ab")
        self.world.source.drop_or_create(table)
        self.world.note("source", "table %s is dropped or made", table)

    def drop_triggers(self) -> None:
        table = self.world.rng.choice("ab")
        self.world.source.drop_triggers(table)
        self.world.note("source", "triggers of table %s are dropped", table)

    def truncate_topic(self) -> None:
        """Retention deletes the oldest records."""
        topic = self.world.broker.topics.get(self.world.topics.events)
        if topic is not None and topic.records:
            rng = self.world.rng
            topic.truncate(rng.choice((rng.randint(topic.start, topic.end), topic.end)))
            self.world.note("broker", "retention: topic %s begins at %s", topic.name, topic.start)

    def truncate_wholly(self) -> None:
        topic = self.world.broker.topics.get(self.world.topics.events)
        if topic is not None:
            topic.truncate(topic.end)
            self.world.note("broker", "retention: topic %s begins at %s", topic.name, topic.start)

    def delete_topics(self) -> None:
        topics = self.world.topics
        names = self.world.rng.choice(
            ((topics.events,), (topics.snapshots,), (topics.events, topics.snapshots))
        )
        for name in names:
            self.world.broker.delete(name)
            self.world.note("broker", "topic %s is deleted", name)
        if topics.events in names:
            self.world.checks.topic_deleted()

    def start_over(self) -> None:
        """After a disaster: a backup is restored, and the topic deleted with what was published after it."""
        self.restore()
        self.world.broker.delete(self.world.topics.events)
        self.world.checks.begun_anew()
        self.world.note("broker", "topic %s is deleted", self.world.topics.events)

    def broker_away(self) -> None:
        seconds = self.world.rng.choice((0.5, 2.0, 8.0)) * self.world.rng.random()
        self.world.broker.away_until = self.world.loop.now + seconds
        self.world.note("broker", "is away for %.1f s", seconds)

    def source_away(self) -> None:
        seconds = self.world.rng.choice((0.01, 0.1, 2.0)) * self.world.rng.random()
        self.world.source.away_until = self.world.loop.now + seconds
        self.world.note("source", "is away for %.2f s", seconds)

    def disk_full(self) -> None:
        seconds = self.world.rng.choice((0.1, 2.0)) * self.world.rng.random()
        self.world.disk.full_until = self.world.loop.now + seconds
        self.world.note("disk", "is full for %.1f s", seconds)

    def big_row(self) -> None:
        """A row as large as some records, or larger than a row may be."""
        rng, schema = self.world.rng, self.world.source.now.schema
        if "a" in schema:
            cells = [rng.randrange(1000) for _ in schema["a"].columns[1:]]
            cells[0] = "x" * rng.choice((rng.randint(100, 420), rng.randint(300, 1700)))
            key = rng.randrange(_KEYS)
            self.world.source.transaction([("a", key, (key, *cells))])
            self.world.note("source", "commits a row of some %d bytes, key %d", len(cells[0]), key)

    def _living(self) -> Role | None:
        living = [role for role in self.world.roles if role.process is not None and role.process.alive]
        return self.world.rng.choice(living) if living else None


SHORT_READS = 0.3
"""Share of the seeds whose source is read in many short moments."""

RATES: dict[str, float] = {
    "kill": 0.3,
    "pause": 0.3,
    "stop": 0.2,
    "poll_once": 0.2,
    "backup": 0.4,
    "restore": 0.2,
    "replace": 0.05,
    "wipe_capture": 0.05,
    "break_log": 0.1,
    "prune": 0.3,
    "prune_by_hand": 0.2,
    "sleep_past_the_lease": 0.05,
    "alter": 0.2,
    "drop_or_create": 0.15,
    "drop_triggers": 0.2,
    "truncate_topic": 0.3,
    "delete_topics": 0.1,
    "start_over": 0.1,
    "broker_away": 0.15,
    "source_away": 0.3,
    "disk_full": 0.15,
    "big_row": 1.0,
    "rebuild_from_source": 0.3,
}
"""Faults a second of simulated time, where a seed has them; each is a method of Scenario."""


_DISASTERS = frozenset(
    ("backup", "restore", "truncate_topic", "delete_topics", "start_over", "pause", "stop")
)
"""What some seeds have all of: alone they are harmless, together they are not."""


def run_seed(seed: int, trace: Callable[[str], None] | None = None) -> Counts:
    """Runs one world; the world is over when this returns.

    Raises:
        ViolationError: something happened that must not; its notes are the last steps.
    """
    gc.disable()
    world = World(seed, trace)
    try:
        Scenario(world).run()
    except ViolationError as error:
        error.add_note("\n".join(_last_steps(world)))
        raise
    finally:
        counts = world.end()
        _bury(seed)
    return counts


def _last_steps(world: World) -> list[str]:
    """The last steps that tell something: of a stall those before it, and a few of it."""
    lines = list(world.lines)
    telling = [line for line in lines if line[0] < world.quiet_at + 5] or lines
    shown = telling[-60:] + [line for line in lines[-5:] if line not in telling]
    return [render(line) for line in shown]


def _bury(seed: int) -> None:
    """Frees, now and then, what was under way: often, as long as it is in the processor's caches."""
    if seed % 5 == 0:
        gc.collect()
