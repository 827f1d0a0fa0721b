"""What verify reports of a table, and what an application would check by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consumers.verify_bounds import Exempt

DIFFERENCES_MAX = 10_000
"""Keys that are listed of one table; what differs beyond is only said to be there."""


class TableReport(msgspec.Struct):
    """What differs in one table. Keys are encoded; ``more``: there is more than is listed.

    ``quarantined`` are the source's rows under quarantined keys, and keys whose rows are gone there.
    """

    source_rows: int = 0
    cache_rows: int = 0
    missing: list[bytes] = msgspec.field(default_factory=list)
    unexpected: list[bytes] = msgspec.field(default_factory=list)
    different: list[bytes] = msgspec.field(default_factory=list)
    pending: int = 0
    quarantined: int = 0
    more: bool = False
    newest: bool = True
    """Whether the last row by key is there."""

    @property
    def counts(self) -> bool:
        """Whether the numbers of rows fit together."""
        return bool(self.pending) or self.source_rows == self.cache_rows + self.quarantined

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.unexpected or self.different or self.more)

    @property
    def listed(self) -> int:
        """How many keys differ, as far as was looked."""
        return len(self.missing) + len(self.unexpected) + len(self.different)

    def leave_out(self, exempt: Exempt) -> None:
        """Take keys from the lists that are not to be compared after all."""
        for keys in (self.missing, self.unexpected, self.different):
            keys[:] = [key for key in keys if key not in exempt]

    def cut(self) -> None:
        """Leave as many keys as are listed."""
        for keys in (self.missing, self.unexpected, self.different):
            if len(keys) > DIFFERENCES_MAX:
                del keys[DIFFERENCES_MAX:]
                self.more = True


def checks_of(reports: Mapping[str, TableReport], relations: Iterable[tuple[str, str]]) -> dict[str, bool]:
    """What an application would check after a load, from what was compared row by row."""
    related = [(child, parent) for child, parent in relations if child in reports and parent in reports]
    return {
        "row_counts": all(report.counts for report in reports.values()),
        "newest_rows": all(report.newest for report in reports.values()),
        # As many of either side as at the source: then they belong together as they do there.
        "related_counts": all(reports[child].counts and reports[parent].counts for child, parent in related),
        # A row refers to one that is missing here, or is here although it is gone there.
        "no_orphans": not any(
            reports[parent].missing or reports[parent].more or reports[child].unexpected
            for child, parent in related
        ),
    }
