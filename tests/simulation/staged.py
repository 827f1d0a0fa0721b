"""Accidents that hardly ever come about by chance: several things have to happen one after the other.

Each is a coroutine that belongs to no process, with random numbers of its own: other seeds stay as they are.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.meta import Checkpoint
    from tests.simulation.scenario import Scenario
    from tests.simulation.source import Contents
    from tests.simulation.world import Role

_LED_ASTRAY_SHARE = 0.08
_AT_ONCE_SHARE = 0.1
_LEFT_AHEAD_SHARE = 0.04
_NEWCOMER_SHARE = 0.05
"""Of seeds."""

_OFFSETS = range(2, 12)
"""Heartbeats, one a second, bring a topic to an offset that is not too far."""

_WAIT_SECONDS_MAX = 12.0
_LOOK_SECONDS = 0.02

_WRITES_MAX = 20
"""Some change nothing, or what no trigger tells of."""


def stage(scenario: Scenario) -> None:
    """Starts what this seed has of them."""
    accidents = (
        (_LED_ASTRAY_SHARE, lead_astray),
        (_AT_ONCE_SHARE, poll_at_once),
        (_LEFT_AHEAD_SHARE, leave_ahead),
    )
    for share, accident in accidents:
        rng = random.Random(f"{accident.__name__} {scenario.world.seed}")
        if rng.random() < share:
            scenario.end_at = max(scenario.end_at, 14.0)
            scenario.world.loop.spawn(scenario.world.loop.outside, accident(scenario, rng))


async def lead_astray(scenario: Scenario, rng: random.Random) -> None:
    """A node sleeps while a backup is restored and the topic begun anew.

    At its very offset it then finds a group that begins at, or before, its position: of the same epoch, and
    of another history.
    """
    while not scenario.is_over:
        await asyncio.sleep(rng.uniform(0.0, 0.2))
        node = rng.choice(scenario.nodes[:2])
        stands = scenario.world.checks.stands(node.name)
        if stands is not None and stands.offset in _OFFSETS and not stands.between and stands.exact:
            await _Trap(scenario, rng, node, stands).lay()


class _Trap:
    """For one node, which has read the topic to its end."""

    def __init__(self, scenario: Scenario, rng: random.Random, node: Role, stands: Checkpoint) -> None:
        self._scenario = scenario
        self._world = scenario.world
        self._rng = rng
        self._node = node
        self._stands = stands
        self._offset = stands.offset or 0
        self._strides = rng.random() < 0.5
        """The group is to begin before the node's position, not at it."""

    async def lay(self) -> None:
        scenario, world, process = self._scenario, self._world, self._node.process
        backups = self._backups()
        if process is None or not process.alive or process.paused or world.source.locked or not backups:
            return
        world.note("operator", "leads %s astray from %s", self._node.name, self._stands)
        scenario.is_still = process.paused = True
        for poller in scenario.pollers:
            poller.wanted = poller is scenario.pollers[0]
            poller.kill()
        scenario.put_in_place(self._rng.choice(backups))
        world.broker.delete(world.topics.events)
        world.checks.begun_anew()
        await self._begin_anew()
        process.paused = False
        world.note(self._node.name, "wakes, the topic ends at %s", self._end())
        await asyncio.sleep(0.3)
        scenario.is_still = False
        for poller in scenario.pollers[1:]:
            world.come_back(poller)

    def _backups(self) -> list[Contents]:
        """States from shortly before the node's, of the same life, in which other rows were there."""
        at = self._stands.change_id
        moments = self._world.checks.moments(at - 6, at)
        if self._end() != self._offset or not moments or moments[-1].log[-1].change_id != at:
            return []
        *before, last = moments
        life = (self._stands.epoch, self._stands.epoch_nonce)
        of_it = [one for one in before if one.meta is not None and one.meta[:2] == life]
        return [one for one in of_it if one.tables != last.tables]

    async def _begin_anew(self) -> None:
        at, scenario = self._stands.change_id, self._scenario
        if await _comes(scenario, lambda: self._end() > 0):
            self._write_to(at - self._strides)
            if await _comes(scenario, lambda: self._end() >= self._offset) and self._end() == self._offset:
                self._write_to(at + 1)
                await _comes(scenario, lambda: self._end() > self._offset)

    def _end(self) -> int:
        topic = self._world.broker.topics.get(self._world.topics.events)
        return -1 if topic is None else topic.end

    def _write_to(self, change_id: int) -> None:
        source = self._world.source
        for _ in range(_WRITES_MAX):
            if (source.now.log[-1].change_id if source.now.log else 0) < change_id and not source.locked:
                self._scenario.write(self._rng, 1)


async def poll_at_once(scenario: Scenario, rng: random.Random) -> None:
    """Two programs look at a source at the same moment in which a backup was restored."""
    world = scenario.world
    while not scenario.is_over:
        await asyncio.sleep(rng.uniform(0.5, 3.0))
        if any(one.name.startswith("once") for one in world.loop.living()):
            # Of those that load for long each counts on from another epoch.
            continue
        if world.source.backups and not world.source.locked and not scenario.is_over:
            scenario.put_in_place(rng.choice(world.source.backups))
            scenario.write(rng, rng.randint(1, 3))
            world.run_once()
            world.run_once()
        else:
            scenario.backup()


async def leave_ahead(scenario: Scenario, rng: random.Random) -> None:
    """A node without access to the source is loaded from it by hand; then a backup from before is restored.

    The application writes no more, so that nothing of the topic reaches to where the node stands.
    """
    world, node = scenario.world, scenario.nodes[1]
    await asyncio.sleep(scenario.end_at - rng.uniform(1.0, 3.0))
    await _comes(scenario, lambda: not world.source.locked and world.source.now.meta is not None)
    if scenario.is_over or world.source.locked:
        return
    scenario.is_still = True
    backup = world.source.now
    for _ in range(2 * _WRITES_MAX):
        scenario.write(rng, 2)
    world.rebuild_from_source(node)
    if await _comes(scenario, lambda: node.wanted) and not world.source.locked:
        scenario.put_in_place(backup)


def comes_late(scenario: Scenario) -> bool:
    """Whether a new node starts only when the faults are over, and retention has just emptied the topic."""
    return random.Random(f"newcomer {scenario.world.seed}").random() < _NEWCOMER_SHARE


async def _comes(scenario: Scenario, condition: Callable[[], bool]) -> bool:
    """Waits for a condition; whether it came."""
    until = scenario.world.loop.now + _WAIT_SECONDS_MAX
    while not condition():
        if scenario.is_over or scenario.world.loop.now > until:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True
