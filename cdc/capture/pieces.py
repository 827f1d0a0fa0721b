"""How much is read at one of many moments: the pages that are held until it is left, and how many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.capture import limits

if TYPE_CHECKING:
    from cdc.capture.encode import Page


class Held:
    """Pages that were read at one moment, in memory until it is left."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self.rows = 0
        self._size_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether these are as many as may be held."""
        return self._size_bytes > limits.PIECE_BYTES_MAX

    def add(self, page: Page) -> None:
        """Hold one more."""
        self.pages.append(page)
        self.rows += len(page)
        self._size_bytes += sum(len(change[4] or b"") for change in page)


class PieceRows:
    """How many ``rows``, or rows of the log, the next piece has, by how long those before it took.

    Args:
        moment_seconds: how long the moment lasts that they are read at.
    """

    def __init__(self, moment_seconds: float) -> None:
        self._moment_seconds = moment_seconds
        # What is read in one piece is of one moment: where that may last, all of a poll had better be.
        roomy = moment_seconds > limits.MOMENT_SECONDS
        self.rows = limits.PIECE_ROWS_MAX if roomy else limits.PIECE_ROWS_FIRST

    def took(self, seconds: float) -> None:
        """Take note of how long a piece took."""
        if seconds > self._moment_seconds / 2:
            # What takes long with so few rows would not take less with fewer.
            least = min(self.rows, limits.PIECE_ROWS_MIN)
            self.rows = max(least, self.rows // 2)
        elif seconds < self._moment_seconds / 8:
            self.rows = min(limits.PIECE_ROWS_MAX, self.rows * 2)
