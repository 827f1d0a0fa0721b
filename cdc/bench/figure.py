"""A measured figure: what it is, how it was got, and what it is to be compared with."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

Better = Literal["higher", "lower"]


class Ceiling(msgspec.Struct, frozen=True):
    """What a part alone does in the same run, with nothing of ours around it: the most that can be had."""

    name: str
    value: float
    unit: str


class Figure(msgspec.Struct, frozen=True):
    """One measurement.

    Attributes:
        name: dotted, the benchmark first.
        value: the median of ``runs``.
        runs: each repetition, in order.
        command: what gives it.
        aim: what it should be at least (at most, where lower is better); None where there is no aim.
        ceilings: measured in the same run.
        note: what one must know to read it.
    """

    name: str
    value: float
    unit: str
    command: str
    runs: tuple[float, ...]
    better: Better = "higher"
    aim: float | None = None
    ceilings: tuple[Ceiling, ...] = ()
    note: str = ""

    @property
    def reaches_aim(self) -> bool | None:
        """Whether it is as good as it should be; None where there is no aim."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.better == "higher" else self.value <= self.aim


class Skipped(msgspec.Struct, frozen=True):
    """A figure, or a whole benchmark, that could not be measured here, and why."""

    name: str
    reason: str


def ceiling(name: str, runs: Sequence[float], unit: str) -> Ceiling:
    """Returns a ceiling that is the median of its runs."""
    return Ceiling(name, rounded(statistics.median(runs)), unit)


def no_kafka(name: str) -> Skipped:
    """Says that a figure needs a broker, and none was given."""
    return Skipped(name, "it needs Kafka: give --bootstrap-servers, or run: make bench")


def rounded(value: float) -> float:
    """Returns a value with as many digits as a measurement deserves: four, all of them before the point."""
    return float(round(value)) if abs(value) >= 1000 else float(f"{value:.4g}")  # noqa: PLR2004 -- four digits
