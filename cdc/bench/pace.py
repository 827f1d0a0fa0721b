"""An application that commits at a steady rate, in a process of its own."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import cdc
from cdc.bench import workload

if TYPE_CHECKING:
    from pathlib import Path

Moment = tuple[int, int]
"""(nanoseconds of the system's monotonic clock, which all processes share; change id reached)."""


def commit_steadily(database: Path, rows: int, per_second: float, seconds: float) -> list[Moment]:
    """Updates one row a transaction, any of the first ``rows``; gives the moment of each commit.

    It keeps to its timetable: after a delay it commits at once until it is on time again.
    """
    source, moments = workload.Rows(seed=2), []
    with closing(workload.connect(database)) as connection:
        change_id = cdc.position(connection).change_id
        began = time.monotonic_ns()
        for number in range(int(per_second * seconds)):
            ahead_s = number / per_second - (time.monotonic_ns() - began) / 1e9
            if ahead_s > 0:
                time.sleep(ahead_s)
            connection.execute(workload.UPDATE, source.update(source.pick(rows)))
            change_id += 1  # ids are dense and nobody else writes; to ask for it would double the work
            moments.append((time.monotonic_ns(), change_id))
    return moments
