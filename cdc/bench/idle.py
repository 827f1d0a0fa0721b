"""What our processes cost when nothing happens."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import cdc
from cdc.bench import workload
from cdc.bench.figure import Skipped, no_kafka
from cdc.bench.process import can_look, cpu_seconds
from consumers.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure

SUMMARY = "the cost of doing nothing"

_START_SECONDS_MAX = 30.0
_SETTLE_SECONDS = 2.0


def measure(bench: Bench) -> Iterator[Figure | Skipped]:
    """Measures ``cdc run``, and ``cdc poll`` beside ``cdc consume``, at rest."""
    if not can_look():
        yield Skipped("idle", "this system does not say what a process uses (no /proc)")
        return
    yield from _at_rest(bench, ("run",), None)
    if bench.broker is None:
        yield no_kafka("idle.poll")
        yield no_kafka("idle.consume")
    else:
        yield from _at_rest(bench, ("poll", "consume"), bench.broker.new_topic())


def _at_rest(bench: Bench, names: tuple[str, ...], topic: str | None) -> Iterator[Figure]:
    way = "embedded" if topic is None else "kafka"
    database, seconds = bench.folder / f"{way}.db", bench.scale.seconds
    workload.create(database, bench.scale.rows)
    commands = bench.commands(database, f"{way}.redb", topic)
    for once in [("sync",)] if topic is None else [("poll", "--once"), ("consume", "--once")]:
        commands.run(*once)
    runs: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        pids = {name: stack.enter_context(commands.running(name)) for name in names}
        cache = stack.enter_context(Cache.open(bench.folder / f"{way}.redb"))
        with closing(workload.connect(database)) as connection:
            connection.execute(workload.UPDATE, workload.Rows().update(1))
            cache.wait_for(cdc.position(connection), timeout=_START_SECONDS_MAX)
        time.sleep(min(_SETTLE_SECONDS, seconds))
        for _ in range(bench.scale.repeat):
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            began = time.monotonic()
            time.sleep(seconds)
            lasted = time.monotonic() - began
            for name, pid in pids.items():
                runs[name].append((cpu_seconds(pid) - before[name]) / lasted * 100)
    for name, values in runs.items():
        yield bench.figure(
            name, "% of a core", values, better="lower", note=f"over {seconds:g} s without a commit"
        )
