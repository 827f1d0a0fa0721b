"""Every benchmark by name. To add one: a module here with ``measure``, and its line in `BENCHMARKS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cdc.bench import apply, blocking, bootstrap, capture, idle, latency, load, publish, reads
from cdc.bench.bench import Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cdc.bench.bench import Bench
    from cdc.bench.figure import Figure, Skipped


class Benchmark(msgspec.Struct, frozen=True):
    """A benchmark.

    Attributes:
        summary: what it measures, in a line.
        measure: yields figures as they are found, and what could not be measured.
        scale: how much it measures where nothing else is asked for: below a minute in all.
    """

    summary: str
    measure: Callable[[Bench], Iterator[Figure | Skipped]]
    scale: Scale


BENCHMARKS = {
    "capture": Benchmark(capture.SUMMARY, capture.measure, Scale(rows=20_000, seconds=0, repeat=3)),
    "blocking": Benchmark(blocking.SUMMARY, blocking.measure, Scale(rows=100_000, seconds=2, repeat=1)),
    "publish": Benchmark(publish.SUMMARY, publish.measure, Scale(rows=200_000, seconds=0, repeat=3)),
    "apply": Benchmark(apply.SUMMARY, apply.measure, Scale(rows=200_000, seconds=0, repeat=3)),
    "load": Benchmark(load.SUMMARY, load.measure, Scale(rows=200_000, seconds=0, repeat=3)),
    "bootstrap": Benchmark(bootstrap.SUMMARY, bootstrap.measure, Scale(rows=1_000_000, seconds=0, repeat=3)),
    "latency": Benchmark(latency.SUMMARY, latency.measure, Scale(rows=10_000, seconds=5, repeat=3)),
    "idle": Benchmark(idle.SUMMARY, idle.measure, Scale(rows=1_000, seconds=5, repeat=3)),
    "reads": Benchmark(reads.SUMMARY, reads.measure, Scale(rows=100_000, seconds=0, repeat=3)),
}
