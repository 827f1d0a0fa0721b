"""Runs benchmarks one after the other, each in a folder of its own, and gathers their figures."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from cdc.bench.bench import Bench, Remote, Scale
from cdc.bench.broker import Broker
from cdc.bench.figure import Figure, Skipped
from cdc.bench.machine import Machine, this_machine
from cdc.bench.registry import BENCHMARKS

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = structlog.get_logger("cdc.bench")


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for on the command line; None: the benchmark's own."""

    rows: int | None = None
    seconds: float | None = None
    repeat: int | None = None

    def scale(self, own: Scale) -> Scale:
        """The scale of one benchmark."""
        return Scale(
            rows=self.rows or own.rows,
            seconds=own.seconds if self.seconds is None or not own.seconds else self.seconds,
            repeat=self.repeat or own.repeat,
        )


class Report(msgspec.Struct):
    """What a run of benchmarks found."""

    machine: Machine
    figures: list[Figure]
    skipped: list[Skipped]
    seconds: float = 0.0


def run_benchmarks(
    names: Sequence[str],
    wanted: Wanted,
    bootstrap_servers: str | None,
    folder: Path,
    remote: Remote | None = None,
) -> Report:
    """Measures, and leaves nothing behind: neither files nor topics.

    Args:
        names: which benchmarks, in this order.
        wanted: how much of each.
        bootstrap_servers: Kafka; None where there is none, and what needs it is skipped.
        folder: an existing folder on the disk to be measured.
        remote: an empty source over a network; None where none was given.

    Raises:
        CdcError: something that was measured failed.
    """
    report = Report(this_machine(), [], [])
    began = time.monotonic()
    broker = None if bootstrap_servers is None else Broker(bootstrap_servers)
    for name in names:
        benchmark = BENCHMARKS[name]
        _log.info("measuring", benchmark=name, what=benchmark.summary)
        with tempfile.TemporaryDirectory(prefix="cdc-bench-", dir=folder) as own:
            bench = Bench(name, Path(own), wanted.scale(benchmark.scale), broker, remote)
            try:
                for found in benchmark.measure(bench):
                    _add(report, found)
            finally:
                if broker is not None:
                    broker.delete_topics()
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _add(report: Report, found: Figure | Skipped) -> None:
    if isinstance(found, Figure):
        report.figures.append(found)
        _log.info("measured", figure=found.name, value=found.value, unit=found.unit)
    else:
        report.skipped.append(found)
        _log.warning("not measured", figure=found.name, reason=found.reason)
