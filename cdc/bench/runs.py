"""What several runs of one command took: how fast it was, its processor time, its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.bench.figure import Skipped
from cdc.bench.process import can_look

if TYPE_CHECKING:
    from cdc.bench.bench import Bench
    from cdc.bench.command import Outcome
    from cdc.bench.figure import Figure


class Runs:
    """Gathers the outcomes of a benchmark's command.

    Args:
        bench: the benchmark's run.
        rows: what the command works through each time.
    """

    def __init__(self, bench: Bench, rows: int) -> None:
        self._bench = bench
        self._rows = rows
        self._cpu_us: list[float] = []
        self._peaks_mib: list[float] = []
        self.rates: list[float] = []
        """Rows a second of each run."""

    def add(self, outcome: Outcome) -> None:
        """Take note of one run."""
        self.rates.append(self._rows / outcome.seconds)
        self._cpu_us.append(outcome.cpu_seconds / self._rows * 1e6)
        self._peaks_mib.append(outcome.peak_bytes / 2**20)

    def cpu(self, name: str, unit: str, note: str) -> Figure:
        """Processor time a row."""
        return self._bench.figure(f"{name}.cpu", unit, self._cpu_us, better="lower", note=note)

    def memory(self, name: str, note: str, aim_mib: float | None = None) -> Figure | Skipped:
        """Peaks of memory, where the system tells of them."""
        if not can_look():
            reason = "this system does not say what a process uses (no /proc)"
            return Skipped(f"{self._bench.name}.{name}.memory", reason)
        return self._bench.figure(
            f"{name}.memory", "MiB", self._peaks_mib, better="lower", aim=aim_mib, note=note
        )
