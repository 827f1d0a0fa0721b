"""What fits into a record, what has to be split over several, and what cannot be published."""

from __future__ import annotations

import enum

from cdc import limits
from schemas.parts import too_large


class Fit(enum.Enum):
    """How a row is published."""

    WHOLE = "whole"
    SPLIT = "split"
    NOT = "not"


def fit_of(key_bytes: int, row_bytes: int) -> Fit:
    """Say how a row is published: the same in events and in snapshots.

    Every part carries the key, so a row is split only where that leaves most of a record to the row.
    """
    if 2 * key_bytes + row_bytes + _FIELDS_BYTES <= limits.RECORD_BYTES_MAX:
        return Fit.WHOLE
    if too_large(row_bytes) or 2 * _KEY_SHARE * key_bytes > limits.RECORD_BYTES_MAX:
        return Fit.NOT
    return Fit.SPLIT


def key_fits(key_bytes: int) -> bool:
    """Say whether a record without a row can carry the key, in its two forms."""
    return 2 * key_bytes <= limits.RECORD_BYTES_MAX


_KEY_SHARE = 2
"""A key in its two forms may take this part of each record of a row that is split."""

_FIELDS_BYTES = 160
"""At most about what an event is without its table, key and row."""
