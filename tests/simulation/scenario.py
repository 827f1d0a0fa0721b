"""What happens to a world: each seed draws which kinds of faults it has, how often, and when."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from tests.simulation.checks import ViolationError
from tests.simulation.world import World, render

if TYPE_CHECKING:
    from collections.abc import Callable

QUIET_SECONDS_MAX = 60.0
"""Simulated time within which every node arrives once the faults are gone."""

_KEYS = 6


class Scenario:
    """One seed from beginning to end."""

    def __init__(self, world: World) -> None:
        self.world = world
        rng = world.rng
        self.end_at = rng.uniform(6, 16)
        self.rates: dict[str, float] = {"transaction": rng.choice((1.0, 3.0, 8.0))}
        for name, rate in RATES.items():
            if rng.random() < 0.35:
                self.rates[name] = rate * rng.choice((0.5, 1.0, 2.0))
        if rng.random() < 0.6:
            world.crash_rate = rng.choice((0.3, 0.7, 1.0))
            world.crash_steps = rng.choice((30.0, 150.0, 600.0))
            world.failpoint_rate = rng.choice((0.0, 0.02, 0.1))
        world.slow_rate = rng.choice((0.0, 0.0, 0.02, 0.1))
        world.faults.crashes = True
        world.faults.answers = rng.random() < 0.5
        self.pollers = [world.add_poller(rng.choice((0.05, 0.3))) for _ in range(rng.choice((1, 1, 2, 3)))]
        self.nodes = [world.add_node() for _ in range(2)]
        if rng.random() < 0.3:
            self.nodes.append(world.add_embedded())

    def run(self) -> None:
        world = self.world
        for _ in range(world.rng.randint(0, 3)):
            self.transaction()
        for role in world.roles:
            world.loop.call_outside(world.rng.random() * world.rng.choice((0.1, 1, 10)), role.start)
        for name in self.rates:
            self._schedule(name)
        world.run(lambda: False, self.end_at)
        self.quiet()

    def quiet(self) -> None:
        """All faults are gone: everything must come right by itself."""
        world = self.world
        world.note("world", "faults end")
        world.faults.crashes = world.faults.answers = False
        world.broker.away_until = world.source.away_until = 0.0
        for role in world.roles:
            if role.process is not None:
                role.process.steps_left = None
                role.process.paused = False
            role.start()
        # What is on the wire still lands now and then.
        if not world.run(world.checks.arrived, self.end_at + QUIET_SECONDS_MAX):
            world.fail(f"not everybody arrived within {QUIET_SECONDS_MAX:g} s without faults")
            world.run(lambda: True, 0)

    def _schedule(self, name: str) -> None:
        world = self.world
        world.loop.call_outside(world.rng.expovariate(self.rates[name]), self._act, name)

    def _act(self, name: str) -> None:
        world = self.world
        if world.loop.now < self.end_at and world.failure is None:
            if not world.source.locked or name in ("kill", "pause"):
                getattr(self, name)()
            self._schedule(name)

    def transaction(self) -> None:
        rng = self.world.rng
        changes: list[tuple[str, int, tuple[Any, ...] | None]] = []
        for _ in range(rng.choice((1, 1, 2, 3, 8))):
            table = rng.choice("ab")
            key = rng.randrange(_KEYS)
            definition = self.world.source.now.schema.get(table)
            if rng.random() < 0.3 or definition is None:
                changes.append((table, key, None))
            else:
                cells = (rng.randrange(1000) for _ in definition.columns[1:])
                changes.append((table, key, (key, *cells)))
        self.world.source.transaction(changes)
        newest = self.world.source.now.log[-1:]
        self.world.note("source", "commits, log ends at %s", newest[0].change_id if newest else None)

    def kill(self) -> None:
        role = self.world.rng.choice(self.world.roles)
        if role.process is not None and role.process.alive:
            role.kill()


RATES: dict[str, float] = {"kill": 0.3}
"""Faults a second of simulated time, where a seed has them; each is a method of Scenario."""


def run_seed(seed: int, trace: Callable[[str], None] | None = None) -> World:
    """Runs one world; the world is over when this returns.

    Raises:
        ViolationError: something happened that must not; ``error.world`` is the world it happened in.
    """
    gc.disable()
    world = World(seed, trace)
    try:
        Scenario(world).run()
    except ViolationError as error:
        error.add_note("\n".join(render(line) for line in list(world.lines)[-60:]))
        raise
    finally:
        world.end()
        _bury(seed)
    return world


def _bury(seed: int) -> None:
    """Frees, now and then, what was under way."""
    if seed % 20 == 0:
        gc.collect()
