"""Every bound of reading and writing a source, named with its unit."""

from __future__ import annotations

from typing import Final

BUSY_TIMEOUT_S: Final = 2.0
"""How long one statement waits for another connection's lock before it fails.

Nothing interrupts this wait, and a command that is told to end has five seconds.
"""

BUSY_ROUND_S: Final = 0.01
"""How long SQLite waits for a lock by itself, before it is told to begin anew.

It looks again after 1, 2, 5, 10, 15, 20 and 25 ms, and then only every 50 and 100: that meets hardly ever the
moment between two transactions of an application that writes all the time.
"""

BUSY_PAUSE_S: Final = 0.001
"""Pause before it is."""

INTERRUPT_EVERY_S: Final = 0.02
"""How often a statement that is to stop is told so."""

PAGE_ROWS_MAX: Final = 2000
PAGE_BYTES_MAX: Final = 4 * 2**20
"""A page ends at whichever comes first, a part of it late at most."""

PART_ROWS_MAX: Final = 250
"""Rows that are fetched and encoded in one go: what a page may overshoot its bytes by."""

SHORT_PAGE_SECONDS_MAX: Final = 0.005
SHORT_PAGE_BYTES_MAX: Final = 2**20
SHORT_PART_ROWS_MAX: Final = 16
"""The same where reading holds up writers. The part after narrow rows may be of rows of a megabyte."""

READ_CACHE_KIB: Final = 16 * 1024
"""SQLite's page cache of a reading connection."""

IDLE_READERS_MAX: Final = 2
"""Reading connections kept open while nobody uses them."""
