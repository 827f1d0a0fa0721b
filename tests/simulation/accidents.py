"""What happens to several parts at once: to source and topic, or to a source while a node loads from it.

Each has random numbers of its own: seeds without it do not change.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from schemas.codec import decode_event

if TYPE_CHECKING:
    from tests.simulation.kafka import Entries
    from tests.simulation.scenario import Scenario
    from tests.simulation.source import Contents

_BEGUN_ANEW_SHARE = 0.12
_BEGUN_ANEW_RATE = 0.25
"""Of seeds, and times a second in those that everything is begun anew while a node sleeps."""

_RESTORED_BELOW_SHARE = 0.08
_RESTORED_BELOW_RATE = 0.2
"""Of seeds, and times a second in those that the source is restored to below where a node loaded from it."""

_RESTORED_BETWEEN_SHARE = 0.3
_RESTORED_BETWEEN = 0.4
"""Of seeds that read in short moments, and of the groups there whose rows are newer than their end."""

_BACK_AT_MOST = 20
"""Transactions by which a restored source grows past what was read of it."""

_BUSY_RATE = 15.0
"""Transactions a second where moments are to differ."""


def begin_anew(scenario: Scenario) -> None:
    """While a node sleeps pollers are stopped, a backup is restored, and the topic deleted.

    The node wakes in another history of the same epoch, in a topic that may be longer than its own was.
    """
    world, rng = scenario.world, random.Random(f"begun anew {scenario.world.seed}")
    if rng.random() >= _BEGUN_ANEW_SHARE:
        return

    def later() -> None:
        world.loop.call_outside(rng.expovariate(_BEGUN_ANEW_RATE), happen)

    def happen() -> None:
        if scenario.is_over:
            return
        later()
        if not world.source.backups or world.source.locked:
            scenario.backup()
            return
        node = rng.choice(scenario.nodes).process
        if node is not None and node.alive and not node.paused:
            scenario.put_to_sleep(node, rng.uniform(3.0, 9.0))
        for poller in scenario.pollers:
            poller.kill()
        world.source.restore(world.source.backups[-1])
        world.checks.incident()
        world.broker.delete(world.topics.events)
        world.checks.begun_anew()
        world.note("operator", "restores the last backup, and deletes topic %s", world.topics.events)

    later()


def restore_below(scenario: Scenario) -> None:
    """While no poller runs, a node is loaded from the source, and a backup from just before is restored.

    Pollers find nothing that is missing. Sometimes what was replaced comes back while they publish.
    """
    world, rng = scenario.world, random.Random(f"restored below {scenario.world.seed}")
    if rng.random() >= _RESTORED_BELOW_SHARE:
        return

    def later() -> None:
        world.loop.call_outside(rng.expovariate(_RESTORED_BELOW_RATE), happen)

    def happen() -> None:
        if scenario.is_over:
            return
        later()
        if world.source.locked or not scenario.nodes[0].wanted:
            return
        world.note("operator", "loads node1 from the source, to restore a backup soon")
        loaded_s = rng.uniform(0.1, 0.6)
        _rest_pollers(scenario, rng, loaded_s)
        backup = world.source.now
        scenario.transaction()
        world.rebuild_from_source(scenario.nodes[0])
        world.loop.call_outside(loaded_s, exchange, backup, rng.random() < 0.5)

    def exchange(backup: Contents, back: bool) -> None:
        if scenario.is_over or world.source.locked:
            return
        before = world.source.now
        scenario.put_in_place(backup)
        scenario.transaction()
        if back:
            seconds = rng.uniform(0.2, 1.5)
            # Or they notice it before the node does.
            world.loop.call_outside(seconds, _rest_pollers, scenario, rng, 0.5)
            world.loop.call_outside(seconds, exchange, before, False)

    later()


def _rest_pollers(scenario: Scenario, rng: random.Random, seconds: float) -> None:
    for poller in scenario.pollers:
        poller.wanted = False
        poller.kill()
        scenario.world.loop.call_outside(seconds + rng.uniform(0.0, 1.0), scenario.world.come_back, poller)


def restore_between(scenario: Scenario) -> None:
    """Pollers die just behind a group whose rows are newer than its end.

    A backup from between the two is restored, and grows past both.
    """
    world, rng = scenario.world, random.Random(f"restored between {scenario.world.seed}")
    if not world.short_reads or rng.random() >= _RESTORED_BETWEEN_SHARE:
        return

    def look(topic: str, _: int, entries: Entries) -> None:
        if topic != world.topics.events or rng.random() > _RESTORED_BETWEEN:
            return
        event = decode_event(entries[-1][1] or b"")
        if event.last and event.high < event.exact_at:
            world.loop.call_outside(0.0, happen, event.high, event.exact_at)

    def happen(high: int, exact_at: int) -> None:
        backups = world.checks.moments(high, exact_at - 1)
        if scenario.is_over or world.source.locked or not backups:
            return
        for poller in scenario.pollers:
            poller.kill()
        scenario.put_in_place(rng.choice(backups))
        past = exact_at + rng.randint(-2, 2)
        for _ in range(_BACK_AT_MOST):
            log = world.source.now.log
            if log and log[-1].change_id < past:
                scenario.transaction()

    world.broker.watchers.append(look)
    scenario.rates["transaction"] = _BUSY_RATE
