"""What a benchmark gets: where to work, how much, and the broker if there is one."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, TypeVar

import msgspec

from cdc.bench.command import Commands
from cdc.bench.figure import Better, Ceiling, Figure, rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from cdc.bench.broker import Broker

_Result = TypeVar("_Result")


class Scale(msgspec.Struct, frozen=True):
    """How much is measured: rows, seconds where that is what counts, and how often it is repeated."""

    rows: int
    seconds: float
    repeat: int


class Remote(msgspec.Struct, frozen=True):
    """A source over a network, empty, that may be written to; its URL may hold credentials."""

    url: str
    auth_token: str | None = None


class Bench:
    """One benchmark's run.

    Args:
        name: the benchmark's.
        folder: empty, on the disk that is to be measured.
        scale: how much.
        broker: Kafka; None where there is none.
        remote: a source over a network; None where none was given.
    """

    def __init__(
        self, name: str, folder: Path, scale: Scale, broker: Broker | None, remote: Remote | None = None
    ) -> None:
        self.remote = remote
        self.name = name
        self.folder = folder
        self.scale = scale
        self.broker = broker

    @property
    def command(self) -> str:
        """What repeats this run."""
        scale = self.scale
        seconds = f" --seconds {scale.seconds:g}" if scale.seconds else ""
        return f"cdc bench {self.name} --rows {scale.rows}{seconds} --repeat {scale.repeat}"

    def commands(self, source: Path | str, cache: str, topic: str | None = None) -> Commands:
        """The command line for a source (file or URL), a cache file of ours and, where given, a topic."""
        kafka = () if topic is None or self.broker is None else self.broker.flags(topic)
        return Commands(self.folder, source, self.folder / cache, kafka)

    def figure(
        self,
        name: str,
        unit: str,
        runs: Sequence[float],
        *,
        better: Better = "higher",
        aim: float | None = None,
        ceilings: Iterable[Ceiling] = (),
        note: str = "",
    ) -> Figure:
        """A figure of this benchmark: the median of its runs."""
        return Figure(
            name=f"{self.name}.{name}",
            value=rounded(statistics.median(runs)),
            unit=unit,
            command=self.command,
            runs=tuple(map(rounded, runs)),
            better=better,
            aim=aim,
            ceilings=tuple(ceilings),
            note=note,
        )


def seconds_of(work: Callable[[], _Result]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
