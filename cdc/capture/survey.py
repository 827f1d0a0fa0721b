"""What a range of the log speaks of, and whether the range is whole. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cdc.capture.errors import LogBrokenError

if TYPE_CHECKING:
    from cdc.source import Row


class Survey(msgspec.Struct, frozen=True):
    """What a range of the log speaks of: tables by id, and (change id, ts_ms) of those that are read anew."""

    touched: frozenset[int]
    anew: dict[int, tuple[int, int]]


def surveyed(low: int, top: int, rows: list[Row]) -> Survey:
    """Say what (low, top] speaks of.

    Args:
        low: the id before the first one.
        top: the last one.
        rows: of each table in it: id, how many log rows, the newest of op t (None without one), the newest
            time.

    Raises:
        LogBrokenError: ids are missing in it.
    """
    # Ids are dense.
    if sum(row[1] for row in rows) != top - low:
        raise LogBrokenError(f"the change log has holes between {low} and {top}", "run `cdc rebuild`")
    anew = {row[0]: (row[2], row[3]) for row in rows if row[2] is not None}
    return Survey(frozenset(row[0] for row in rows), anew)
