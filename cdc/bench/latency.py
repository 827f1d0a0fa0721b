"""From commit to readable: how long until another process reads what the application has committed."""

from __future__ import annotations

import bisect
import time
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, closing
from multiprocessing import get_context
from typing import TYPE_CHECKING

import cdc
from cdc.bench import workload
from cdc.bench.figure import no_kafka
from cdc.bench.pace import Moment, commit_steadily
from consumers.cache import Cache
from schemas.errors import CdcError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure, Skipped

SUMMARY = "from commit to readable, at a steady rate"

CHANGES_PER_SECOND = 1000

_LOOK_SECONDS = 0.0002
_CATCH_UP_SECONDS_MAX = 30.0


def measure(bench: Bench) -> Iterator[Figure | Skipped]:
    """Measures every commit of an application at a steady rate, embedded and through Kafka."""
    yield from _through(bench, "embedded", None)
    if bench.broker is None:
        yield no_kafka("latency.kafka")
    else:
        yield from _through(bench, "kafka", bench.broker.new_topic())


def _through(bench: Bench, way: str, topic: str | None) -> Iterator[Figure]:
    ends: dict[int, list[float]] = {50: [], 99: []}
    database = bench.folder / f"{way}.db"
    workload.create(database, bench.scale.rows)
    commands = bench.commands(database, f"{way}.redb", topic)
    with ExitStack() as stack:
        if topic is None:
            commands.run("sync")
            stack.enter_context(commands.running("run"))
        else:
            commands.run("poll", "--once")
            commands.run("consume", "--once")
            stack.enter_context(commands.running("poll"))
            stack.enter_context(commands.running("consume"))
        cache = stack.enter_context(Cache.open(bench.folder / f"{way}.redb"))
        application = stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
        _warm_up(cache, database)
        for _ in range(bench.scale.repeat):
            work = (database, bench.scale.rows, CHANGES_PER_SECOND, bench.scale.seconds)
            committing = application.submit(commit_steadily, *work)
            seen = _watch(cache, committing)
            latencies = sorted(_latencies(committing.result(), seen))
            for percent, values in ends.items():
                values.append(latencies[min(len(latencies) - 1, len(latencies) * percent // 100)])
    note = f"{CHANGES_PER_SECOND:,} transactions/s of one updated row each, for {bench.scale.seconds:g} s"
    for percent, values in ends.items():
        yield bench.figure(f"{way}.p{percent}", "ms", values, better="lower", note=note)


def _warm_up(cache: Cache, database: Path) -> None:
    """Returns when a change has come through: everything runs."""
    source = workload.Rows(seed=3)
    with closing(workload.connect(database)) as connection:
        connection.execute(workload.UPDATE, source.update(1))
        cache.wait_for(cdc.position(connection), timeout=_CATCH_UP_SECONDS_MAX)


def _watch(cache: Cache, committing: Future[list[Moment]]) -> list[Moment]:
    """Looks at the cache until everything committed can be read; gives the moments it moved."""
    seen: list[Moment] = []
    reached, deadline = 0, float("inf")
    until: int | None = None
    while until is None or reached < until:
        position = cache.position
        now = time.monotonic_ns()
        if position is not None and position.change_id > reached:
            reached = position.change_id
            seen.append((now, reached))
        if until is None and committing.done():
            until = committing.result()[-1][1]
            deadline = now + _CATCH_UP_SECONDS_MAX * 1e9
        if now > deadline:
            raise CdcError(
                f"the cache stands at {reached}, not at {until}", "see that the machine is not overloaded"
            )
        time.sleep(_LOOK_SECONDS)
    return seen


def _latencies(committed: list[Moment], seen: list[Moment]) -> Iterator[float]:
    """For each commit the milliseconds until it could be read."""
    ids = [change_id for _, change_id in seen]
    for moment, change_id in committed:
        yield (seen[bisect.bisect_left(ids, change_id)][0] - moment) / 1e6
